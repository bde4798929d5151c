"""Connections as urllib3 makes, trusts and keeps them, with a shorter way to use them.

For a small file urllib3 takes more time to look at URL, timeouts and fields of one request again than everything else
takes together.
"""

from __future__ import annotations

import functools
import re
import threading
from http import client
from typing import TYPE_CHECKING, Any, cast

from .http_head import Answer

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from urllib3 import HTTPResponse, Timeout

    from .http_hold import Hold

#: What the thread that asks by way of urllib3 holds on to; attribute ``hold``.
waiting = threading.local()
_HEAD = re.compile(r"[A-Z]+ /[!-~]* HTTP/1\.1\r\n([!-9;-~]+: [ -~]*\r\n)+\r\n")
#: Lines of a request that are no fields of who asks: what is asked, the host, the empty one.
_OWN_LINES = 3


class Watched:
    """Part of a connection: tells who waits for its answer which socket that is, and reads the head in its own way.

    Attributes:
        answers: How many came since it was made.
    """

    sock: socket.socket | None
    timeout: float | None
    response_class: Any = Answer
    answers = 0

    def connect(self) -> None:
        """Connect, see ``http.client``."""
        self.answers = 0
        super().connect()  # type: ignore[misc]  # a mix-in before a kind of connection

    def getresponse(self) -> Any:  # noqa: ANN401  (a mix-in before either kind of connection)
        """Return the answer to the last request."""
        hold: Hold | None = getattr(waiting, "hold", None)
        if self.sock is not None:
            self.sock.settimeout(self.timeout)
            if hold is not None:
                hold.attach(self.sock, used=self.answers > 0)
        # What urllib3 would do here is to check and copy the head.
        answer = cast("Answer", client.HTTPConnection.getresponse(cast("client.HTTPConnection", self)))
        self.answers += 1
        return _response(answer)


class Asking:
    """Part of a pool: one request without a body, and the head of its answer."""

    host: str
    port: int | None
    scheme: Any
    timeout: Timeout
    _get_conn: Any
    _put_conn: Any

    def head(self, method: str, target: str, fields: Mapping[str, str]) -> bytes:
        """Return a request without a body; empty when something in it needs quoting, or could end a line.

        Args:
            method: The method.
            target: Path and query.
            fields: All fields but the host.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        text = f"{method} {target} HTTP/1.1\r\n{self._host}{lines}\r\n"
        whole = text.count("\n") == len(fields) + _OWN_LINES and "host" not in map(str.lower, fields)
        return text.encode() if whole and _HEAD.fullmatch(text) else b""

    def ask(self, method: str, head: bytes, hold: Hold) -> HTTPResponse:
        """Send a request over a connection of the pool, and return the answer with its body still to be read.

        Args:
            method: The method.
            head: The request.
            hold: Gets hold of the connection before the answer is waited for.

        Raises:
            urllib3.exceptions.HTTPError: no connection can be made, or is free.
            http.client.HTTPException: the answer is none.
            OSError: the connection broke, or nothing came for too long.
        """
        connection: Any = self._get_conn(self.timeout.connect_timeout)
        try:
            if not connection.sock:
                connection.timeout = self.timeout.connect_timeout
                connection.connect()
                connection.sock.settimeout(self.timeout.read_timeout)
            hold.attach(connection.sock, used=connection.answers > 0)
            connection.sock.sendall(head)
            answer = Answer(connection.sock, method=method)
            try:
                answer.begin()
            except BaseException:
                answer.close()  # it holds the socket open as well
                raise
            connection.answers += 1
            if answer.will_close:
                connection.close()
            return _response(answer, connection=connection, pool=self)
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise

    @functools.cached_property
    def _host(self) -> str:
        """The field that names the host, as the standard library writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port in {None, {"http": 80, "https": 443}.get(self.scheme)}
        return f"Host: {host}\r\n" if usual else f"Host: {host}:{self.port}\r\n"


def _response(answer: Answer, **where: Any) -> HTTPResponse:  # noqa: ANN401  (a connection and its pool, or neither)
    from urllib3 import HTTPResponse

    return HTTPResponse(
        answer,
        answer.headers,
        answer.status,
        answer.version,
        reason=answer.reason,
        preload_content=False,
        original_response=answer,
        request_method=answer.method,
        **where,
    )


@functools.cache
def pool_classes() -> dict[str, Any]:
    """Return the kinds of pools by scheme."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(Watched, HTTPConnection):
        pass

    class Secure(Watched, HTTPSConnection):
        pass

    class PlainPool(Asking, HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(Asking, HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
