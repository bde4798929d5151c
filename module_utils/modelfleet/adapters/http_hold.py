"""A hold on the connection on which an answer is waited for, so that any thread can end the wait."""

from __future__ import annotations

import socket
import threading


class Hold:
    """Whoever waits has one; the connection tells it which socket it is.

    Attributes:
        used: Whether the connection has carried an answer before.
        broken: Whether the wait was ended.
    """

    def __init__(self) -> None:
        self.used = False
        self.broken = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def attach(self, connected: socket.socket, *, used: bool) -> None:
        """Take hold of a connection; called by the connection itself before it waits."""
        self.used = used
        with self._lock:
            # Within the TLS of a proxy there is another socket below.
            self._socket = getattr(connected, "socket", connected)
            if self.broken:
                _shut(self._socket)

    def detach(self) -> None:
        """Let go: from now on the connection is somebody else's."""
        with self._lock:
            self._socket = None

    def abort(self) -> None:
        """Let a read from the connection that is going on in another thread, and every later one, fail at once."""
        with self._lock:
            self.broken = True
            if self._socket is not None:
                _shut(self._socket)


def _shut(connected: socket.socket) -> None:
    """End a connection under whoever reads from it; TLS is passed by, since only one thread may use its state."""
    try:
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        return
