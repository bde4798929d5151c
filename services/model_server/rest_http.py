"""A small HTTP/1.1 server: one thread waits for sockets, a bounded pool answers complete requests.

A connection that is idle or slow costs no thread: only a request that has arrived in full is given to the pool.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from .lifecycle.rounds import survived

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_READ_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 64 * 1024
_WRITE_TIMEOUT_S = 60.0
#: A socket with this timeout does not block.
_AT_ONCE_S = 0.0
_BACKLOG = 128
#: How long no client is let in after the system refused one, for example because no file descriptor is left.
_ACCEPT_PAUSE_S = 0.1
#: Every length that 63 bits can hold has at most this many digits.
_MAX_LENGTH_DIGITS = 19
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One complete request; the names of ``headers`` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, kw_only=True)
class Response:
    """What is sent back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(Exception):
    """The bytes are no HTTP request; the connection is of no further use."""


def _headers(lines: list[str]) -> dict[str, str]:
    """Return header lines as a mapping; a line that means two things is refused, not guessed at."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key, value = name.lower(), value.strip()
        if not colon or not name or name != name.strip():
            raise BadRequest
        if key == "content-length" and headers.get(key, value) != value:
            raise BadRequest
        headers[key] = value
    return headers


#: Method, target, version and headers.
_Head: TypeAlias = tuple[str, str, str, dict[str, str]]


@dataclass
class RequestParser:
    """Turns the bytes of one connection into requests.

    Attributes:
        wants_continue: The client waits for a go-ahead before it sends the body that is missing.
    """

    wants_continue: bool = False
    _buffer: bytearray = field(default_factory=bytearray)
    _head: _Head | None = None
    _length: int = 0
    _chunks: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._buffer += data

    def next(self) -> Request | None:
        """Return the next complete request; None while bytes are missing.

        Raises:
            BadRequest: the bytes are no request.
        """
        head = self._head or self._read_head()
        if head is None:
            return None
        if self._chunks is not None:
            if not self._read_chunks(self._chunks):
                return None
            body = bytes(self._chunks)
        else:
            if len(self._buffer) < self._length:
                return None
            body = bytes(memoryview(self._buffer)[: self._length])
            del self._buffer[: self._length]
        method, target, version, headers = head
        self._head, self._chunks, self.wants_continue = None, None, False
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")
        return Request(method=method, target=target, headers=headers, body=body, keep_alive=keep_alive)

    def _read_head(self) -> _Head | None:
        """Take a head from the bytes; None while a part of it is missing."""
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise BadRequest
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        match lines[0].split(" "):
            case [method, target, ("HTTP/1.1" | "HTTP/1.0") as version]:
                headers = _headers(lines[1:])
            case _:
                raise BadRequest
        self._head = (method, target, version, headers)
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or len(length) > _MAX_LENGTH_DIGITS:
            raise BadRequest
        if coding is not None and ("content-length" in headers or coding.lower() != "chunked"):
            raise BadRequest
        self._length = int(length)
        self._chunks = None if coding is None else bytearray()
        self.wants_continue = headers.get("expect", "").lower() == "100-continue"
        return self._head

    def _read_chunks(self, chunks: bytearray) -> bool:
        """Move complete chunks over; return whether the last one has come."""
        while True:
            end = self._buffer.find(b"\r\n")
            if end < 0:
                return False
            digits = bytes(self._buffer[:end]).split(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(digits):
                raise BadRequest
            size = int(digits, 16)
            if size == 0:
                trailer = self._buffer.find(b"\r\n\r\n", end)
                if trailer < 0:
                    return False
                del self._buffer[: trailer + 4]
                return True
            if len(self._buffer) < end + 2 + size + 2:
                return False
            if self._buffer[end + 2 + size : end + 4 + size] != b"\r\n":
                raise BadRequest
            chunks += self._buffer[end + 2 : end + 2 + size]
            del self._buffer[: end + 2 + size + 2]


@dataclass
class _Connection:
    """A client's socket and what has been read from it."""

    socket: socket.socket
    parser: RequestParser = field(default_factory=RequestParser)


def encode(response: Response, *, keep_alive: bool, head_only: bool = False) -> bytes:
    """Return a reply as the bytes that go over the wire."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Client Closed Request"
    lines = [f"HTTP/1.1 {response.status} {phrase}", f"Content-Type: {response.content_type}"]
    lines.extend(f"{name}: {value}" for name, value in response.headers)
    lines.append(f"Content-Length: {len(response.body)}")
    lines.append("Connection: keep-alive" if keep_alive else "Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if head_only else head + response.body


def listen(port: int) -> socket.socket:
    """Return a listening socket on every address: IPv6 and IPv4 where the machine has both, else IPv4.

    Raises:
        OSError: the port is taken.
    """
    try:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return _bound(listener, ("::", port))
    except OSError:
        return _bound(socket.socket(socket.AF_INET, socket.SOCK_STREAM), ("0.0.0.0", port))  # noqa: S104  (as documented)


def _bound(listener: socket.socket, address: tuple[str, int]) -> socket.socket:
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.settimeout(_AT_ONCE_S)
    except OSError:
        listener.close()
        raise
    return listener


class HttpServer:
    """Answers requests on one listening socket until it is stopped."""

    def __init__(self, listener: socket.socket, threads: int, handle: Callable[[Request], Response]) -> None:
        self._listener = listener
        self._handle = handle
        self._pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="rest")
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = socket.socketpair()
        self._connections: dict[int, _Connection] = {}
        self._stopping = False
        #: When clients are let in again, in seconds of the monotonic clock; None while they are.
        self._accept_again_at: float | None = None
        self._turned_away = False
        self._thread = threading.Thread(target=self._loop, name="rest-accept", daemon=True)

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        port: int = self._listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Begin to answer; returns at once."""
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and close every connection; requests in progress lose theirs."""
        self._stopping = True
        with contextlib.suppress(BrokenPipeError):  # the loop was awake, and has ended before the byte was sent
            self._wake_write.send(b"\0")
        self._thread.join(timeout=5)
        self._wake_write.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _loop(self) -> None:
        while not self._stopping:
            with survived(log, "A round of the HTTP server failed unexpectedly"):
                self._round()
        for each in (self._listener, self._wake_read, self._epoll):
            each.close()
        for connection in list(self._connections.values()):
            connection.socket.close()

    def _round(self) -> None:
        """Wait for events and deal with them."""
        timeout_s = None if self._accept_again_at is None else max(0.0, self._accept_again_at - time.monotonic())
        for number, _ in self._epoll.poll(timeout_s):
            if number == self._listener.fileno():
                self._accept()
            elif number in self._connections:
                connection = self._connections[number]
                with self._closed_on_error(connection):
                    self._readable(connection)
        if self._accept_again_at is not None and time.monotonic() >= self._accept_again_at:
            self._accept_again_at = None
            self._epoll.register(self._listener, select.EPOLLIN)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # The client stays in the queue, so the listener would be reported again at once and for ever.
            if not self._turned_away:
                log.warning("no HTTP client is let in, tried again every %g s: %s", _ACCEPT_PAUSE_S, error.strerror)
            self._turned_away = True
            self._epoll.unregister(self._listener)
            self._accept_again_at = time.monotonic() + _ACCEPT_PAUSE_S
            return
        self._turned_away = False
        connection = _Connection(client)
        with self._closed_on_error(connection):
            client.settimeout(_AT_ONCE_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[client.fileno()] = connection
            self._epoll.register(client, select.EPOLLIN | select.EPOLLONESHOT)

    @contextlib.contextmanager
    def _closed_on_error(self, connection: _Connection) -> Iterator[None]:
        """Close the connection where the work on it fails: neither a thread nor a client waits for it then."""
        try:
            yield
        except Exception:
            # A pool that has been shut down takes no further request.
            if not self._stopping:
                log.exception("a connection failed unexpectedly and is closed")
            self._close(connection)

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except BlockingIOError:
            self._watch(connection)
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.parser.feed(data)
        self._dispatch(connection)

    def _dispatch(self, connection: _Connection) -> None:
        """Give the next complete request to the pool, or wait for more bytes."""
        try:
            request = connection.parser.next()
        except BadRequest:
            self._send(connection, encode(Response(status=400, content_type="text/html"), keep_alive=False))
            self._close(connection)
            return
        if request is not None:
            self._pool.submit(self._answer, connection, request)
            return
        if connection.parser.wants_continue:
            connection.parser.wants_continue = False
            self._send(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        self._watch(connection)

    def _answer(self, connection: _Connection, request: Request) -> None:
        """Answer one request on a thread of the pool."""
        try:
            response = self._handle(request)
        except Exception:
            log.exception("the request %s %s failed", request.method, request.target)
            response = Response(status=500)
        with self._closed_on_error(connection):
            data = encode(response, keep_alive=request.keep_alive, head_only=request.method == "HEAD")
            if self._send(connection, data) and request.keep_alive:
                self._dispatch(connection)
            else:
                self._close(connection)

    def _send(self, connection: _Connection, data: bytes) -> bool:
        try:
            # A reply may wait for the client, so for this long the socket blocks.
            connection.socket.settimeout(_WRITE_TIMEOUT_S)
            connection.socket.sendall(data)
            connection.socket.settimeout(_AT_ONCE_S)
        except OSError:
            return False
        return True

    def _watch(self, connection: _Connection) -> None:
        # A connection that the loop has closed meanwhile is unknown to epoll.
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLONESHOT)

    def _close(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        connection.socket.close()
