"""Replies of the HTTP API: the messages of the gRPC API to JSON, laid out as the real server lays it out."""

from __future__ import annotations

import base64
import json
from array import array
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from .rest_json_text import datatype_name, double_texts, float_texts
from .rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelfleet.adapters.protos import Message

_FLOAT, _DOUBLE, _STRING, _BOOL = 1, 2, 7, 10
#: Integer types: the field that holds their values, and the array code of their ``tensor_content``.
_INTEGERS = {
    3: ("int_val", "i"),
    4: ("int_val", "B"),
    5: ("int_val", "h"),
    6: ("int_val", "b"),
    9: ("int64_val", "q"),
    22: ("uint32_val", "I"),
    23: ("uint64_val", "Q"),
}
_INDENT = "    "


def _quoted(data: bytes | str) -> str:
    text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
    return json.dumps(text, ensure_ascii=False)


def _content(tensor: Message, code: str) -> list[Any]:
    values = array(code)
    values.frombytes(tensor.tensor_content)
    return values.tolist()


def _texts(name: str, tensor: Message) -> list[str]:
    """Return every value of a tensor as JSON text.

    Raises:
        StatusError: INVALID_ARGUMENT for a type that JSON cannot carry.
    """
    dtype, packed = tensor.dtype, bool(tensor.tensor_content)
    if dtype == _FLOAT:
        return float_texts(_content(tensor, "f") if packed else tensor.float_val)
    if dtype == _DOUBLE:
        return double_texts(_content(tensor, "d") if packed else tensor.double_val)
    if dtype in _INTEGERS:
        field, code = _INTEGERS[dtype]
        return [str(value) for value in (_content(tensor, code) if packed else getattr(tensor, field))]
    if dtype == _BOOL:
        values = tensor.tensor_content or tensor.bool_val
        return ["true" if value else "false" for value in values]
    if dtype == _STRING:
        if name.endswith("_bytes"):
            return [f'{{"b64": "{base64.b64encode(value).decode()}"}}' for value in tensor.string_val]
        return [_quoted(value) for value in tensor.string_val]
    raise StatusError(Code.INVALID_ARGUMENT, f"Failed to write JSON value for tensor type: {datatype_name(dtype)}")


def _one_line(texts: Iterator[str], sizes: list[int]) -> str:
    """Return the next values of a tensor as a nested list on one line."""
    if not sizes:
        return next(texts)
    return "[" + ", ".join([_one_line(texts, sizes[1:]) for _ in range(sizes[0])]) + "]"


def _spread(texts: Iterator[str], sizes: list[int], margin: str) -> str:
    """Return the next values of a tensor as a nested list with one element a line."""
    if not sizes:
        return next(texts)
    if not sizes[0]:
        return "[]"
    inner = margin + _INDENT
    rows = [_spread(texts, sizes[1:], inner) for _ in range(sizes[0])]
    return "[\n" + inner + f",\n{inner}".join(rows) + f"\n{margin}]"


def _sizes(tensor: Message) -> list[int]:
    return [dim.size for dim in tensor.tensor_shape.dim]


def _check_batch(outputs: Mapping[str, Message]) -> int:
    """Return the number of rows that all outputs have in common.

    Raises:
        StatusError: INVALID_ARGUMENT where they have none.
    """
    rows = -1
    for name in sorted(outputs):
        sizes = _sizes(outputs[name])
        if not sizes:
            raise StatusError(Code.INVALID_ARGUMENT, f"Tensor name: {name} has no shape information ")
        if rows >= 0 and sizes[0] != rows:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Tensor name: {name} has inconsistent batch size: {sizes[0]} expecting: {rows}",
            )
        rows = sizes[0]
    return rows


def _rows(outputs: Mapping[str, Message]) -> str:
    rows = _check_batch(outputs)
    columns = {name: iter(_texts(name, outputs[name])) for name in sorted(outputs)}
    sizes = {name: _sizes(outputs[name])[1:] for name in columns}
    if len(columns) == 1:
        ((name, texts),) = columns.items()
        body = ", ".join([_one_line(texts, sizes[name]) for _ in range(rows)])
        return f'{{\n{_INDENT}"predictions": [{body}' + (f"\n{_INDENT}]\n}}" if rows else "]\n}")
    margin, inner = _INDENT * 2, _INDENT * 3
    objects = [
        "{\n"
        + ",\n".join(f"{inner}{_quoted(name)}: {_one_line(columns[name], sizes[name])}" for name in columns)
        + f"\n{margin}}}"
        for _ in range(rows)
    ]
    listed = f"[\n{margin}" + f",\n{margin}".join(objects) + f"\n{_INDENT}]" if objects else "[]"
    return f'{{\n{_INDENT}"predictions": {listed}\n}}'


def _columns(outputs: Mapping[str, Message]) -> str:
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return f'{{\n{_INDENT}"outputs": {_spread(iter(_texts(name, tensor)), _sizes(tensor), _INDENT)}\n}}'
    margin = _INDENT * 2
    fields = ",\n".join(
        f"{margin}{_quoted(name)}: {_spread(iter(_texts(name, outputs[name])), _sizes(outputs[name]), margin)}"
        for name in sorted(outputs)
    )
    return f'{{\n{_INDENT}"outputs": {{\n{fields}\n{_INDENT}}}\n}}'


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def predictions(outputs: Mapping[str, Message], *, by_row: bool) -> bytes:
    """Return the body of a predict reply.

    Args:
        outputs: TensorProto by output name.
        by_row: One element an instance (``predictions``) instead of one value an output (``outputs``).

    Raises:
        StatusError: INVALID_ARGUMENT for outputs that JSON or the row format cannot carry.
    """
    if not outputs:
        raise StatusError(Code.INVALID_ARGUMENT, "Cannot convert empty tensor map to JSON")
    return _encode(_rows(outputs) if by_row else _columns(outputs))


def classifications(result: Message) -> bytes:
    """Return the body of a classify reply.

    Raises:
        StatusError: INVALID_ARGUMENT for a result without any classification.
    """
    if not result.classifications:
        raise StatusError(Code.INVALID_ARGUMENT, "Cannot convert empty ClassificationResults to JSON")
    rows = []
    for row in result.classifications:
        scores = float_texts(entry.score for entry in row.classes)
        pairs = [f"[{_quoted(entry.label)}, {score}]" for entry, score in zip(row.classes, scores, strict=True)]
        rows.append("[" + ", ".join(pairs) + "]")
    return _encode(f'{{\n{_INDENT}"results": [{", ".join(rows)}\n{_INDENT}]\n}}')


def regressions(result: Message) -> bytes:
    """Return the body of a regress reply.

    Raises:
        StatusError: INVALID_ARGUMENT for a result without any regression.
    """
    if not result.regressions:
        raise StatusError(Code.INVALID_ARGUMENT, "Cannot convert empty RegressionResults to JSON")
    values = ", ".join(float_texts(regression.value for regression in result.regressions))
    return _encode(f'{{\n{_INDENT}"results": [{values}]\n}}')


def error(text: str) -> bytes:
    """Return the body of an error reply."""
    return _encode(f'{{\n{_INDENT}"error": {_quoted(text)}\n}}')


def message_json(message: Message) -> str:
    """Return a message as JSON with the proto's own field names and every default printed."""
    return json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        descriptor_pool=message.DESCRIPTOR.file.pool,
    )


def metadata(model_spec: Message, signatures: Message) -> bytes:
    """Return the body of a metadata reply."""
    spec, definitions = message_json(model_spec), message_json(signatures)
    return _encode(f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {definitions}}}\n}}\n')
