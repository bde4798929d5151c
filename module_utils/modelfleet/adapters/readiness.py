"""Whether a program of this machine answers."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing

from ..errors import ModelfleetError

#: How long a connection, and every piece of an answer, may take.
TIMEOUT_S = 2.0
#: An answer about health is far below this.
LARGEST_ANSWER = 1024 * 1024
#: As much of an answer in words of its own tells people why a program is not well.
REASON_LENGTH = 500
_PARTS = ("subject", "problem", "remedy")


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


def ask(address: str, port: int, path: str, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
    """Return the status and the body that a program answers to GET.

    Raises:
        OSError: it does not answer; ``http.client.HTTPException``: not in HTTP.
    """
    with closing(http.client.HTTPConnection(address, port, timeout=timeout_s)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            return answer.status, answer.read(LARGEST_ANSWER)


def reasons(body: bytes) -> list[str]:
    """Return the reasons that our services give for not being well, a line each; none for any other answer."""
    try:
        told = json.loads(body)["reasons"]
        return [ModelfleetError(*(str(one[key]) for key in _PARTS)).one_line() for one in told]
    except (ValueError, KeyError, TypeError):
        return []


def _unwell(address: str, port: int, path: str) -> str:
    status, body = ask(address, port, path)
    if status == http.client.OK:
        return ""
    words = "; ".join(reasons(body)) or " ".join(body.decode(errors="replace").split())[:REASON_LENGTH]
    return f"answers {status} on {port}{path}: {words}"
