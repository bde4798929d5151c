"""The server's calls, without a transport: find the version, run the request on it, count it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelfleet.adapters.protos import Message, message

from .rpc_status import Code, StatusError
from .runtime import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .lifecycle.server_core import ServerCore
    from .metrics import ServerMetrics

_MICROS = 1e6


class ModelServerApi:
    """What the gRPC and the HTTP front end have in common. Every method may raise StatusError."""

    def __init__(self, core: ServerCore, metrics: ServerMetrics, *, check_method_names: bool = False) -> None:
        self.core = core
        self.metrics = metrics
        self._check_method_names = check_method_names
        self._reload_response = message("tensorflow.serving.ReloadConfigResponse")
        self._status_response = message("tensorflow.serving.GetModelStatusResponse")

    @contextmanager
    def _timed(self, name: str, call: str) -> Iterator[None]:
        """Record how long the model ran, where it ran well."""
        begin = time.perf_counter()
        yield
        self.metrics.runtime_latency.observe((time.perf_counter() - begin) * _MICROS, name, call, "TF1")

    def _run(self, call: str, run: Callable[..., Message], request: Message, timeout_s: float | None) -> Message:
        if not request.HasField("model_spec"):
            raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        with self.core.acquire(request.model_spec) as (name, version, servable), self._timed(name, call):
            return run(
                request, name, version, servable, timeout_s=timeout_s, check_method_names=self._check_method_names
            )

    def predict(self, request: Message, timeout_s: float | None) -> Message:
        """Answer a PredictRequest."""
        return self._run("Predict", inference.predict, request, timeout_s)

    def classify(self, request: Message, timeout_s: float | None) -> Message:
        """Answer a ClassificationRequest."""
        return self._run("Classify", inference.classify, request, timeout_s)

    def regress(self, request: Message, timeout_s: float | None) -> Message:
        """Answer a RegressionRequest."""
        return self._run("Regress", inference.regress, request, timeout_s)

    def multi_inference(self, request: Message, timeout_s: float | None) -> Message:
        """Answer a MultiInferenceRequest; the first task says which model."""
        spec = request.tasks[0].model_spec if request.tasks else message("tensorflow.serving.ModelSpec")()
        with self.core.acquire(spec) as (name, version, servable), self._timed(name, "MultiInference"):
            response = inference.multi_inference(
                request, name, version, servable, timeout_s=timeout_s, check_method_names=self._check_method_names
            )
        kind = request.input.WhichOneof("kind")
        examples = len(getattr(request.input, kind).examples) if kind else 0
        self.metrics.request_example_counts.observe(examples, name)
        self.metrics.request_example_count_total.add(name, count=examples)
        return response

    def model_metadata(self, request: Message) -> Message:
        """Answer a GetModelMetadataRequest."""
        if not request.HasField("model_spec"):
            raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        inference.check_metadata_request(request)
        with self.core.acquire(request.model_spec) as (name, version, servable):
            return inference.model_metadata(request, name, version, servable)

    def model_status(self, request: Message) -> Message:
        """Answer a GetModelStatusRequest; a label in it plays no part."""
        if not request.HasField("model_spec"):
            raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = self._status_response()
        for report in self.core.statuses(spec.name, version):
            entry = response.model_version_status.add(version=report.version, state=report.state)
            entry.status.error_code = report.error_code
            entry.status.error_message = report.error_message
        return response

    def reload_config(self, request: Message) -> Message:
        """Apply a ReloadConfigRequest; this may wait for ever, like the server it stands for."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise StatusError(
                Code.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported",
            )
        before = {name: self.metrics.first_value(name) for name in request.metric_names}
        self.core.reload_config(request.config)
        response = self._reload_response()
        response.status.error_code = int(Code.OK)
        for name, value in before.items():
            response.metric.add(name=name, int64_value_increase=self.metrics.first_value(name) - value)
        return response
