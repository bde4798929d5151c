"""What the inference APIs mean: requests checked, run over a servable and answered, independent of gRPC and REST.

The caller has acquired the servable and holds it until the function returns. Every function raises ``StatusError``
with the code and the text a client of TensorFlow Serving sees, checks in the same order, and replies with the model's
name, the resolved signature and the version that answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .examples import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    check_method_name,
    classification_result,
    classify_tensors,
    example_tensor,
    regress_tensors,
    regression_result,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..servable import Servable

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
SIGNATURE_DEF_FIELD = "signature_def"


def predict(  # noqa: PLR0913  (an acquired version is three of them)
    request: Message,
    name: str,
    version: int,
    servable: Servable,
    *,
    timeout_s: float | None = None,
    check_method_names: bool = False,
) -> Message:
    """Answer a PredictRequest with a PredictResponse.

    Args:
        request: The request.
        name: Name of the model.
        version: Version that ``servable`` is.
        servable: The acquired version.
        timeout_s: Deadline of the run in seconds; none without.
        check_method_names: Whether ``method_name`` of the signature must be one of TensorFlow Serving's.

    Raises:
        StatusError: the request does not fit the signature, or its run failed.
    """
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(key)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    if check_method_names and signature.method_name not in (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD):
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{PREDICT_METHOD}, {CLASSIFY_METHOD}, "
            f"{REGRESS_METHOD}}}. Was: {signature.method_name}",
        )
    inputs = _inputs(signature, request.inputs)
    outputs = _outputs(signature, request.output_filter)
    response = message("tensorflow.serving.PredictResponse")()
    for alias, value in servable.run(key, inputs, outputs, timeout_s=timeout_s).items():
        response.outputs[alias].CopyFrom(value)
    _set_model_spec(response.model_spec, name, version, key)
    return response


def classify(  # noqa: PLR0913  (an acquired version is three of them)
    request: Message,
    name: str,
    version: int,
    servable: Servable,
    *,
    timeout_s: float | None = None,
    check_method_names: bool = False,
) -> Message:
    """Answer a ClassificationRequest with a ClassificationResponse; arguments and errors as ``predict``."""
    key, signature = _example_signature(request, servable)
    if check_method_names:
        check_method_name(signature, CLASSIFY_METHOD)
    feed, fetches = classify_tensors(signature)
    examples, count = example_tensor(request.input)
    values = servable.run_many({feed: examples}, fetches, timeout_s=timeout_s)
    response = message("tensorflow.serving.ClassificationResponse")()
    response.result.CopyFrom(classification_result(signature, count, values))
    _set_model_spec(response.model_spec, name, version, key)
    return response


def regress(  # noqa: PLR0913  (an acquired version is three of them)
    request: Message,
    name: str,
    version: int,
    servable: Servable,
    *,
    timeout_s: float | None = None,
    check_method_names: bool = False,
) -> Message:
    """Answer a RegressionRequest with a RegressionResponse; arguments and errors as ``predict``."""
    key, signature = _example_signature(request, servable)
    if check_method_names:
        check_method_name(signature, REGRESS_METHOD)
    feed, fetches = regress_tensors(signature)
    examples, count = example_tensor(request.input)
    values = servable.run_many({feed: examples}, fetches, timeout_s=timeout_s)
    response = message("tensorflow.serving.RegressionResponse")()
    response.result.CopyFrom(regression_result(signature, count, values))
    _set_model_spec(response.model_spec, name, version, key)
    return response


def multi_inference(  # noqa: PLR0913  (an acquired version is three of them)
    request: Message,
    name: str,
    version: int,
    servable: Servable,
    *,
    timeout_s: float | None = None,
    check_method_names: bool = False,
) -> Message:
    """Answer a MultiInferenceRequest with a MultiInferenceResponse, in one run for all tasks.

    Arguments and errors as ``predict``.
    """
    feed, fetches = _task_tensors(request.tasks, servable, check_method_names=check_method_names)
    examples, count = example_tensor(request.input)
    values = servable.run_many({feed: examples}, fetches, timeout_s=timeout_s)
    response = message("tensorflow.serving.MultiInferenceResponse")()
    for task in request.tasks:
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures[key]
        result = response.results.add()
        if task.method_name == CLASSIFY_METHOD:
            result.classification_result.CopyFrom(classification_result(signature, count, values))
        else:
            result.regression_result.CopyFrom(regression_result(signature, count, values))
        _set_model_spec(result.model_spec, name, version, key)
    return response


def check_metadata_request(request: Message) -> None:
    """Check what a GetModelMetadataRequest asks for; TensorFlow Serving does so before it looks for the model.

    Raises:
        StatusError: INVALID_ARGUMENT, no field or an unknown one.
    """
    if not request.metadata_field:
        raise StatusError(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF_FIELD:
            raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")


def model_metadata(request: Message, name: str, version: int, servable: Servable) -> Message:
    """Answer a GetModelMetadataRequest with a GetModelMetadataResponse; its signature name stays empty.

    Raises:
        StatusError: as ``check_metadata_request``.
    """
    check_metadata_request(request)
    signatures = message("tensorflow.serving.SignatureDefMap")()
    for key, signature in servable.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    response = message("tensorflow.serving.GetModelMetadataResponse")()
    response.model_spec.name = name
    response.model_spec.version.value = version
    # The reply's Any is a message of the private pool, which has no Pack of its own for the map.
    packed = response.metadata[SIGNATURE_DEF_FIELD]
    packed.type_url = f"type.googleapis.com/{signatures.DESCRIPTOR.full_name}"
    packed.value = signatures.SerializeToString()
    return response


def _inputs(signature: Message, given: Message) -> dict[str, Message]:
    """Return a TensorProto for every input of the signature, from the request or from the signature's defaults."""
    wanted = signature.inputs
    defaults = signature.defaults
    if len(given) > len(wanted) or (len(given) < len(wanted) and not defaults):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(wanted)} len({_braced(given)}) != "
            f"len({_braced(wanted)}). Sent extra: {_braced(set(given) - set(wanted))}. "
            f"Missing but required: {_braced(set(wanted) - set(given))}.",
        )
    inputs = {}
    for alias in wanted:
        if alias in given:
            inputs[alias] = given[alias]
        elif alias in defaults:
            inputs[alias] = defaults[alias]
        else:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_braced(given)}, or default input alias set: "
                + ",".join(sorted(defaults)),
            )
    if any(alias not in wanted for alias in given):
        raise StatusError(
            Code.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: "
            f"{','.join(sorted(set(given) & set(wanted)))}, request input: {','.join(sorted(given))}",
        )
    return inputs


def _outputs(signature: Message, output_filter: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}.",
            )
        if alias in chosen:
            raise StatusError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or sorted(signature.outputs)


def _example_signature(request: Message, servable: Servable) -> tuple[str, Message]:
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(key)
    if signature is None:
        raise StatusError(Code.INVALID_ARGUMENT, f"No signature was found with the name: {key}")
    return key, signature


def _task_tensors(tasks: Message, servable: Servable, *, check_method_names: bool) -> tuple[str, list[str]]:
    """Return the one feed and all fetches of the tasks of a MultiInferenceRequest."""
    common_feed = ""
    model_name = ""
    seen = set()
    all_fetches: set[str] = set()
    for task in tasks:
        if not task.model_spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name.")
        model_name = model_name or task.model_spec.name
        if task.model_spec.name != model_name:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            )
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in seen:
            raise StatusError(Code.INVALID_ARGUMENT, f"Duplicate evaluation of signature: {key}")
        seen.add(key)
        signature = servable.signatures.get(key)
        if signature is None:
            raise StatusError(Code.INVALID_ARGUMENT, f"Requested signature not found in model graph: {key}")
        tensors = {CLASSIFY_METHOD: classify_tensors, REGRESS_METHOD: regress_tensors}.get(task.method_name)
        if tensors is None:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        if check_method_names:
            check_method_name(signature, task.method_name)
        feed, fetches = tensors(signature)
        common_feed = common_feed or feed
        if feed != common_feed:
            raise StatusError(Code.INVALID_ARGUMENT, "Input tensor must be the same for all Signatures.")
        all_fetches.update(fetches)
    return common_feed, sorted(all_fetches)


def _set_model_spec(spec: Message, name: str, version: int, signature_key: str) -> None:
    spec.name = name
    spec.version.value = version
    spec.signature_name = signature_key


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
