"""TensorProto to and from nested lists, for probes and commands; exactness first, not speed."""

from __future__ import annotations

import struct
from typing import Any, Union

from ..errors import InvalidInput
from .protos import Message, message

#: A value as JSON has it.
Nested = Union[bool, int, float, str, list["Nested"]]

# DataType numbers (tensorflow/core/framework/types.proto) -> (field of TensorProto, struct code of one element).
_NUMERIC = {
    1: ("float_val", "f"),
    2: ("double_val", "d"),
    3: ("int_val", "i"),
    4: ("int_val", "B"),
    5: ("int_val", "h"),
    6: ("int_val", "b"),
    9: ("int64_val", "q"),
    10: ("bool_val", "?"),
    17: ("int_val", "H"),
    22: ("uint32_val", "I"),
    23: ("uint64_val", "Q"),
}
_STRING = 7
_FLOATS = {1, 2}
_BOOL = 10


def _shape(value: Nested, where: str) -> list[int]:
    """Return the shape of a nested list; every list of one depth must have the same length."""
    if not isinstance(value, list):
        return []
    shapes = [_shape(item, where) for item in value]
    if any(shape != shapes[0] for shape in shapes):
        raise InvalidInput(where, "is ragged: its lists differ in length", "give a rectangular list of lists")
    return [len(value), *(shapes[0] if shapes else [])]


def _flat(value: Nested) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in _flat(item)]


def to_tensor_proto(value: Nested, dtype: int, where: str) -> Message:
    """Return a TensorProto of the given DataType number.

    Raises:
        InvalidInput: the value is ragged, or a leaf does not fit the type; ``where`` is named.
    """
    tensor = message("tensorflow.TensorProto")(dtype=dtype)
    for size in _shape(value, where):
        tensor.tensor_shape.dim.add(size=size)
    leaves = _flat(value)
    if dtype == _STRING:
        if not all(isinstance(leaf, str) for leaf in leaves):
            raise InvalidInput(where, "holds a value that is not a string", "the signature asks for strings")
        tensor.string_val.extend(leaf.encode() for leaf in leaves)
        return tensor
    if dtype not in _NUMERIC:
        raise InvalidInput(where, f"has DataType {dtype}, which cannot be given as JSON", "use a client of your own")
    field, code = _NUMERIC[dtype]
    kinds = (bool,) if dtype == _BOOL else (int, float) if dtype in _FLOATS else (int,)
    for leaf in leaves:
        if not isinstance(leaf, kinds) or (isinstance(leaf, bool) and dtype != _BOOL):
            raise InvalidInput(where, f"holds {leaf!r}, which does not fit the signature's type", "correct the value")
        try:
            struct.pack(f"<{code}", leaf)
        except (struct.error, OverflowError) as error:
            raise InvalidInput(where, f"holds {leaf!r}, which is out of range", "correct the value") from error
    getattr(tensor, field).extend(leaves)
    return tensor


def from_tensor_proto(tensor: Message) -> Nested:
    """Return the tensor as nested lists; a scalar as itself.

    Raises:
        InvalidInput: a type that JSON cannot hold.
    """
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    count = 1
    for size in sizes:
        count *= size
    if tensor.dtype == _STRING:
        leaves: list[Any] = [item.decode(errors="backslashreplace") for item in tensor.string_val]
    elif tensor.dtype in _NUMERIC:
        field, code = _NUMERIC[tensor.dtype]
        if tensor.tensor_content:
            leaves = list(struct.unpack(f"<{count}{code}", tensor.tensor_content))
        else:
            leaves = list(getattr(tensor, field))
    else:
        raise InvalidInput("an output", f"has DataType {tensor.dtype}, which JSON cannot hold", "filter the outputs")
    if leaves and len(leaves) < count:
        # A short list stands for a constant tail, as TensorFlow reads it.
        leaves += [leaves[-1]] * (count - len(leaves))
    return _nest(leaves, sizes)


def _nest(leaves: list[Nested], sizes: list[int]) -> Nested:
    if not sizes:
        return leaves[0]
    if len(sizes) == 1:
        return leaves
    step = len(leaves) // sizes[0] if sizes[0] else 0
    return [_nest(leaves[i * step : (i + 1) * step], sizes[1:]) for i in range(sizes[0])]
