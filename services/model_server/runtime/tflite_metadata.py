"""The signature in the metadata of a TensorFlow Lite model.

A model is a flatbuffer, whose tables are read by field number here: the generated reader of the wheel is one module of
18,000 lines. The library flatbuffers comes with the wheel.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError

#: Name of the metadata entry that maps signature keys to serialized SignatureDefs.
METADATA_NAME = b"signature_defs_metadata"

# Field numbers of the tables Model, Metadata and Buffer.
_MODEL_BUFFERS = 4
_MODEL_METADATA = 6
_METADATA_NAME = 0
_METADATA_BUFFER = 1
_BUFFER_DATA = 0


def described_signature(content: bytes) -> Message | None:
    """Return the SignatureDef in the metadata of a model, or None where it has none.

    Raises:
        StatusError: INVALID_ARGUMENT, the metadata holds several signatures or cannot be read.
    """
    try:
        data = _signature_metadata(content)
        signatures = _flexible_strings(data) if data is not None else []
        if len(signatures) > 1:
            raise StatusError(Code.INVALID_ARGUMENT, "Multiple SignatureDefs found in TfLite model")
        return message("tensorflow.SignatureDef").FromString(signatures[0]) if signatures else None
    except (struct.error, ValueError, IndexError) as error:
        raise StatusError(Code.INVALID_ARGUMENT, f"Invalid SignatureDefs found in TfLite model: {error}") from error


def _flexible_strings(data: bytes) -> list[bytes]:
    """Return the values of a flexbuffer that maps names to strings."""
    from flatbuffers import flexbuffers  # noqa: PLC0415  (few models have metadata)

    return [bytes(value.AsStringBytes) for value in flexbuffers.GetRoot(data).AsMap.Values]


def _signature_metadata(content: bytes) -> bytes | None:
    model = _Table(content, _unsigned(content, 0))
    buffers = model.tables(_MODEL_BUFFERS)
    for entry in model.tables(_MODEL_METADATA):
        if entry.vector(_METADATA_NAME) == METADATA_NAME:
            position = entry.field(_METADATA_BUFFER)
            return buffers[_unsigned(content, position) if position else 0].vector(_BUFFER_DATA)
    return None


class _Table(NamedTuple):
    """A table of a flatbuffer."""

    content: bytes
    position: int

    def field(self, number: int) -> int | None:
        """Return where a field lies, or None where the table does not have it."""
        (back,) = struct.unpack_from("<i", self.content, self.position)
        layout = self.position - back
        (size,) = struct.unpack_from("<H", self.content, layout)
        # The layout starts with its own size and the size of the table.
        entry = 4 + 2 * number
        if entry >= size:
            return None
        (offset,) = struct.unpack_from("<H", self.content, layout + entry)
        return self.position + offset if offset else None

    def vector(self, number: int) -> bytes:
        """Return a field that is a vector of bytes or a string."""
        start, count = self._elements(number)
        return self.content[start : start + count]

    def tables(self, number: int) -> list[_Table]:
        """Return a field that is a vector of tables."""
        start, count = self._elements(number)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.content, place + _unsigned(self.content, place)) for place in places]

    def _elements(self, number: int) -> tuple[int, int]:
        position = self.field(number)
        if position is None:
            return 0, 0
        position += _unsigned(self.content, position)
        return position + 4, _unsigned(self.content, position)


def _unsigned(content: bytes, position: int) -> int:
    (value,) = struct.unpack_from("<I", content, position)
    return int(value)
