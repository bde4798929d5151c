"""Requests of the HTTP API: JSON to the messages of the gRPC API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import Message, message

from .rest_json_parse import decode_base64, invalid, is_base64, is_utf8, signature_name, utf8
from .rest_json_tensors import FLOAT, check_lossless, fill, shape_of, single, store
from .rest_json_text import shown, type_name
from .rpc_status import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _listed(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


class _Column:
    """One input tensor that grows by one row an instance."""

    def __init__(self, dtype: int) -> None:
        self.dtype = dtype
        self.values: list[Any] = []
        self.shape: list[int] | None = None
        self.rows = 0

    def add(self, item: object) -> None:
        shape = shape_of(item)
        before = len(self.values)
        fill(item, 0, shape, self.dtype, self.values)
        size = len(self.values) - before
        if self.shape is None:
            self.shape = shape
        elif size != math.prod(self.shape):
            raise invalid(f"Expecting tensor size: {math.prod(self.shape)} but got: {size}")
        elif shape != self.shape:
            raise invalid(f"Expecting shape {_listed(self.shape)} but got: {_listed(shape)}")
        self.rows += 1


def _fill_instances(instances: list[Any], infos: Mapping[str, Message], inputs: Message) -> None:
    """Turn the rows of ``instances`` into one tensor an input."""
    first = instances[0]
    if not isinstance(first, dict) and len(infos) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per"
            " tensorinfo_map"
        )
    columns = {name: _Column(info.dtype) for name, info in infos.items()}
    named = isinstance(first, dict) and not is_base64(first)
    only = columns[min(columns)]
    for number, row in enumerate(instances):
        is_object = isinstance(row, dict) and not is_base64(row)
        if named:
            if not is_object:
                raise invalid(f"Expecting object but got list at item {number} of input list")
            _add_named_row(row, number, columns)
        else:
            if is_object:
                raise invalid(f"Expecting value/list but got object at item {number} of input list")
            try:
                only.add(row)
            except StatusError as error:
                raise invalid(f"Failed to process element: {number} of 'instances' list. Error: {error}") from None
    for name, column in columns.items():
        store(column.values, [len(instances), *(column.shape or [])], column.dtype, inputs[name])


def _add_named_row(row: dict[str, Any], number: int, columns: Mapping[str, _Column]) -> None:
    for name, item in row.items():
        try:
            if name not in columns:
                raise invalid(f"JSON object: does not have named input: {name}")
            columns[name].add(item)
        except StatusError as error:
            raise invalid(
                f"Failed to process element: {number} key: {name} of 'instances' list. Error: {error}"
            ) from None
    if row.keys() != columns.keys():
        raise invalid(
            f"Failed to process element: {number} of 'instances' list. JSON object: {shown(row)}"
            f" keys must be equal to: {','.join(sorted(columns))}"
        )


def _fill_inputs(value: object, infos: Mapping[str, Message], inputs: Message) -> None:
    """Turn the columns of ``inputs`` into tensors."""
    if not isinstance(value, dict) or is_base64(value):
        if len(infos) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per"
                " tensorinfo_map"
            )
        name, info = next(iter(infos.items()))
        single(value, info.dtype, inputs[name])
        return
    for name in sorted(infos):
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        single(value[name], infos[name].dtype, inputs[name])


def fill_predict(
    document: Mapping[str, Any], infos_of: Callable[[str], Mapping[str, Message]], request: Message
) -> bool:
    """Fill a PredictRequest from a parsed body.

    Args:
        document: The body.
        infos_of: Returns the TensorInfo of every input of a signature, or raises StatusError.
        request: The message to fill.

    Returns:
        Whether the request is in row format (``instances``), and its reply is to be.

    Raises:
        StatusError: INVALID_ARGUMENT, or UNIMPLEMENTED for a tensor type that JSON cannot carry.
    """
    name = signature_name(document)
    if name:
        request.model_spec.signature_name = name
    infos = infos_of(name)
    if not infos:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    if "instances" in document:
        if "inputs" in document:
            raise invalid(
                f"JSON Value: {shown(document)} Not formatted correctly expecting only one of 'inputs' or"
                " 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {shown(document)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {shown(document)} No values in 'instances' array")
        _fill_instances(instances, infos, request.inputs)
        return True
    if "inputs" in document:
        _fill_inputs(document["inputs"], infos, request.inputs)
        return False
    raise invalid("Missing 'inputs' or 'instances' key")


_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def _feature_list(feature: Message, wanted: str, name: str) -> Message:
    """Return the list of a feature that takes values of the wanted kind."""
    kind = feature.WhichOneof("kind")
    if kind not in {None, wanted}:
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[kind]}")
    return getattr(feature, wanted).value


def _add_feature_value(value: object, name: str, feature: Message) -> None:
    if isinstance(value, bool):
        _feature_list(feature, "int64_list", name).append(int(value))
    elif isinstance(value, str):
        _feature_list(feature, "bytes_list", name).append(utf8(value))
    elif is_base64(value):
        _feature_list(feature, "bytes_list", name).append(decode_base64(value))
    elif isinstance(value, float):
        values = _feature_list(feature, "float_list", name)
        check_lossless(value, FLOAT)
        values.append(value)
    elif isinstance(value, int):
        values = _feature_list(feature, "int64_list", name)
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        values.append(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _fill_example(value: object, example: Message) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        if not is_utf8(name):
            raise invalid(f"Feature: {name} has a name that is not UTF-8")
        feature = message("tensorflow.Feature")()
        for element in content if isinstance(content, list) else [content]:
            _add_feature_value(element, name, feature)
        example.features.feature[name].CopyFrom(feature)


def fill_examples(document: Mapping[str, Any], request: Message) -> None:
    """Fill a ClassificationRequest or RegressionRequest from a parsed body.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    name = signature_name(document)
    if name:
        request.model_spec.signature_name = name
    target = request.input.example_list
    if "context" in document:
        target = request.input.example_list_with_context
        _fill_example(document["context"], target.context)
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {shown(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {shown(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {shown(document)} 'examples' value is an empty array")
    for example in examples:
        _fill_example(example, target.examples.add())
