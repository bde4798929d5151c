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
            return f"answers {answer.status} on {port}{path}: {_reasons(answer.read(LARGEST_ANSWER))}"


def _reasons(body: bytes) -> str:
    """Return the reasons that our services give, as lines of people; of any other program its own words."""
    try:
        told = json.loads(body)["reasons"]
        return "; ".join(ModelfleetError(one["subject"], one["problem"], one["remedy"]).one_line() for one in told)
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode(errors="replace").split())[:REASON_LENGTH]
