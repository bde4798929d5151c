"""The body of an answer, read straight into the reader's memory, broken off from any thread."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Callable, NoReturn

from ..errors import SourceChanged, SourceUnavailable
from .http_errors import LATER, breakages, broken
from .http_hold import Hold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import client
    from types import TracebackType

    from typing_extensions import Self
    from urllib3 import HTTPResponse

#: How long a read goes on to fill the buffer although it has something already, in seconds.
_FILLING_S = 1.0
#: How much of a body in chunks is read at a time: the library returns only when it has all of it.
_CHUNKED = 65536
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


@dataclass(frozen=True)
class Part:
    """What a body shall be.

    Attributes:
        subject: What errors are about.
        url: Where it comes from.
        start: Offset of the first byte.
        length: How many bytes, exactly; None for all from there.
        total: The size of the whole, when it is known.
    """

    subject: str
    url: str
    start: int
    length: int | None
    total: int | None = None


class Body:
    """A part of something on a server; a ``Source``, and a context that gives the connection back.

    Nothing is sent before the first byte, the status or a header is asked for, so that ``abort`` also ends the wait
    for a server that takes the request and never answers. A connection attempt ends by its own timeout.
    """

    def __init__(
        self, part: Part, send: Callable[[Hold], HTTPResponse], accept: Callable[[Body], None] | None = None
    ) -> None:
        self._part = part
        self._left = part.length
        self._send = send
        self._accept = accept
        self._answer: HTTPResponse | None = None
        self._raw: client.HTTPResponse | None = None
        self._counted = 0
        self._hold = Hold()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None and not self._ended:
            # Who knows the length need not ask for the end.
            self._give_back(whole=self._raw is not None and self._left == 0 and self._raw.length == self._counted)

    @property
    def status(self) -> int:
        """The answer's status: 200 or 206."""
        return self._answered().status

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers; names in any case."""
        return self._answered().headers

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer, or what comes in about a second, and return how many bytes; 0 at the end.

        Raises:
            ModelfleetError: as ``Transport.stream`` says.
        """
        self._answered()
        raw = self._raw
        if self._ended or raw is None or not len(buffer):
            return 0
        if self._left == 0:
            self._end(raw)
            return 0
        try:
            count = self._fill(raw, buffer if self._left is None else buffer[: self._left])
        except breakages() as error:
            self._fail(error)
        if self._hold.broken:
            self._give_up()
        if count == 0:
            if self._left:
                problem = f"ended after {self._counted} of {self._counted + self._left} bytes"
                self._give_back(whole=False)
                raise SourceUnavailable(self._part.subject, problem, LATER)
            self._give_back(whole=True)
            return 0
        self._counted += count
        if self._left is not None:
            self._left -= count
        return count

    def abort(self) -> None:
        """Let a read in another thread, and every later one, fail at once."""
        self._hold.abort()

    def _answered(self) -> HTTPResponse:
        if self._hold.broken:
            self._give_up()
        if self._answer is None:
            try:
                answer = self._send(self._hold)
            except Exception:
                self._hold.detach()
                if self._hold.broken:
                    self._give_up()
                raise
            self._answer = answer
            self._raw = answer._original_response  # noqa: SLF001  (urllib3 copies; what it wraps does not)
            try:
                self._check_part(answer)
                if self._accept is not None:
                    self._accept(self)
            except BaseException:
                self._give_back(whole=False)
                raise
        return self._answer

    def _check_part(self, answer: HTTPResponse) -> None:
        """Refuse an answer that is not the part that was asked for."""
        if answer.status == HTTPStatus.PARTIAL_CONTENT:
            match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
            length = int(match[2]) - int(match[1]) + 1 if match else -1
            if not match or int(match[1]) != self._part.start or self._left not in {None, length}:
                self._refuse_part(f"came as {answer.headers.get('content-range', 'an unnamed part')!r}")
            self._check_total(None if match[3] == "*" else int(match[3]))
            self._left = length
        elif self._part.start:
            self._refuse_part("came as a whole: the server cannot send parts")
        else:
            announced = answer.length_remaining
            self._check_total(announced)
            if self._left is None:
                self._left = announced

    def _check_total(self, total: int | None) -> None:
        if self._part.total is not None and total not in {None, self._part.total}:
            problem = f"has {total} bytes instead of {self._part.total}"
            raise SourceChanged(self._part.subject, problem, "pull again when it is complete")

    def _refuse_part(self, problem: str) -> NoReturn:
        length = "" if self._left is None else f" of {self._left} bytes"
        raise SourceUnavailable(self._part.subject, f"the part from byte {self._part.start}{length} {problem}", LATER)

    def _fill(self, raw: client.HTTPResponse, view: memoryview) -> int:
        if raw.chunked:
            return raw.readinto(view[:_CHUNKED])
        if raw.isclosed():
            return 0
        count, end = 0, time.monotonic() + _FILLING_S
        while count < len(view):
            got = raw.fp.readinto1(view[count:])
            if not got:
                break
            count += got
            if time.monotonic() >= end:
                break
        return count

    def _end(self, raw: client.HTTPResponse) -> None:
        """Give the connection back when everything that was announced has been read."""
        try:
            at_end = raw.readinto(bytearray(1)) == 0 if raw.chunked else raw.length == self._counted
        except breakages():
            at_end = False
        self._give_back(whole=at_end)

    def _give_back(self, *, whole: bool) -> None:
        """Return the connection to its pool, closed unless the answer was read to its end."""
        self._ended = True
        self._hold.detach()
        answer, raw = self._answer, self._raw
        if answer is None:
            return
        if whole and raw is not None and not self._hold.broken:
            raw.close()
        else:
            answer.close()
        answer.release_conn()

    def _fail(self, error: Exception) -> NoReturn:
        self._give_back(whole=False)
        if self._hold.broken:
            self._give_up()
        raise broken(self._part.subject, self._part.url, error) from error

    def _give_up(self) -> NoReturn:
        if self._answer is not None and not self._ended:
            self._give_back(whole=False)
        raise SourceUnavailable(self._part.subject, "reading it was given up", LATER)
