"""The HTTP API: from a request to a reply."""

from __future__ import annotations

import logging
import time
import zlib
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import Message, message

from . import rest_json_input, rest_json_output, rest_json_parse
from .rest_http import Response
from .rest_routing import Route, VersionOverflow, http_code, is_api_path, route
from .rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .api import ModelServerApi
    from .rest_http import Request

_MAX_INFLATED_BYTES = 100 * 1024 * 1024
_CORS_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_GZIP_WINDOW = 31

log = logging.getLogger(__name__)


def inflated(body: bytes) -> bytes:
    """Return the content of a gzip body; nothing for one that is damaged or grows beyond 100 MiB."""
    inflate = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        data = inflate.decompress(body, _MAX_INFLATED_BYTES)
    except zlib.error as error:
        log.warning("a request body cannot be inflated: %s", error)
        return b""
    if inflate.unconsumed_tail or not inflate.eof:
        log.warning("a request body cannot be inflated: it is cut, or larger than %d bytes", _MAX_INFLATED_BYTES)
        return b""
    return data


class RestApi:
    """Answers the requests of the HTTP API, and those for the metrics page where it has a path.

    Args:
        api: The calls.
        timeout_s: Deadline of a model run; none without.
        cors: Send CORS headers with every reply.
        metrics_path: Where the metrics are shown; nowhere without.
    """

    def __init__(self, api: ModelServerApi, *, timeout_s: float | None, cors: bool, metrics_path: str | None) -> None:
        self._api = api
        self._timeout_s = timeout_s
        self._headers = _CORS_HEADERS if cors else ()
        self._metrics_path = metrics_path
        self._predict_request = message("tensorflow.serving.PredictRequest")
        self._classify_request = message("tensorflow.serving.ClassificationRequest")
        self._regress_request = message("tensorflow.serving.RegressionRequest")

    def handle(self, request: Request) -> Response:
        """Return the reply to a request."""
        if self._metrics_path is not None and request.target.partition("?")[0] == self._metrics_path:
            return self._metrics(request.target)
        if not is_api_path(request.target):
            return Response(status=404, body=_NOT_FOUND, content_type="text/html")
        if request.method == "OPTIONS":
            origin = request.headers.get("origin", "")
            allowed = "http://" in origin or "https://" in origin
            return Response(status=200 if allowed else 400, headers=self._headers)
        return self._call(request)

    def _metrics(self, target: str) -> Response:
        if target != self._metrics_path:
            text = f"Unexpected path: {target}. Should be {self._metrics_path}"
            return Response(status=400, body=text.encode("utf-8", "replace"), content_type="text/plain")
        return Response(status=200, body=self._api.metrics.page().encode(), content_type="text/plain")

    def _call(self, request: Request) -> Response:
        begin = time.perf_counter()
        model = call = ""
        code = Code.OK
        try:
            asked = route(request.method, request.target)
            if asked is None:
                raise StatusError(  # noqa: TRY301  (one place that turns errors into replies)
                    Code.INVALID_ARGUMENT, f"Malformed request: {request.method} {_shown(request.target)}"
                )
            model, call = asked.model, asked.call
            body = self._reply(asked, request)
        except VersionOverflow:
            code, body = Code.INVALID_ARGUMENT, b""
        except StatusError as error:
            code, body = error.code, rest_json_output.error(error.message)
        except Exception:
            log.exception("the request %s %s failed", request.method, request.target)
            code, body = (
                Code.INTERNAL,
                rest_json_output.error("The request failed unexpectedly; the server's log says why"),
            )
        self._api.metrics.request_count.add(model, code.name)
        if code is Code.OK:
            micros = (time.perf_counter() - begin) * 1e6
            self._api.metrics.request_latency.observe(micros, model, call, "REST")
        return Response(status=http_code(code), body=body, headers=self._headers)

    def _reply(self, asked: Route, request: Request) -> bytes:
        if not asked.model:
            raise StatusError(Code.INVALID_ARGUMENT, "Missing model name in request.")
        if asked.call == "status":
            return self._status(asked)
        if asked.call == "metadata":
            return self._metadata(asked)
        body = request.body
        if request.headers.get("content-encoding", "").lower() == "gzip":
            body = inflated(body)
        document = rest_json_parse.parse(body)
        if asked.call == "predict":
            return self._predict(asked, document)
        return self._infer_examples(asked, document)

    def _predict(self, asked: Route, document: Mapping[str, Any]) -> bytes:
        request = self._predict_request()
        _fill_spec(asked, request.model_spec)

        def infos(signature: str) -> Mapping[str, Any]:
            key = signature or "serving_default"
            with self._api.core.acquire(request.model_spec) as (_, _, servable):
                if key not in servable.signatures:
                    raise StatusError(
                        Code.INVALID_ARGUMENT, f'Serving signature name: "{key}" not found in signature def'
                    )
                return dict(servable.signatures[key].inputs)

        by_row = rest_json_input.fill_predict(document, infos, request)
        response = self._api.predict(request, self._timeout_s)
        return rest_json_output.predictions(response.outputs, by_row=by_row)

    def _infer_examples(self, asked: Route, document: Mapping[str, Any]) -> bytes:
        classify = asked.call == "classify"
        request = (self._classify_request if classify else self._regress_request)()
        _fill_spec(asked, request.model_spec)
        rest_json_input.fill_examples(document, request)
        if classify:
            return rest_json_output.classifications(self._api.classify(request, self._timeout_s).result)
        return rest_json_output.regressions(self._api.regress(request, self._timeout_s).result)

    def _status(self, asked: Route) -> bytes:
        request = message("tensorflow.serving.GetModelStatusRequest")()
        _fill_spec(asked, request.model_spec)
        return rest_json_output.message_json(self._api.model_status(request)).encode()

    def _metadata(self, asked: Route) -> bytes:
        request = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=["signature_def"])
        _fill_spec(asked, request.model_spec)
        response = self._api.model_metadata(request)
        signatures = message("tensorflow.serving.SignatureDefMap").FromString(response.metadata["signature_def"].value)
        return rest_json_output.metadata(response.model_spec, signatures)


def _shown(target: str) -> str:
    """Return a request's path, whose characters stand for the bytes that arrived, as the text that it spells."""
    return target.encode("latin-1").decode("utf-8", "replace")


def _fill_spec(asked: Route, spec: Message) -> None:
    spec.name = asked.model
    if asked.version is not None:
        spec.version.value = asked.version
    elif asked.label is not None:
        spec.version_label = asked.label
