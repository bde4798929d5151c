"""Whether a program of this machine answers."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing

#: How long a connection, and every piece of an answer, may take.
TIMEOUT_S = 2.0
#: As much of an answer as tells people why a program is not well.
REASON_BYTES = 500


def complaint(address: str, port: int, path: str = "") -> str:
    """Return why a program is not ready on a port, in words that follow its name; empty when it is.

    Args:
        address: Where it is reached.
        port: The TCP port.
        path: Must answer 200 over HTTP; empty means that an open port is enough.
    """
    try:
        if path:
            return _unwell(address, port, path)
        with socket.create_connection((address, port), timeout=TIMEOUT_S):
            return ""
    except (OSError, http.client.HTTPException):
        return f"does not answer on {port}{path}"


def _unwell(address: str, port: int, path: str) -> str:
    with closing(http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            if answer.status == http.client.OK:
                return ""
            reason = " ".join(answer.read(REASON_BYTES).decode(errors="replace").split())
            return f"answers {answer.status} on {port}{path}: {reason}"
