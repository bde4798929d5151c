"""JSON values to tensors."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any, TypeAlias

from .rest_json_parse import decode_base64, invalid, utf8
from .rest_json_text import datatype_name, shown, type_name
from .rpc_status import Code, StatusError

if TYPE_CHECKING:
    from modelfleet.adapters.protos import Message

#: A JSON value whose kind is checked by hand.
Json: TypeAlias = Any

_FLOAT_MAX = 3.4028234663852886e38
#: tensorflow.DataType.
FLOAT = 1
_DOUBLE, _INT32, _UINT8, _INT16, _INT8, _STRING, _INT64, _BOOL = 2, 3, 4, 5, 6, 7, 9, 10
_UINT32, _UINT64 = 22, 23
#: Tensor types that take a JSON integer: array code of the tensor's bytes, and the range that the literal must be in.
_INTEGERS: dict[int, tuple[str, range]] = {
    _INT32: ("i", range(-(2**31), 2**31)),
    _INT16: ("h", range(-(2**31), 2**31)),
    _INT8: ("b", range(-(2**31), 2**31)),
    _UINT8: ("B", range(-(2**31), 2**31)),
    _INT64: ("q", range(-(2**63), 2**63)),
    _UINT32: ("I", range(2**32)),
    _UINT64: ("Q", range(2**64)),
}
#: Array codes of types narrower than the literals they take.
_NARROW = "hbB"
#: Integers up to here are exact in the type.
_EXACT = {FLOAT: 2**24 - 1, _DOUBLE: 2**53 - 1}
#: The tensor types that JSON can carry.
_CARRIED = {*_INTEGERS, *_EXACT, _STRING, _BOOL}


def _wrong_type(value: object, dtype: int) -> StatusError:
    return invalid(
        f"JSON Value: {shown(value)} Type: {type_name(value)} is not of expected type: {datatype_name(dtype)}"
    )


def check_lossless(value: float, dtype: int) -> None:
    """Refuse a number that a float (1) or double (2) cannot hold.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if isinstance(value, int):
        exact = abs(value) <= _EXACT[dtype]
    else:
        exact = dtype == _DOUBLE or not math.isfinite(value) or abs(value) <= _FLOAT_MAX
    if not exact:
        raise invalid(f"Cannot convert JSON value: {shown(value)} to {datatype_name(dtype)} without loss of precision.")


def _accepts(value: object, dtype: int) -> bool:
    """Return whether a value that is neither list nor object has the type that a tensor type asks for."""
    kind = type(value)
    if dtype in _EXACT:
        return kind is int or kind is float
    if dtype in _INTEGERS:
        return kind is int and value in _INTEGERS[dtype][1]
    return kind is (str if dtype == _STRING else bool)


def _scalar(value: Json, dtype: int) -> Json | bytes:
    """Return what a tensor of that type holds for a JSON value that is no list."""
    if type(value) is dict and dtype == _STRING:
        return decode_base64(value)
    if dtype not in _CARRIED and type(value) is not dict:
        raise StatusError(
            Code.UNIMPLEMENTED, f"Conversion of JSON Value: {shown(value)} to type: {datatype_name(dtype)}"
        )
    if not _accepts(value, dtype):
        raise _wrong_type(value, dtype)
    if dtype in _EXACT:
        check_lossless(value, dtype)
    return utf8(value) if dtype == _STRING else value


def _add_row(values: list[Any], dtype: int, level: int, rank: int, out: list[Any]) -> None:
    """Add the elements of an innermost list, the common cases without a look at every element."""
    kinds = set(map(type, values))
    if dtype in _EXACT and kinds == {float}:
        if dtype == _DOUBLE or (min(values) >= -_FLOAT_MAX and max(values) <= _FLOAT_MAX):
            out.extend(values)
            return
    elif (dtype in _EXACT or dtype in _INTEGERS) and kinds == {int}:
        allowed = _INTEGERS[dtype][1] if dtype in _INTEGERS else range(-_EXACT[dtype], _EXACT[dtype] + 1)
        if min(values) in allowed and max(values) in allowed:
            out.extend(values)
            return
    for value in values:
        if type(value) is list:
            raise invalid(f"Encountered list at unexpected level: {level + 1} expected < {rank}")
        out.append(_scalar(value, dtype))


def fill(value: object, level: int, shape: list[int], dtype: int, out: list[Any]) -> None:
    """Add a JSON value, nested as ``shape`` says, to the flat list of a tensor's values.

    Raises:
        StatusError: INVALID_ARGUMENT; UNIMPLEMENTED for a type that JSON cannot carry.
    """
    rank = len(shape)
    if type(value) is not list:
        if level != rank:
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON DOM."
                f" Expected at level: {rank}"
            )
        out.append(_scalar(value, dtype))
        return
    if level >= rank:
        raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == rank - 1:
        _add_row(value, dtype, level, rank, out)
    else:
        for element in value:
            fill(element, level + 1, shape, dtype, out)


def shape_of(value: object) -> list[int]:
    """Return the shape that the first elements of a nested list suggest."""
    shape = []
    while type(value) is list:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _low_bits(values: list[int], code: str) -> list[int]:
    """Return integers as a narrow type keeps them: by their low bits, as a C cast does."""
    bits = 8 * array(code).itemsize
    low = (1 << bits) - 1
    if code.isupper():
        return [value & low for value in values]
    half = 1 << (bits - 1)
    return [((value + half) & low) - half for value in values]


def store(values: list[Any], shape: list[int], dtype: int, tensor: Message) -> None:
    """Fill a TensorProto; numbers go in as bytes, which is far quicker than one by one."""
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    if dtype == _STRING:
        tensor.string_val.extend(values)
    elif dtype == _BOOL:
        tensor.tensor_content = bytes(values)
    elif dtype in _EXACT:
        tensor.tensor_content = array("f" if dtype == FLOAT else "d", values).tobytes()
    elif dtype in _INTEGERS:
        code = _INTEGERS[dtype][0]
        tensor.tensor_content = array(code, _low_bits(values, code) if code in _NARROW else values).tobytes()


def single(value: object, dtype: int, tensor: Message) -> None:
    """Turn one JSON value into one tensor.

    Raises:
        StatusError: INVALID_ARGUMENT; UNIMPLEMENTED for a type that JSON cannot carry.
    """
    values: list[Any] = []
    shape = shape_of(value)
    fill(value, 0, shape, dtype, values)
    store(values, shape, dtype, tensor)
