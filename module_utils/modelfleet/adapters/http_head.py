"""Read the head of an answer: its status and its fields.

The standard library reads fields with its parser of e-mails, and urllib3 checks and copies what comes out; for a small
file that takes longer than everything else. What is not a well-formed head is an error here.
"""

from __future__ import annotations

import re
from http import HTTPStatus, client
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

    from urllib3 import HTTPHeaderDict

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: ([^\r\n]*))?\r?\n")
_FIELD = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*?)[ \t]*\r?\n")
#: As much the standard library takes, in bytes and in lines.
_LINE, _FIELDS = 65536, 100
_HTTP_1_1 = 11
_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Answer(client.HTTPResponse):
    """An answer of the standard library, whose head is read by this module."""

    #: A dictionary with names in any case, as the standard library's message is one.
    headers: HTTPHeaderDict  # type: ignore[assignment]  # see above
    msg: HTTPHeaderDict  # type: ignore[assignment]  # see above
    _method: str

    @property
    def method(self) -> str:
        """The method of the request."""
        return self._method

    def begin(self) -> None:
        """Read the head; interim answers are passed over.

        Raises:
            http.client.HTTPException: it is none, or too long.
            OSError: it does not come.
        """
        status = int(HTTPStatus.CONTINUE)
        while status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.version, status, self.reason = _status(self.fp)
            fields = _fields(self.fp)
        self.code = self.status = status
        self.headers = self.msg = fields
        connection = fields.get("connection", "").lower()
        self.will_close = "close" in connection or (self.version < _HTTP_1_1 and "keep-alive" not in connection)
        self.chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        announced = fields.get("content-length", "")
        self.length = None
        if status in _WITHOUT_BODY or self.method == "HEAD":
            self.length = 0
        elif announced.isascii() and announced.isdecimal() and not self.chunked:
            self.length = int(announced)
        # Nothing else tells where a body ends.
        self.will_close |= self.length is None and not self.chunked


def _status(stream: BinaryIO) -> tuple[int, int, str]:
    """Return the version, as 10 or 11, the status and its phrase."""
    line = stream.readline(_LINE + 1)
    if not line:
        raise client.RemoteDisconnected("the server closed the connection without an answer")
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise client.BadStatusLine(line[:100].decode("latin-1"))
    return 10 + int(match[1]), int(match[2]), (match[3] or b"").decode("latin-1")


def _fields(stream: BinaryIO) -> HTTPHeaderDict:
    """Return the fields of a head, up to the empty line behind them."""
    from urllib3 import HTTPHeaderDict

    fields = HTTPHeaderDict()
    for _ in range(_FIELDS + 1):
        line = stream.readline(_LINE + 1)
        if line in {b"\r\n", b"\n"}:
            return fields
        match = _FIELD.fullmatch(line)
        if not match:
            raise client.HTTPException(f"the head of the answer holds {line[:100]!r}")
        fields.add(match[1].decode("ascii"), match[2].decode("latin-1"))
    raise client.HTTPException(f"the head of the answer has more than {_FIELDS} fields")
