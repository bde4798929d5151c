"""Small clients of a model server for tests: gRPC over the private message pool, and HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self

import grpc
from google.protobuf import text_format
from modelfleet.adapters.protos import message

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS = {
    "Predict": ("PredictionService", "PredictRequest", "PredictResponse"),
    "Classify": ("PredictionService", "ClassificationRequest", "ClassificationResponse"),
    "Regress": ("PredictionService", "RegressionRequest", "RegressionResponse"),
    "MultiInference": ("PredictionService", "MultiInferenceRequest", "MultiInferenceResponse"),
    "GetModelMetadata": ("PredictionService", "GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": ("ModelService", "GetModelStatusRequest", "GetModelStatusResponse"),
    "HandleReloadConfigRequest": ("ModelService", "ReloadConfigRequest", "ReloadConfigResponse"),
}
_MAX_BYTES = 2**31 - 1
AVAILABLE = 30
END = 50


def serving(name: str, **fields: Any) -> Any:
    """Return a message of package tensorflow.serving."""
    return message(f"tensorflow.serving.{name}")(**fields)


class GrpcClient:
    """Calls a server by the names of its methods."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        options = [("grpc.max_receive_message_length", _MAX_BYTES), ("grpc.max_send_message_length", _MAX_BYTES)]
        self.channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._calls = {
            method: self.channel.unary_unary(
                f"/tensorflow.serving.{service}/{method}",
                request_serializer=message(f"tensorflow.serving.{request}").SerializeToString,
                response_deserializer=message(f"tensorflow.serving.{response}").FromString,
            )
            for method, (service, request, response) in _CALLS.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, method: str, request: Any, timeout_s: float | None = 30) -> Any:
        """Call a method; None for no deadline."""
        return self._calls[method](request, timeout=timeout_s, wait_for_ready=True)

    def future(self, method: str, request: Any, timeout_s: float = 30) -> Any:
        """Start a call."""
        return self._calls[method].future(request, timeout=timeout_s, wait_for_ready=True)

    def predict(
        self,
        name: str,
        values: list[float],
        *,
        version: int = 0,
        label: str = "",
        key: str = "x",
        timeout_s: float | None = 30,
    ) -> list[float]:
        """Return the floats that a model with one input and the output ``y`` answers."""
        request = serving("PredictRequest")
        fill_spec(request.model_spec, name, version=version, label=label)
        tensor = request.inputs[key]
        tensor.dtype = 1
        tensor.float_val.extend(values)
        tensor.tensor_shape.dim.add(size=len(values))
        return list(self.call("Predict", request, timeout_s).outputs["y"].float_val)

    def states(self, name: str) -> dict[int, int]:
        """Return the state of every version of a model."""
        request = serving("GetModelStatusRequest")
        request.model_spec.name = name
        return {entry.version: entry.state for entry in self.call("GetModelStatus", request).model_version_status}

    def reload(self, text: str, timeout_s: float = 30, metric_names: tuple[str, ...] = ()) -> Any:
        """Apply a models.config text."""
        request = serving("ReloadConfigRequest", metric_names=metric_names)
        text_format.Parse(text, request.config)
        return self.call("HandleReloadConfigRequest", request, timeout_s)


def fill_spec(spec: Any, name: str, *, version: int = 0, label: str = "", signature: str = "") -> None:
    """Fill a ModelSpec."""
    spec.name = name
    spec.signature_name = signature
    if version:
        spec.version.value = version
    if label:
        spec.version_label = label


def failure(call: Callable[[], Any]) -> tuple[str, str]:
    """Return the code and the text of a gRPC call that fails.

    Raises:
        AssertionError: it does not fail.
    """
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError("the call did not fail")


def http(
    port: int,
    method: str,
    path: str,
    body: bytes | Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send one HTTP request; return the status, the headers (names in lower case) and the body."""
    connection = http_connection(port)
    try:
        data = json.dumps(body).encode() if isinstance(body, Mapping) else body
        connection.request(method, path, data, dict(headers or {}))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def http_connection(port: int) -> HTTPConnection:
    """Return a connection to a server on this machine."""
    return HTTPConnection("127.0.0.1", port, timeout=30)


def eventually(condition: Callable[[], bool], deadline_s: float = 20) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not in time.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the condition did not come true in time")
        time.sleep(0.02)
