"""The HTTP listener of a service: one event loop, for a thread of its own."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from modelfleet.errors import InvalidInput
from uvicorn.protocols.http.h11_impl import H11Protocol

from .tokens import is_loopback

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

_BACKLOG = 128
#: More clients at once get 503: the service has few callers. Some more are answered when they come from this machine,
#: as healthchecks do.
CLIENTS, KEPT_FREE = 64, 16
#: No other machine gets more connections than this at once, and all together get no more than that: they are closed.
CONNECTIONS_OF_ONE, CONNECTIONS = 16, 128
#: After an answer a connection stays open for so long, in seconds.
_KEEP_ALIVE_S = 5
#: How often a connection must have brought a new request, in seconds; else it is closed.
_PATIENCE_S = 30.0
#: Requests that are being answered when the service ends may take so long, in seconds.
_GRACE_S = 1
_BEAT_S = 1


class _Connection(H11Protocol):
    """A connection of a client that cannot take all there are, or hold one open without requests.

    For example by sending a head byte by byte.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in the base class
        """Begin to watch, or close what is too much."""
        super().connection_made(transport)
        self._seen: object = None
        self._watch = self.loop.call_later(_PATIENCE_S, self._look)
        if is_loopback(self.address):
            self.limit_concurrency = CLIENTS + KEPT_FREE
        elif sum(other.address == self.address for other in self._others()) > CONNECTIONS_OF_ONE:
            transport.abort()
        if len(self.connections) > CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End watching."""
        self._watch.cancel()
        super().connection_lost(exc)

    @property
    def address(self) -> str:
        """Where the client is; empty when nobody knows."""
        return self.client[0] if self.client else ""

    def _others(self) -> Iterator[_Connection]:
        return (other for other in self.connections if isinstance(other, _Connection))

    def _look(self) -> None:
        if self.cycle is self._seen:
            self.transport.abort()
            return
        self._seen = self.cycle
        self._watch = self.loop.call_later(_PATIENCE_S, self._look)


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that clients can connect to at once.

    Raises:
        InvalidInput: the address is not one of this machine, or the port is taken.
    """
    subject = f"port {port} of {address}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InvalidInput(subject, "is taken by another program", "end that, or choose another --port") from error
        raise InvalidInput(
            subject, f"cannot be opened ({error.strerror or error})", "choose another --bind or --port"
        ) from error


class HttpServer:
    """Answers on a socket until it is stopped.

    Args:
        application: The ASGI application.
        listener: Where clients connect; closed at the end.
        alive: Called about once a second by the event loop, as a sign of life.
    """

    def __init__(self, application: Any, listener: socket.socket, alive: Callable[[], None]) -> None:  # noqa: ANN401  (an ASGI application has no type of its own)
        async def beat() -> None:
            alive()

        self._listener = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=_Connection,
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CLIENTS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
                callback_notify=beat,
                timeout_notify=_BEAT_S,
            )
        )

    def run(self) -> None:
        """Answer until told to stop; then stop accepting, answer what is in progress and close every connection."""
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Tell ``run`` to end, from another thread."""
        self._server.should_exit = True
