"""TensorFlow Serving over gRPC: what it serves, what it is told, what it answers.

Every call has a client deadline, because the server has none of its own. An OK of a reload proves nothing about
versions of models that the server knew before; ask :meth:`TFServing.statuses` and :meth:`TFServing.labels`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInput, MissingDependency, ReloadLockHeld, ServerRefused, ServerUnreachable
from ..status import ServingState, VersionStatus
from .protos import Message, message, pool
from .tensors import from_tensor_proto, to_tensor_proto

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import grpc

    from ..models_config import ModelsConfig
    from .tensors import Nested

_MODEL_SERVICE = "/tensorflow.serving.ModelService/"
_PREDICTION_SERVICE = "/tensorflow.serving.PredictionService/"

#: Channel options. Replies can be of any size; a proxy never stands between us and a node of our own; names are
#: resolved again on every connection attempt.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

#: Calls in flight at once when many models are asked for.
_WINDOW = 256


@dataclass(frozen=True)
class Prediction:
    """The answer to one Predict call.

    Attributes:
        version: The version that answered.
        outputs: Values by output name, nested lists of the tensor's shape.
        seconds: Wall time of the call.
    """

    version: int
    outputs: Mapping[str, Nested]
    seconds: float


class TFServing:
    """A client of one server.

    Args:
        target: ``host:port`` or ``unix:path`` of the gRPC listener.
        timeout_s: Deadline of each call that states no other, in seconds.

    Raises:
        MissingDependency: grpcio, protobuf or the descriptor set is not installed.
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0) -> None:
        try:
            import grpc
        except ImportError as error:
            raise MissingDependency("Python library grpcio", "talking to TensorFlow Serving") from error
        pool()  # A missing descriptor set is told now, not in the middle of something.
        self._grpc = grpc
        self.target = target
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)

    def __enter__(self) -> TFServing:  # noqa: PYI034  (typing.Self is younger than the oldest node)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def statuses(self, models: Iterable[str]) -> dict[str, dict[int, VersionStatus]]:
        """Return what the server says of each model: its versions ever seen; empty for one it does not know.

        Raises:
            ServerUnreachable: no answer within the deadline.
            ServerRefused: an answer that is neither a status nor NOT_FOUND.
        """
        request_type = message("tensorflow.serving.GetModelStatusRequest")
        call = self._call(_MODEL_SERVICE + "GetModelStatus", "GetModelStatusRequest", "GetModelStatusResponse")
        # Asked about nothing, the server is asked for a name that no model has: an answer is wanted in any case.
        names = list(models) or [""]
        result: dict[str, dict[int, VersionStatus]] = {}
        for start in range(0, len(names), _WINDOW):
            futures = []
            for name in names[start : start + _WINDOW]:
                request = request_type()
                request.model_spec.name = name
                futures.append((name, call.future(request, timeout=self._timeout_s)))
            for name, future in futures:
                reply = self._answer(future, f"status of model {name}", {self._grpc.StatusCode.NOT_FOUND})
                entries = reply.model_version_status if reply is not None else ()
                result[name] = {entry.version: _version_status(entry) for entry in entries}
        result.pop("", None)
        return result

    def labels(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """Return the version that each (model, label) leads to at this moment; None where a request would fail.

        The API cannot list labels, but a metadata request by label resolves one.

        Raises:
            ServerUnreachable: no answer within the deadline.
        """
        request_type = message("tensorflow.serving.GetModelMetadataRequest")
        call = self._call(
            _PREDICTION_SERVICE + "GetModelMetadata", "GetModelMetadataRequest", "GetModelMetadataResponse"
        )
        futures = []
        for model, label in wanted:
            request = request_type(metadata_field=["signature_def"])
            request.model_spec.name = model
            request.model_spec.version_label = label
            futures.append(((model, label), call.future(request, timeout=self._timeout_s)))
        codes = self._grpc.StatusCode
        unresolved = {codes.INVALID_ARGUMENT, codes.NOT_FOUND, codes.FAILED_PRECONDITION}
        result: dict[tuple[str, str], int | None] = {}
        for (model, label), future in futures:
            reply = self._answer(future, f"label {label} of model {model}", unresolved, "labels does not init")
            result[(model, label)] = reply.model_spec.version.value if reply is not None else None
        return result

    def reload(self, config: ModelsConfig, *, timeout_s: float) -> None:
        """Send the whole configuration; the server replaces what it had.

        Returning proves only that new models reached an end state: see ``statuses``.

        Raises:
            ReloadLockHeld: no answer within the deadline; the server goes on holding its configuration lock.
            ServerRefused: the server answered with an error; it may have kept the refused configuration.
            ServerUnreachable: no connection.
        """
        request = message("tensorflow.serving.ReloadConfigRequest")()
        # An empty list is sent as such: an unset one means something else to the server.
        request.config.model_config_list.SetInParent()
        for entry in config.entries.values():
            item = request.config.model_config_list.config.add()
            item.name = entry.name
            item.base_path = entry.base_path
            item.model_platform = "tensorflow"
            item.model_version_policy.specific.versions.extend(entry.versions)
            for label, version in sorted(entry.labels.items()):
                item.version_labels[label] = version
        call = self._call(_MODEL_SERVICE + "HandleReloadConfigRequest", "ReloadConfigRequest", "ReloadConfigResponse")
        try:
            call(request, timeout=timeout_s)
        except self._grpc.RpcError as error:
            if error.code() is self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ReloadLockHeld(
                    self.target,
                    f"the reload did not return within {timeout_s:g} s; the server still holds its configuration lock "
                    "and every later reload waits behind it",
                    "do not send it again: restart this server, its models.config names only versions that loaded",
                ) from error
            raise self._failure(error, "reload of the configuration") from error

    def predict(  # noqa: PLR0913  (the fields of the request)
        self,
        model: str,
        inputs: Mapping[str, Nested],
        *,
        version: int | None = None,
        label: str = "",
        signature_name: str = "",
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Run one request, given and answered as nested lists.

        The types of the input tensors are those that the signature declares.

        Raises:
            InvalidInput: the inputs do not fit the signature.
            ServerRefused: the server answered with an error.
            ServerUnreachable: no answer within the deadline.
        """
        signature, served = self._signature(model, version, label, signature_name)
        request = message("tensorflow.serving.PredictRequest")()
        self._address(request.model_spec, model, version, label)
        request.model_spec.signature_name = signature_name
        request.output_filter.extend(outputs)
        for name, value in inputs.items():
            if name not in signature.inputs:
                known = ", ".join(sorted(signature.inputs))
                raise InvalidInput(
                    f"input {name} of {model} version {served}", "is not in the signature", f"use {known}"
                )
            request.inputs[name].CopyFrom(
                to_tensor_proto(value, signature.inputs[name].dtype, f"{model}: input {name}")
            )
        call = self._call(_PREDICTION_SERVICE + "Predict", "PredictRequest", "PredictResponse")
        begin = time.monotonic()
        try:
            reply = call(request, timeout=timeout_s or self._timeout_s)
        except self._grpc.RpcError as error:
            raise self._failure(error, f"prediction of {model}") from error
        seconds = time.monotonic() - begin
        return Prediction(
            version=reply.model_spec.version.value,
            outputs={name: from_tensor_proto(tensor) for name, tensor in sorted(reply.outputs.items())},
            seconds=seconds,
        )

    def _signature(self, model: str, version: int | None, label: str, signature_name: str) -> tuple[Message, int]:
        """Return the SignatureDef a request would use, and the version that has it."""
        request = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=["signature_def"])
        self._address(request.model_spec, model, version, label)
        call = self._call(
            _PREDICTION_SERVICE + "GetModelMetadata", "GetModelMetadataRequest", "GetModelMetadataResponse"
        )
        try:
            reply = call(request, timeout=self._timeout_s)
        except self._grpc.RpcError as error:
            raise self._failure(error, f"metadata of {model}") from error
        signatures = message("tensorflow.serving.SignatureDefMap")()
        reply.metadata["signature_def"].Unpack(signatures)
        key = signature_name or "serving_default"
        served = reply.model_spec.version.value
        if key not in signatures.signature_def:
            known = ", ".join(sorted(signatures.signature_def))
            raise InvalidInput(f"{model} version {served}", f"has no signature {key}", f"use one of: {known}")
        return signatures.signature_def[key], served

    @staticmethod
    def _address(spec: Message, model: str, version: int | None, label: str) -> None:
        spec.name = model
        if label:
            spec.version_label = label
        elif version is not None:
            spec.version.value = version

    def _call(self, method: str, request: str, response: str) -> grpc.UnaryUnaryMultiCallable[Message, Message]:
        return self._channel.unary_unary(
            method,
            request_serializer=message(f"tensorflow.serving.{request}").SerializeToString,
            response_deserializer=message(f"tensorflow.serving.{response}").FromString,
        )

    def _answer(
        self, future: grpc.Future[Message], what: str, no_answer: set[grpc.StatusCode], words: str = ""
    ) -> Message | None:
        """Return the reply of a call; None for an error of the given codes, or one that says the given words."""
        try:
            return future.result()
        except self._grpc.RpcError as error:
            if error.code() in no_answer or (words and words in str(error.details())):
                return None
            raise self._failure(error, what) from error

    def _failure(self, error: grpc.RpcError, what: str) -> ServerUnreachable | ServerRefused:
        codes = self._grpc.StatusCode
        if error.code() in {codes.UNAVAILABLE, codes.DEADLINE_EXCEEDED}:
            return ServerUnreachable(
                self.target,
                f"no TensorFlow Serving answered ({what}): {error.details()}",
                "look at the server's log, or correct the target",
            )
        return ServerRefused(self.target, error.code().name, f"{what}: {error.details()}")


def _version_status(entry: Message) -> VersionStatus:
    return VersionStatus(
        state=ServingState(entry.state),
        error_code=_code_name(entry.status.error_code),
        error_message=entry.status.error_message,
    )


def _code_name(number: int) -> str:
    enum = message("tensorflow.serving.StatusProto").DESCRIPTOR.fields_by_name["error_code"].enum_type
    value = enum.values_by_number.get(number)
    return str(value.name) if value else str(number)
