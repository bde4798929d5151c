"""A reverse proxy in front of a real HTTP server that does to single answers what networks and servers do."""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: How much is passed on at a time, in bytes.
PIECE = 1 << 18
#: How often a thread that waits looks whether it should go on waiting, in seconds.
LOOK_S = 0.02
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
_ENDLESS = 1 << 62


@dataclass(frozen=True)
class Fault:
    """What to do to some requests; what is not given happens as if the proxy were not there.

    Attributes:
        path: Searched for in the decoded path and query of a request.
        method: Only requests of this method; empty means every method.
        skip: How many matching requests are left alone first.
        times: How many requests are treated then; None means all.
        covers: Only requests that ask for the byte at this offset of the object.
        call: Called before the request goes on to the server.
        delay_s: How long to wait before the request goes on to the server.
        status: Answer with this status instead of asking the server.
        headers: Headers of that answer, for example ``Retry-After``.
        body: Its body.
        hang: Send nothing more after so many bytes of the body, and keep the connection open; -1 means: no status
            line either. Ends when the fault is removed (the connection is closed then) or the client leaves.
        truncate: Close the connection properly after so many bytes of the body.
        reset: Reset it after so many bytes of the body; -1 means: no status line either.
        corrupt: Turn round the bits of the byte at this offset of the object; implies ``covers``.
        rate: How many bytes per second of body pass, in all requests of this fault together.
    """

    path: str = ""
    method: str = ""
    skip: int = 0
    times: int | None = None
    covers: int | None = None
    call: Callable[[], object] | None = None
    delay_s: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: int | None = None
    truncate: int | None = None
    reset: int | None = None
    corrupt: int | None = None
    rate: float = 0.0


class Armed:
    """A fault at work in a proxy."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.removed = threading.Event()
        self.hits = 0
        self._seen = 0
        self._path = re.compile(fault.path)
        self._paid = 0.0
        self._lock = threading.Lock()

    def takes(self, seen: Seen) -> bool:
        """Return whether a request is one of those to be treated, and count it."""
        fault = self.fault
        offset = fault.corrupt if fault.covers is None else fault.covers
        if (
            self.removed.is_set()
            or (fault.method and fault.method != seen.method)
            or not self._path.search(seen.target)
            or not (offset is None or seen.start <= offset < seen.end)
        ):
            return False
        with self._lock:
            self._seen += 1
            due = self._seen > fault.skip and (fault.times is None or self.hits < fault.times)
            self.hits += due
        return due

    def book(self, count: int) -> float:
        """Return how many seconds from now so many bytes may pass, after all that were booked before."""
        with self._lock:
            self._paid = max(self._paid, time.monotonic()) + count / self.fault.rate
            return self._paid - time.monotonic()


@dataclass
class Seen:
    """One request as the proxy saw it.

    Attributes:
        method: Its method.
        target: Its path and query, decoded.
        start: First byte that it asks for.
        end: The one after the last.
        status: What was answered; 0 as long as nothing was.
        sent: How many bytes of body were handed to the client's connection.
        faults: How many faults it met.
        at: When it came, on the monotonic clock.
        ended: Whether nothing more will be sent.
    """

    method: str
    target: str
    start: int = 0
    end: int = _ENDLESS
    status: int = 0
    sent: int = 0
    faults: int = 0
    at: float = field(default_factory=time.monotonic)
    ended: bool = False


class _ConnectionOver(Exception):
    """The client's connection ends here."""


class FaultyProxy:
    """Listens on a port of the loopback interface and passes requests on to one server."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (str(parts.hostname), parts.port or 80)
        self._armed: list[Armed] = []
        self._seen: list[Seen] = []
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._clients: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, name="proxy-accept")
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every connection and thread."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.disconnect()
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def disconnect(self) -> None:
        """End every connection of a client, whatever happens on it."""
        with self._changed:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def add(self, fault: Fault) -> Armed:
        """Let a fault happen from now on; the ones added before come first where only one can be had."""
        armed = Armed(fault)
        with self._changed:
            self._armed.append(armed)
        return armed

    def remove(self, armed: Armed) -> None:
        """Let a fault happen no more; what hangs because of it is closed."""
        armed.removed.set()
        with self._changed:
            self._armed.remove(armed)

    def clear(self) -> None:
        """Remove all faults."""
        with self._changed:
            for armed in self._armed:
                armed.removed.set()
            self._armed.clear()

    def forget(self) -> None:
        """Begin to count anew."""
        with self._changed:
            self._seen = []

    def seen(self, path: str = "", method: str = "") -> list[Seen]:
        """Return the requests so far whose target holds the pattern, in the order they came."""
        with self._changed:
            known = list(self._seen)
        return [item for item in known if re.search(path, item.target) and method in {"", item.method}]

    def body_bytes(self, path: str = "") -> int:
        """Return how many bytes of body were sent for such requests."""
        return sum(item.sent for item in self.seen(path))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Wait until a condition holds that depends on what was seen; return whether it does."""
        end = time.monotonic() + timeout_s
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                self._changed.wait(min(left, LOOK_S))
        return True

    def wait_for_bytes(self, path: str, count: int, timeout_s: float = 10.0) -> bool:
        """Wait until so many bytes of body were sent for such requests; return whether they were."""
        return self.wait_until(lambda: self.body_bytes(path) >= count, timeout_s)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="proxy-connection")
            with self._changed:
                self._clients.add(client)
                self._threads.add(thread)
            thread.start()
            if self._closed.is_set():
                self.disconnect()

    def _serve(self, client: socket.socket) -> None:
        """Be the thread of one connection."""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = http.client.HTTPConnection(*self._upstream, timeout=60)
        try:
            with client.makefile("rb") as reader:
                while not self._closed.is_set() and self._exchange(client, reader, server):
                    pass
        except (_ConnectionOver, OSError, http.client.HTTPException):
            pass
        finally:
            server.close()
            with self._changed:
                self._clients.discard(client)
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()
            client.close()

    def _exchange(self, client, reader, server) -> bool:
        """Pass on one request and its answer; return whether another one may follow."""
        line = reader.readline(1 << 16).decode("latin-1").split()
        if len(line) != 3:
            return False
        method, target, _ = line
        headers = http.client.parse_headers(reader)
        body = reader.read(int(headers.get("Content-Length") or 0))
        seen = Seen(method, unquote(target), *_asked(headers.get("Range")))
        with self._changed:
            self._seen.append(seen)
            armed = list(self._armed)
        faults = [item for item in armed if item.takes(seen)]
        seen.faults = len(faults)
        try:
            answer = _Answer(self, client, seen, faults)
            if not answer.before():
                _ask(server, method, target, headers, body)
                answer.pass_on(server.getresponse())
        finally:
            seen.ended = True
            with self._changed:
                self._changed.notify_all()
        return headers.get("Connection", "").lower() != "close"

    def progress(self, seen: Seen, count: int) -> None:
        """Count what was sent."""
        with self._changed:
            seen.sent += count
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether everything ends."""
        return self._closed.is_set()


class _Answer:
    """The way of one answer to the client, past the faults."""

    def __init__(self, proxy: FaultyProxy, client: socket.socket, seen: Seen, faults: list[Armed]) -> None:
        self._proxy = proxy
        self._client = client
        self._seen = seen
        self._faults = faults

    def before(self) -> bool:
        """Do what is to be done before the server is asked; return whether that was the answer."""
        for armed in self._faults:
            fault = armed.fault
            if fault.call:
                fault.call()
            if fault.delay_s:
                self._wait(armed, fault.delay_s)
            if fault.hang == -1:
                self._wait(armed)
                raise _ConnectionOver
            if fault.reset == -1:
                self._reset()
            if fault.status:
                self._head(fault.status, "Fault", {**fault.headers, "Content-Length": str(len(fault.body))})
                self._client.sendall(fault.body)
                self._proxy.progress(self._seen, len(fault.body))
                return True
        return False

    def pass_on(self, response: http.client.HTTPResponse) -> None:
        """Send the server's answer."""
        headers = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
        bodiless = self._seen.method == "HEAD" or response.status in {204, 304}
        chunked = response.length is None and not bodiless
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._head(response.status, response.reason, headers)
        start = self._seen.start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        buffer = memoryview(bytearray(PIECE))
        position = 0
        while not bodiless and (count := response.readinto(buffer[: self._room(position)])):
            piece = buffer[:count]
            self._damage(piece, start + position)
            self._throttle(count)
            if chunked:
                self._client.sendall(b"%x\r\n" % count)
            self._client.sendall(piece)
            if chunked:
                self._client.sendall(b"\r\n")
            position += count
            self._proxy.progress(self._seen, count)
        if chunked:
            self._client.sendall(b"0\r\n\r\n")
        if bodiless:
            response.close()

    def _room(self, position: int) -> int:
        """Return how much may pass before something happens, and let it happen when nothing may."""
        room = PIECE
        for armed in self._faults:
            fault = armed.fault
            if fault.rate:
                room = min(room, max(1, int(fault.rate * LOOK_S)))
            for end in (fault.hang, fault.truncate, fault.reset):
                if end is not None:
                    room = min(room, end - position)
            if room <= 0:
                if fault.hang is not None:
                    self._wait(armed)
                if fault.reset is not None:
                    self._reset()
                raise _ConnectionOver
        return room

    def _damage(self, piece: memoryview, start: int) -> None:
        for armed in self._faults:
            offset = armed.fault.corrupt
            if offset is not None and start <= offset < start + len(piece):
                piece[offset - start] ^= 0xFF

    def _throttle(self, count: int) -> None:
        for armed in self._faults:
            if armed.fault.rate:
                self._wait(armed, armed.book(count), throttled=True)

    def _wait(self, armed: Armed, seconds: float = float("inf"), *, throttled: bool = False) -> None:
        """Wait while the fault is there; what is throttled goes on at once without it.

        Raises:
            _ConnectionOver: the client left, or everything ends.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not armed.removed.is_set():
            if self._proxy.closed or _left(self._client, 0 if throttled else min(left, LOOK_S)):
                raise _ConnectionOver
            if throttled:
                armed.removed.wait(min(left, LOOK_S))

    def _head(self, status: int, reason: str, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        self._seen.status = status
        self._client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _reset(self) -> None:
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _ConnectionOver


def _left(client: socket.socket, timeout_s: float) -> bool:
    """Return whether the client closed its side, after waiting for it for a moment."""
    poll = select.poll()
    poll.register(client, select.POLLIN | select.POLLRDHUP)
    events = poll.poll(timeout_s * 1000)
    return any(event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in events)


def _asked(header: str | None) -> tuple[int, int]:
    """Return the first byte that a Range header asks for, and the one after the last."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if not match:
        return 0, _ENDLESS
    return int(match[1]), int(match[2]) + 1 if match[2] else _ENDLESS


def _ask(server: http.client.HTTPConnection, method: str, target: str, headers, body: bytes) -> None:
    """Send a request as it came, but for what belongs to one connection."""
    server.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if name.lower() not in _HOP_BY_HOP and name.lower() != "expect":
            server.putheader(name, value)
    server.endheaders(body or None)
