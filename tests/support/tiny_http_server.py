"""A small HTTP server that answers as a test says, for what real servers do only in trouble."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Asked:
    """A request that came.

    Attributes:
        method: Its method.
        path: Its path, escapes undone; of a proxy's request, the whole URL.
        query: The parameters behind it, the last of each name.
        headers: Its headers, in lower case.
        body: What came along.
        port: The port that the client sent it from: the same for requests over one connection.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    port: int


@dataclass
class Reply:
    """What is answered.

    Attributes:
        status: The status.
        body: The body.
        headers: Headers; a Content-Length is added unless there is one, or the body comes in chunks.
        chunks: Whether the body is sent in chunks.
        pause_s: How long to wait after every 1,000 bytes of the body, in seconds.
        hang_after: Send so many bytes of the body and then nothing until the test ends; -1 for not even a status.
        close_after: Send so many bytes of the body and close the connection; -1 for not even a status.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: bool = False
    pause_s: float = 0.0
    hang_after: int | None = None
    close_after: int | None = None


class TinyServer:
    """A server in threads of this process.

    Attributes:
        asked: Every request in the order of arrival.
        reply: What answers them; replaced as a test goes on.
    """

    def __init__(self, reply: Callable[[Asked], Reply], context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.reply = reply
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        self._server = _Server(self)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "http" if context is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self._scheme}://localhost:{self._server.server_port}"

    @property
    def port(self) -> int:
        """Its port."""
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def drop_connections(self) -> None:
        """Close every connection, as servers do with those that were idle for long."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, tiny: TinyServer) -> None:
        self.tiny = tiny
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients break connections off on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.tiny.connections.add(self.connection)

    def finish(self) -> None:
        self.server.tiny.connections.discard(self.connection)
        super().finish()

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        path = unquote(parts.path) if self.path.startswith("/") else self.path
        asked = Asked(self.command, path, query, headers, body, self.client_address[1])
        self.server.tiny.asked.append(asked)
        reply = self.server.tiny.reply(asked)
        if -1 not in {reply.hang_after, reply.close_after}:
            self._send_head(reply)
            if self.command != "HEAD":
                self._send_body(reply)
        if reply.hang_after is not None:
            self.wfile.flush()
            self.server.tiny.released.wait()
        if {reply.hang_after, reply.close_after} != {None} or reply.headers.get("Connection") == "close":
            self.close_connection = True

    do_GET = do_HEAD = do_POST = handle_any  # noqa: N815  (names of http.server)

    def _send_head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        given = {name.lower() for name in reply.headers}
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunks:
            self.send_header("Transfer-Encoding", "chunked")
        elif not given & {"content-length", "connection"}:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()

    def _send_body(self, reply: Reply) -> None:
        cut = reply.hang_after if reply.close_after is None else reply.close_after
        body = reply.body if cut is None else reply.body[:cut]
        if not reply.chunks and not reply.pause_s:
            self.wfile.write(body)
            return
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunks else piece)
            self.server.tiny.released.wait(reply.pause_s)
        if cut is None and reply.chunks:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name of http.server)
        """Say nothing."""


#: What ``ranged`` answers.
CONTENT = bytes(range(256)) * 1000


def ranged(content=CONTENT, **more):
    """Return a reply that honours ranges."""

    def reply(asked):
        wanted = asked.headers.get("range", "")
        if not wanted:
            return Reply(200, content, **more)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        return Reply(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"}, **more)

    return reply


def drained(body, size=10_000):
    """Return everything that a body still holds, read in pieces."""
    buffer, got = memoryview(bytearray(size)), b""
    with body:
        while count := body.readinto(buffer):
            got += bytes(buffer[:count])
        assert body.readinto(buffer) == 0
    return got
