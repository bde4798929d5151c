"""A service's operations as an ASGI application: routing, limits, the token, errors as JSON."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from modelfleet.errors import DeadlineExceeded, InvalidInput, ModelfleetError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from .operations import DESCRIPTION_PATH, HTML_TYPE, JSON_TYPE, PAGE_PATH, PAGE_POLICY, Reply, openapi, page
from .refusals import LargeBody, LateBody, NotFound, NotJson, Refusal, WrongMethod, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from .event_log import EventLog
    from .operations import Api, Operation
    from .tokens import Guard

MAX_BODY_BYTES = 64 * 1024
#: How long a request's body may take to arrive, in seconds.
_BODY_S = 10.0
#: How long an operation may take, in seconds. It only asks or tells the service's threads.
_OPERATION_S = 5.0
#: Threads for operations; one that hangs must not take the others with it.
_OPERATION_THREADS = 4
_COMMON_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def _response(reply: Reply, headers: Mapping[str, str] | None = None) -> Response:
    text = reply.content
    if reply.media_type == JSON_TYPE:
        text = json.dumps(text, separators=(",", ":"), ensure_ascii=False) + "\n"
    return Response(
        text, reply.status, headers={**_COMMON_HEADERS, **(headers or {}), "Content-Type": reply.media_type}
    )


def _failure(error: ModelfleetError, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> Response:
    told = {"code": error.code, "subject": error.subject, "problem": error.problem, "remedy": error.remedy}
    challenge = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else {}
    return _response(Reply({"error": told}, status), {**challenge, **(headers or {})})


async def _received(request: Request, subject: str) -> bytes:
    """Return the request's body.

    Raises:
        ModelfleetError: it is too large or late.
    """
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                data += part
                if len(data) > MAX_BODY_BYTES:
                    raise LargeBody(subject, f"is larger than {MAX_BODY_BYTES} bytes", "send only what is asked for")
    except TimeoutError as error:
        raise LateBody(subject, f"did not arrive within {_BODY_S:.0f} s", "send it at once") from error
    return bytes(data)


def _decoded(operation: Operation, content_type: str, data: bytes, subject: str) -> Mapping[str, Any]:
    """Return the object in a request's body.

    Raises:
        ModelfleetError: it is not what the operation takes.
    """
    known = (operation.body or {}).get("properties", {})
    if not data and not known:
        return {}
    if content_type.partition(";")[0].strip().lower() != JSON_TYPE:
        raise NotJson(subject, "is not announced as JSON", f"send the header Content-Type: {JSON_TYPE}")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(subject, "is not JSON", "send a JSON object") from error
    if not isinstance(body, dict):
        raise InvalidInput(subject, "is not a JSON object", "send a JSON object")
    for key in body:
        if key not in known:
            raise InvalidInput(subject, f"has an unknown key {key!r}", f"known: {', '.join(known) or 'none'}")
    for key in (operation.body or {}).get("required", ()):
        if key not in body:
            raise InvalidInput(subject, f"has no key {key!r}", "add it")
    return body


class Application:
    """Turns operations into what an ASGI server runs.

    Args:
        api: The operations.
        guard: Who may change things.
        log: Where unexpected errors go.
    """

    def __init__(self, api: Api, guard: Guard, log: EventLog) -> None:
        self._guard = guard
        self._log = log
        self._threads = ThreadPoolExecutor(_OPERATION_THREADS, "operation")
        described = Reply(openapi(api))
        shown = Reply(page(api), media_type=HTML_TYPE)
        routes = [
            Route(operation.path, self._endpoint(operation), methods=[operation.method]) for operation in api.operations
        ]
        routes += [
            Route(DESCRIPTION_PATH, _fixed(described), methods=["GET"]),
            Route(PAGE_PATH, _fixed(shown, {"Content-Security-Policy": PAGE_POLICY}), methods=["GET"]),
        ]
        self.asgi = Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})
        self.asgi.router.redirect_slashes = False

    def close(self) -> None:
        """Let the threads of operations end, without waiting for one that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if operation.changes:
                    self._guard.check(request.headers)
                return _response(await self._run(operation, await self._body(request, operation)))
            except ClientDisconnect:
                return Response(status_code=HTTPStatus.BAD_REQUEST)
            except ModelfleetError as error:
                return _failure(error, status_of(error))
            except Exception as error:  # noqa: BLE001  (one request must never end the service)
                self._log.crash(f"Failed {operation.method} {operation.path}", error)
                told = ModelfleetError(operation.path, "failed unexpectedly", "look into the service's log")
                return _failure(told, HTTPStatus.INTERNAL_SERVER_ERROR)

        return endpoint

    @staticmethod
    async def _body(request: Request, operation: Operation) -> Mapping[str, Any]:
        """Return what the request brings for the operation; what changes nothing takes nothing."""
        if not operation.changes:
            return {}
        subject = f"body of {operation.method} {operation.path}"
        data = await _received(request, subject)
        return _decoded(operation, request.headers.get("content-type", ""), data, subject)

    async def _run(self, operation: Operation, body: Mapping[str, Any]) -> Reply:
        running = asyncio.get_running_loop().run_in_executor(self._threads, operation.run, body)
        try:
            return await asyncio.wait_for(running, _OPERATION_S)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{operation.method} {operation.path}",
                f"was not answered within {_OPERATION_S:.0f} s",
                "restart the service when this goes on, and look into its log",
            ) from error


def _fixed(reply: Reply, headers: Mapping[str, str] | None = None) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_request: Request) -> Response:
        return _response(reply, headers)

    return endpoint


async def _unrouted(request: Request, error: Exception) -> Response:
    """Answer for a path or a method that there is not."""
    wrong_method = isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    kind: type[Refusal] = WrongMethod if wrong_method else NotFound
    subject = f"{request.method} {request.url.path}"
    problem = kind(subject, "is no operation of this service", f"see {PAGE_PATH} for those that are")
    return _failure(problem, problem.status, error.headers if isinstance(error, HTTPException) else None)
