"""TensorProto messages to and from TensorFlow's own tensors."""

from __future__ import annotations

import ctypes
import math
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .c_api import Status, borrowed_buffer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .c_api import CApi

DT_STRING = 7
DT_FLOAT = 1

#: Bytes of one ``TF_TString``.
_STRING_SIZE = 24
_SMALL, _LARGE, _OFFSET, _VIEW = range(4)


_Code = Literal["b", "B", "h", "H", "i", "I", "q", "Q"]


class _Numbers(NamedTuple):
    """How values of one dtype lie in a tensor and in a TensorProto."""

    #: Field of the TensorProto that holds them.
    field: str
    #: Format character of one stored number, or None where the field's wire format is the memory format.
    code: _Code | None
    #: Bytes of one value.
    size: int


_NUMBERS = {
    1: _Numbers("float_val", None, 4),
    2: _Numbers("double_val", None, 8),
    3: _Numbers("int_val", "i", 4),
    4: _Numbers("int_val", "B", 1),
    5: _Numbers("int_val", "h", 2),
    6: _Numbers("int_val", "b", 1),
    8: _Numbers("scomplex_val", None, 8),
    9: _Numbers("int64_val", "q", 8),
    10: _Numbers("bool_val", None, 1),
    11: _Numbers("int_val", "b", 1),
    12: _Numbers("int_val", "B", 1),
    13: _Numbers("int_val", "i", 4),
    14: _Numbers("half_val", "H", 2),
    15: _Numbers("int_val", "h", 2),
    16: _Numbers("int_val", "H", 2),
    17: _Numbers("int_val", "H", 2),
    18: _Numbers("dcomplex_val", None, 16),
    19: _Numbers("half_val", "H", 2),
    22: _Numbers("uint32_val", "I", 4),
    23: _Numbers("uint64_val", "Q", 8),
}


@lru_cache(maxsize=1)
def _tensor_proto() -> Message:
    return message("tensorflow.TensorProto")


@cache
def _key(field: str) -> bytes:
    """Return the wire key of a length-delimited (packed) field of TensorProto."""
    return _varint(_tensor_proto().DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value >> 7:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def dtype_name(dtype: int) -> str:
    """Return the name of a ``tensorflow.DataType``, for example ``DT_FLOAT``."""
    values = _tensor_proto().DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number
    return str(values[dtype].name) if dtype in values else str(dtype)


def to_tensor(api: CApi, status: Status, alias: str, proto: Message) -> int:
    """Return a new tensor with the content of a TensorProto; the caller deletes it.

    TensorFlow itself reads the message, so typed fields, ``tensor_content`` and the repetition of the last value of a
    short list mean what they mean to it, and it frees the strings.

    Raises:
        StatusError: INVALID_ARGUMENT, the message is not a tensor.
    """
    # A copy of another pool's message would be accepted as well: only its bytes are read.
    data = proto.SerializeToString()
    tensor: int = api.TF_AllocateTensor(DT_FLOAT, None, 0, 4)
    api.TF_TensorFromProto(borrowed_buffer(data), tensor, status.handle)
    try:
        status.check()
    except StatusError as error:
        api.TF_DeleteTensor(tensor)
        raise StatusError(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from error
    return tensor


def to_proto(api: CApi, tensor: int, *, as_content: bool = False) -> Message:
    """Return the TensorProto of a tensor, which stays the caller's.

    Args:
        api: The C API.
        tensor: Handle of the tensor.
        as_content: Put the values into ``tensor_content`` instead of the typed fields.

    Raises:
        StatusError: UNIMPLEMENTED, a dtype that cannot be sent (resources, variants).
    """
    dtype = api.TF_TensorType(tensor)
    shape = [api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor))]
    if dtype == DT_STRING:
        return strings_proto(shape, _strings(api.TF_TensorData(tensor), math.prod(shape)), as_content=as_content)
    size = api.TF_TensorByteSize(tensor)
    data = ctypes.string_at(api.TF_TensorData(tensor), size) if size else b""
    return numbers_proto(dtype, shape, data, as_content=as_content)


def numbers_proto(dtype: int, shape: Sequence[int], data: bytes, *, as_content: bool = False) -> Message:
    """Return the TensorProto of numbers that lie in memory as ``data``, in the byte order of this machine.

    Raises:
        StatusError: UNIMPLEMENTED, a dtype that has no typed field.
    """
    if as_content:
        return _tensor_proto().FromString(_header(dtype, shape) + _field("tensor_content", data))
    numbers = _NUMBERS.get(dtype)
    if numbers is None:
        raise StatusError(Code.UNIMPLEMENTED, f"Tensors of type {dtype_name(dtype)} cannot be sent to a client")
    # One-byte numbers below 128 are their own variable-length encoding.
    if numbers.code is None or (numbers.size == 1 and data.isascii()):
        return _tensor_proto().FromString(_header(dtype, shape) + _field(numbers.field, data))
    proto = _tensor_proto().FromString(_header(dtype, shape))
    getattr(proto, numbers.field).extend(memoryview(data).cast(numbers.code))
    return proto


def strings_proto(shape: Sequence[int], values: Iterable[bytes], *, as_content: bool = False) -> Message:
    """Return the TensorProto of strings."""
    if as_content:
        content = list(values)
        lengths = b"".join(_varint(len(value)) for value in content)
        return _tensor_proto().FromString(
            _header(DT_STRING, shape) + _field("tensor_content", b"".join([lengths, *content]))
        )
    proto = _tensor_proto().FromString(_header(DT_STRING, shape))
    proto.string_val.extend(values)
    return proto


def value_bytes(proto: Message) -> bytes:
    """Return the numbers of a TensorProto as they lie in memory; the inverse of ``numbers_proto``.

    As TensorFlow reads them: a short list stands for itself and repetitions of its last value, an empty one for zeros,
    and of a long one the rest is left out.

    Raises:
        ValueError: content of another size than the shape has, no shape, or not numbers.
    """
    numbers = _NUMBERS.get(proto.dtype)
    if numbers is None:
        raise ValueError(dtype_name(proto.dtype))
    count = _count(proto)
    if proto.tensor_content:
        if len(proto.tensor_content) != count * numbers.size:
            raise ValueError(len(proto.tensor_content))
        return bytes(proto.tensor_content)
    code = numbers.code or {1: "f", 2: "d", 8: "f", 10: "?", 18: "d"}[proto.dtype]
    per_value = numbers.size // struct.calcsize(code)
    stored = list(getattr(proto, numbers.field))
    missing = count * per_value - len(stored)
    stored += (stored[-per_value:] or [0] * per_value) * (missing // per_value)
    return struct.pack(f"={count * per_value}{code}", *stored[: count * per_value])


def strings_value(proto: Message) -> list[bytes]:
    """Return the strings of a TensorProto, short and long lists understood as by ``value_bytes``.

    Raises:
        ValueError: the strings are packed into ``tensor_content``, or there is no shape.
    """
    count = _count(proto)
    values: list[bytes] = list(proto.string_val)
    if proto.tensor_content:
        raise ValueError("tensor_content")
    values.extend((values[-1:] or [b""]) * (count - len(values)))
    return values[:count]


def _count(proto: Message) -> int:
    """Return the number of values that the shape of a TensorProto has room for."""
    sizes = [int(dimension.size) for dimension in proto.tensor_shape.dim]
    if any(size < 0 for size in sizes):
        raise ValueError(sizes)
    return math.prod(sizes)


def _header(dtype: int, shape: Sequence[int]) -> bytes:
    # dtype is field 1; tensor_shape is field 2, a list (its field 2) of dimensions whose size is field 1.
    dimensions = b""
    for size in shape:
        dimension = b"\x08" + _varint(size)
        dimensions += b"\x12" + _varint(len(dimension)) + dimension
    return b"\x08" + _varint(dtype) + b"\x12" + _varint(len(dimensions)) + dimensions


def _field(name: str, data: bytes) -> bytes:
    if not data:
        return b""
    return _key(name) + _varint(len(data)) + data


def _strings(address: int, count: int) -> list[bytes]:
    """Copy the strings of a tensor; they may belong to the graph itself, so nothing is freed here."""
    if not count:
        return []
    raw = ctypes.string_at(address, count * _STRING_SIZE)
    values = []
    for position in range(0, count * _STRING_SIZE, _STRING_SIZE):
        kind = raw[position] & 3
        if kind == _SMALL:
            values.append(raw[position + 1 : position + 1 + (raw[position] >> 2)])
            continue
        if kind == _OFFSET:
            size, offset = struct.unpack_from("=II", raw, position)
            data = address + position + offset
        else:
            size, second, third = struct.unpack_from("=QQQ", raw, position)
            data = third if kind == _LARGE else second
        values.append(ctypes.string_at(data, size >> 2))
    return values
