"""A small HTTP server of files that can lack whatever servers lack: HEAD, ranges, sizes, entity tags."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
#: An hour ago for a file that nobody says anything else of, in seconds since the epoch.
_CHANGED_S = 1_700_000_000


@dataclass
class File:
    """One file, and how it is served.

    Attributes:
        content: Its bytes.
        changed_s: When it was changed, in seconds since the epoch; 0 means the server does not say.
        tag: Its entity tag; empty means one made from the content, ``-`` none.
        head: The status of answers to HEAD; 200 means that HEAD is answered.
        ranges: Whether parts are sent.
        sized: Whether answers announce their size; else they end with the connection.
        headers: More headers of every answer.
        secret: The ``Authorization`` that is asked for; empty for none.
        to: Where to go instead: the answer is 302.
        hang: Waited for before every answer to GET or HEAD.
    """

    content: bytes = b""
    changed_s: int = _CHANGED_S
    tag: str = ""
    head: int = 200
    ranges: bool = True
    sized: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    to: str = ""
    hang: threading.Event | None = None

    def described(self) -> dict[str, str]:
        """Return the headers that tell which content it is."""
        tag = self.tag or f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'
        described = {"ETag": tag, "Last-Modified": formatdate(self.changed_s, usegmt=True)}
        if tag == "-":
            del described["ETag"]
        if not self.changed_s:
            del described["Last-Modified"]
        return {**described, **self.headers}


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    headers: Mapping[str, str]


class FileServer:
    """Serves ``files`` by path (with the query, where it has one) on a free port of this machine."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.asked: list[Asked] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        """The URL of the top, without a slash at the end."""
        return f"http://{self.host}"

    def count(self, method: str, path: str = "") -> int:
        """Return how many requests of a method came."""
        return sum(item.method == method and path in item.path for item in self.asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for file in self.files.values():
            if file.hang:
                file.hang.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    owner: FileServer
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connected: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count the connection, and serve it."""
        self.owner.connections += 1
        self._connected.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and close it."""
        self._connected.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep."""
        for connected in list(self._connected):
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients leave when they like."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 2.0

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
        pass

    def _answer(self, *, send: bool) -> None:
        owner = self.server.owner
        owner.asked.append(Asked(self.command, self.path, dict(self.headers.items())))
        file = owner.files.get(self.path)
        if file and file.hang:
            file.hang.wait()
        if file is None:
            self._say(404, {})
        elif file.secret and self.headers.get("Authorization") != file.secret:
            self._say(401, {})
        elif file.to:
            self._say(302, {"Location": file.to})
        elif not send and file.head != 200:
            self._say(file.head, {})
        elif self.headers.get("If-Match") not in {None, file.described().get("ETag")}:
            self._say(412, {})
        else:
            self._send(file, send=send)

    def _say(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, file: File, *, send: bool) -> None:
        content, headers = file.content, file.described()
        match = _RANGE.fullmatch(self.headers.get("Range", "")) if file.ranges else None
        if match:
            first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}" if content else "bytes */0"
            if first >= len(content):
                self._say(416, headers)
                return
            content = content[first : last + 1]
        self.send_response(206 if match else 200)
        if file.ranges:
            headers["Accept-Ranges"] = "bytes"
        for name, value in headers.items():
            self.send_header(name, value)
        if file.sized:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if send:
            self.wfile.write(content)
