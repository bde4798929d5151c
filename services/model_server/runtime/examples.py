"""Classification and regression: Examples in, results out, as pure functions of a signature and its tensors."""

from __future__ import annotations

from typing import Any

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .tensors import DT_FLOAT, DT_STRING, dtype_name, strings_proto

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
#: Rank of a tensor of rows and columns.
_MATRIX_RANK = 2
_INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_OUTPUTS = "outputs"


def check_method_name(signature: Message, wanted: str) -> None:
    """Check that a signature was made for an API.

    Raises:
        StatusError: INVALID_ARGUMENT, it was not.
    """
    if signature.method_name != wanted:
        api = "classification" if wanted == CLASSIFY_METHOD else "regression"
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Expected {api} signature method_name to be {wanted}. Was: {signature.method_name}",
        )


def example_tensor(model_input: Message) -> tuple[Message, int]:
    """Return the string tensor of the serialized Examples of a ``tensorflow.serving.Input``, and their number.

    Raises:
        StatusError: INVALID_ARGUMENT, there is no Example.
    """
    kind = model_input.WhichOneof("kind")
    context = b""
    examples: Any = ()
    if kind == "example_list":
        examples = model_input.example_list.examples
    elif kind == "example_list_with_context":
        # Bytes of one message after those of another are both merged: the features of the Example win.
        context = model_input.example_list_with_context.context.SerializeToString()
        examples = model_input.example_list_with_context.examples
    if not examples:
        raise StatusError(Code.INVALID_ARGUMENT, "Input is empty.")
    return strings_proto([len(examples)], [context + example.SerializeToString() for example in examples]), len(
        examples
    )


def classify_tensors(signature: Message) -> tuple[str, list[str]]:
    """Return the names of the tensor to feed and of those to fetch for a classification.

    Raises:
        StatusError: the signature is not one of a classifier.
    """
    if len(signature.inputs) != 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise StatusError(Code.INVALID_ARGUMENT, f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if _INPUTS not in signature.inputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No classification inputs found in SignatureDef: {signature}")
    fetches = [signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not fetches:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {signature}",
        )
    return signature.inputs[_INPUTS].name, fetches


def regress_tensors(signature: Message) -> tuple[str, list[str]]:
    """Return the names of the tensor to feed and of the one to fetch for a regression.

    Raises:
        StatusError: the signature is not one of a regressor.
    """
    if len(signature.inputs) != 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No regression inputs found in SignatureDef: {signature}")
    if _OUTPUTS not in signature.outputs:
        raise StatusError(Code.FAILED_PRECONDITION, f"No regression outputs found in SignatureDef: {signature}")
    return signature.inputs[_INPUTS].name, [signature.outputs[_OUTPUTS].name]


def classification_result(signature: Message, count: int, values: dict[str, Message]) -> Message:
    """Return the ClassificationResult of fetched tensors (by name) for a number of Examples.

    Raises:
        StatusError: INVALID_ARGUMENT, the model's answer has not the form of a classification.
    """
    labels: Any = None
    scores: Any = None
    widths = []
    if _CLASSES in signature.outputs:
        tensor = values[signature.outputs[_CLASSES].name]
        widths.append(_classification_width(tensor, _CLASSES, DT_STRING, count))
        labels = tensor.string_val
    if _SCORES in signature.outputs:
        tensor = values[signature.outputs[_SCORES].name]
        widths.append(_classification_width(tensor, _SCORES, DT_FLOAT, count))
        scores = tensor.float_val
    if len(set(widths)) > 1:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}",
        )
    width = widths[0]
    result = message("tensorflow.serving.ClassificationResult")()
    for example in range(count):
        classes = result.classifications.add().classes
        for position in range(example * width, (example + 1) * width):
            one = classes.add()
            if labels is not None:
                # A label is text in the reply, whatever bytes the model made.
                one.label = labels[position].decode(errors="replace")
            if scores is not None:
                one.score = scores[position]
    return result


def regression_result(signature: Message, count: int, values: dict[str, Message]) -> Message:
    """Return the RegressionResult of fetched tensors (by name) for a number of Examples.

    Raises:
        StatusError: INVALID_ARGUMENT, the model's answer has not the form of a regression.
    """
    tensor = values[signature.outputs[_OUTPUTS].name]
    shape = _shape(tensor)
    if not shape or shape[1:] not in ([], [1]):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_text(shape)}",
        )
    if shape[0] != count:
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Input batch size did not match output batch size: {count} vs. {shape[0]}"
        )
    if tensor.dtype != DT_FLOAT:
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Expected output Tensor of DT_FLOAT.  Got: {dtype_name(tensor.dtype)}"
        )
    result = message("tensorflow.serving.RegressionResult")()
    for value in tensor.float_val:
        result.regressions.add(value=value)
    return result


def _classification_width(tensor: Message, alias: str, dtype: int, count: int) -> int:
    """Return the number of classes in one output of a classifier, once its form is checked."""
    shape = _shape(tensor)
    if len(shape) != _MATRIX_RANK:
        raise StatusError(
            Code.INVALID_ARGUMENT, f"Expected Tensor shape: [batch_size num_classes] but got {_text(shape)}"
        )
    if tensor.dtype != dtype:
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"Expected {alias} Tensor of {dtype_name(dtype)}. Got: {dtype_name(tensor.dtype)}",
        )
    if shape[0] != count:
        raise StatusError(Code.INVALID_ARGUMENT, f"Expected {alias} output batch size of {count}. Got: {shape[0]}")
    return shape[1]


def _shape(tensor: Message) -> list[int]:
    return [dimension.size for dimension in tensor.tensor_shape.dim]


def _text(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
