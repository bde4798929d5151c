"""The gRPC API: PredictionService and ModelService as generic handlers, and the standard health service."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NoReturn

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from modelfleet.adapters.protos import Message, MessageClass, message

from .rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .api import ModelServerApi

_PREFIX = "tensorflow.serving."
#: gRPC refuses large headers, so a text that goes into one is cut; 1024 as the real server does.
_MAX_DETAILS = 1024
_TRUNCATED = "...TRUNCATED"
#: A reload may wait for ever, so each may take a thread of its own: none that answers inference or status.
_RELOAD_THREADS = 64
_STATUS_THREADS = 4
_LONGEST_DEADLINE_S = 365 * 24 * 3600
_CODES = {Code(entry.value[0]): entry for entry in grpc.StatusCode}

log = logging.getLogger(__name__)


def truncated(text: str) -> str:
    """Return an error text as short as it must be for the wire."""
    return text if len(text) <= _MAX_DETAILS else text[:_MAX_DETAILS] + _TRUNCATED


def _seconds_left(context: grpc.ServicerContext) -> float | None:
    """Return what the client's deadline leaves; None where it has set none."""
    seconds = context.time_remaining()
    # gRPC's own word for no deadline is the end of time, which no timeout can express.
    return None if seconds > _LONGEST_DEADLINE_S else seconds


def _abort(context: grpc.ServicerContext, code: Code, text: str) -> NoReturn:
    context.abort(_CODES[code], truncated(text))


def _handler(
    request_name: str,
    call: Callable[[Message, float | None], Message],
    *,
    pool: ThreadPoolExecutor | None = None,
) -> grpc.RpcMethodHandler[Message, Message]:
    """Return the handler of a unary call.

    Args:
        request_name: The request message.
        call: Takes the request and the seconds that are left; raises StatusError.
        pool: Threads of its own; the server's by default.
    """

    def behaviour(request: Message, context: grpc.ServicerContext) -> Message:
        try:
            return call(request, _seconds_left(context))
        except StatusError as error:
            code, text = error.code, error.message
        except Exception:
            log.exception("the call with %s failed", request_name)
            code, text = Code.INTERNAL, "the server failed; its log says why"
        _abort(context, code, text)

    if pool is not None:
        behaviour.experimental_thread_pool = pool  # type: ignore[attr-defined]  # how gRPC takes a handler's own threads
    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=message(request_name).FromString,
        response_serializer=_serialize,
    )


def _serialize(response: Message) -> bytes:
    data: bytes = response.SerializeToString()
    return data


def _counted(
    api: ModelServerApi, name: str, call: Callable[[Message, float | None], Message]
) -> Callable[[Message, float | None], Message]:
    """Return a call that is counted and, where it goes well, timed."""

    def counted(request: Message, timeout_s: float | None) -> Message:
        begin = time.perf_counter()
        model = request.model_spec.name
        try:
            response = call(request, timeout_s)
        except StatusError as error:
            api.metrics.request_count.add(model, error.code.name)
            raise
        api.metrics.request_count.add(model, "OK")
        api.metrics.request_latency.observe((time.perf_counter() - begin) * 1e6, model, name, "GRPC")
        return response

    return counted


def handlers(api: ModelServerApi) -> Iterable[grpc.GenericRpcHandler]:
    """Return the handlers of both services."""
    status_pool = ThreadPoolExecutor(_STATUS_THREADS, thread_name_prefix="grpc-status")
    reload_pool = ThreadPoolExecutor(_RELOAD_THREADS, thread_name_prefix="grpc-reload")
    prediction = {
        "Predict": _handler(_PREFIX + "PredictRequest", _counted(api, "Predict", api.predict)),
        "Classify": _handler(_PREFIX + "ClassificationRequest", _counted(api, "Classify", api.classify)),
        "Regress": _handler(_PREFIX + "RegressionRequest", _counted(api, "Regress", api.regress)),
        "MultiInference": _handler(_PREFIX + "MultiInferenceRequest", api.multi_inference),
        "GetModelMetadata": _handler(
            _PREFIX + "GetModelMetadataRequest", lambda request, _: api.model_metadata(request)
        ),
    }
    model = {
        "GetModelStatus": _handler(
            _PREFIX + "GetModelStatusRequest", lambda request, _: api.model_status(request), pool=status_pool
        ),
        "HandleReloadConfigRequest": _handler(
            _PREFIX + "ReloadConfigRequest", lambda request, _: api.reload_config(request), pool=reload_pool
        ),
    }
    return (
        grpc.method_handlers_generic_handler(_PREFIX + "PredictionService", prediction),
        grpc.method_handlers_generic_handler(_PREFIX + "ModelService", model),
    )


#: The services that the health service knows; the empty name is the server as a whole.
_HEALTHY = frozenset({"", "ModelService", "PredictionService"})
_SERVING = 1


def _health_messages() -> tuple[MessageClass, MessageClass]:
    """Return the request and the response message of ``grpc.health.v1``."""
    file = descriptor_pb2.FileDescriptorProto(name="grpc/health/v1/health.proto", package="grpc.health.v1")
    file.syntax = "proto3"
    kind = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status",
        number=1,
        type=kind.TYPE_ENUM,
        type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus",
        label=kind.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return (
        message_factory.GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest")),
        message_factory.GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthCheckResponse")),
    )


def health_handler() -> grpc.GenericRpcHandler:
    """Return the handler of the health service: SERVING from the start, whatever happens to the models."""
    request_class, response_class = _health_messages()

    def check(request: Message, context: grpc.ServicerContext) -> Message:
        if request.service not in _HEALTHY:
            context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return response_class(status=_SERVING)

    method = grpc.unary_unary_rpc_method_handler(
        check, request_deserializer=request_class.FromString, response_serializer=_serialize
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
