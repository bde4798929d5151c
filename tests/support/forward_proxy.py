"""A small proxy as companies have them: CONNECT for TLS, whole URLs for the rest, perhaps a password."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """A proxy in threads of this process.

    Attributes:
        lines: The first line of every request that came.
        login: The ``Proxy-Authorization`` that it asks for; empty for none.
    """

    def __init__(self, login: str = "") -> None:
        self.lines: list[str] = []
        self.login = login
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://localhost:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        self._sockets.add(client)
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
                head += piece
            line, _, rest = head.decode("latin-1").partition("\r\n")
            self.lines.append(line)
            if self.login and f"proxy-authorization: {self.login}".lower() not in rest.lower():
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            method, target, _ = line.split(" ")
            tunnel = method == "CONNECT"
            host, _, port = (target if tunnel else urlsplit(target).netloc).partition(":")
            with socket.create_connection((host, int(port))) as server:
                self._sockets.add(server)
                if tunnel:
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    server.sendall(head)
                _pass_on(client, server)
                self._sockets.discard(server)
        self._sockets.discard(client)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    while True:
        for ready in select.select([client, server], [], [])[0]:
            piece = ready.recv(1 << 16)
            if not piece:
                return
            (server if ready is client else client).sendall(piece)
