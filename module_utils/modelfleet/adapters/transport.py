"""The one HTTP client under every kind of repository."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional
from urllib.parse import urljoin, urlsplit

from ..errors import ModelfleetError, SourceForbidden, SourceUnavailable
from ..waiting import Clock, Deadline
from .http_body import Body, Part
from .http_errors import LATER, breakages, broken, host_of, refusal, shown
from .http_hold import Hold
from .http_pools import Pools

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from urllib3 import HTTPResponse

    from .access import Access

USER_AGENT = "modelfleet"
#: How many bytes of a small answer are taken at most.
ANSWER_LIMIT = 64 << 20
#: How often a request that may be repeated is sent, and for how long all of that may go on, in seconds.
TRIES = 4
PATIENCE_S = 120.0
_FIRST_WAIT_S = 0.25
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
#: What may be told to another host when one points there.
_HARMLESS = frozenset({"accept", "accept-encoding", "range", "if-match", "if-none-match", "user-agent"})
_ERROR_LIMIT = 65536
_CONTENT = frozenset({200, 206})


@dataclass(frozen=True)
class Answer:
    """A small answer.

    Attributes:
        status: Its HTTP status.
        headers: Its headers; names in any case.
        body: All of its body, without content encoding.
        url: What was asked in the end, after redirections.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)


#: ``signer(method, url, headers)`` returns all headers to send, the secret ones included.
Signer = Callable[[str, str, "Mapping[str, str]"], "Mapping[str, str]"]
#: ``refused(answer)`` returns the error that an unwelcome answer stands for, or None for the usual one.
Refused = Callable[[Answer], Optional[ModelfleetError]]


@dataclass(frozen=True)
class Request:
    """What is asked, and how.

    Attributes:
        subject: What errors are about.
        url: Where to.
        method: GET, HEAD, PUT and so on.
        headers: Headers without secrets.
        body: What to send along.
        signer: Adds what must stay secret; it is asked anew for every attempt and every host.
        ok: The statuses that are an answer; None for all.
        refused: Turns the other statuses into errors.
        again: Whether an unwelcome answer has been remedied, so that the request is sent once more: an expired token.
        redirects: How many redirections are followed, for GET and HEAD.
        direct: Whether proxies are passed by.
    """

    subject: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    signer: Signer | None = field(default=None, repr=False)
    ok: Collection[int] | None = (200,)
    refused: Refused | None = field(default=None, repr=False)
    again: Callable[[Answer], bool] | None = field(default=None, repr=False)
    redirects: int = 0
    direct: bool = False


class Transport:
    """Sends requests over connections that are kept; safe for threads.

    Secrets belong into what a request's signer returns: nothing but harmless headers is told to another host than the
    one that was meant.
    """

    def __init__(
        self,
        access: Access,
        *,
        connections: int = 64,
        clock: Clock | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.access = access
        self._pools = Pools(access, connections)
        self._clock = clock or Clock()
        self._dice = dice

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._pools.close()

    def request(self, request: Request) -> Answer:
        """Return a small answer; what may be repeated is tried four times, with growing, jittered waits.

        Raises:
            SourceForbidden: 401, 403, other client errors, or a host that is not to be trusted.
            SourceNotFound: 404 or 410.
            SourceChanged: 412 or 416.
            SourceUnavailable: no answer, 408, 429, 5xx, or an answer that is too large.
            InvalidInput: the settings for proxies or trust cannot be used.
            MissingDependency: the HTTP library is not installed.
        """
        deadline = Deadline(PATIENCE_S, self._clock)
        tries = TRIES if request.method in _REPEATABLE else 1
        for attempt in range(1, tries + 1):
            try:
                return self._small(request, deadline)
            except SourceUnavailable as error:
                wait = max(error.retry_after_s, _FIRST_WAIT_S * 2**attempt * (0.5 + self._dice() / 2))
                if attempt == tries or wait >= deadline.remaining_s:
                    raise
                self._clock.sleep(wait)
        raise AssertionError

    def once(self, request: Request) -> Answer:
        """Return a small answer after one attempt, for those who repeat by themselves.

        Raises:
            ModelfleetError: as ``request`` does.
        """
        return self._small(request, Deadline(PATIENCE_S, self._clock))

    def stream(
        self,
        request: Request,
        start: int = 0,
        length: int | None = None,
        accept: Callable[[Body], None] | None = None,
        total: int | None = None,
    ) -> Body:
        """Return a context with the content of a URL, or of a part of it, in one attempt.

        The request is sent when the first byte, the status or a header is asked for; all errors come from there.

        Args:
            request: What is asked; answers are 200 and 206 whatever it says.
            start: Offset of the first byte.
            length: How many bytes, exactly; None for all from there.
            accept: Looks at the answer's headers before its first byte is used, and raises what is wrong.
            total: The size of the whole, when it is known: all of it is asked for without a range.

        Raises:
            SourceForbidden: 401, 403, other client errors, or a host that is not to be trusted.
            SourceNotFound: 404 or 410.
            SourceChanged: 412, 416, or another total.
            SourceUnavailable: no answer, another part than the wanted one, an end before the end, or ``abort``.
        """
        if length is None and total is not None:
            length = total - start
        headers = {"Accept-Encoding": "identity", **request.headers}
        if start or (length and length != total):
            last = "" if length is None else str(start + length - 1)
            headers["Range"] = f"bytes={start}-{last}"
        part = Part(request.subject, request.url, start, length, total)
        return Body(part, lambda hold: self._welcomed(request, headers, _CONTENT, hold)[0], accept)

    def _small(self, request: Request, deadline: Deadline) -> Answer:
        hold = Hold()
        timer = threading.Timer(deadline.remaining_s, hold.abort)
        timer.start()
        try:
            response, url = self._welcomed(request, request.headers, request.ok, hold)
        finally:
            hold.detach()
            timer.cancel()
            timer.join()
        return self._read(request, response, url, deadline)

    def _welcomed(
        self, request: Request, headers: Mapping[str, str], ok: Collection[int] | None, hold: Hold
    ) -> tuple[HTTPResponse, str]:
        """Return an answer with a status that is one, and its URL."""
        for last in (False, True):
            response, url = self._follow(request, headers, hold)
            if ok is None or response.status in ok:
                break
            hold.detach()
            answer = self._read(request, response, url, Deadline(self.access.read_timeout_s, self._clock))
            if last or request.again is None or not request.again(answer):
                raise _unwelcome(request, answer)
        return response, url

    def _follow(self, request: Request, headers: Mapping[str, str], hold: Hold) -> tuple[HTTPResponse, str]:
        """Send the request, and again to where the answers point; return the answer and its URL."""
        url, headers = request.url, {"User-Agent": USER_AGENT, **headers}
        for _ in range(request.redirects + 1):
            response = self._send(request, url, headers, hold)
            target = response.headers.get("location", "")
            if response.status not in _REDIRECTIONS or not target or not request.redirects:
                return response, url
            hold.detach()
            response.close()
            response.release_conn()
            url = _following(request.subject, url, target)
            if _place(url) != _place(request.url):
                headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
        raise SourceUnavailable(
            request.subject, f"is redirected more than {request.redirects} times", "correct its URL"
        )

    def _send(self, request: Request, url: str, headers: Mapping[str, str], hold: Hold) -> HTTPResponse:
        signed = request.signer(request.method, url, headers) if request.signer else headers
        try:
            try:
                return self._pools.send(request, url, signed, hold)
            except breakages() as error:
                # A server may close a kept connection at the very moment it is used: that was no attempt.
                if hold.broken or not hold.used or request.method not in _REPEATABLE or not _closed_early(error):
                    raise
                return self._pools.send(request, url, signed, hold)
        except breakages() as error:
            if hold.broken:
                raise SourceUnavailable(request.subject, f"{host_of(url)} did not answer in time", LATER) from error
            raise broken(request.subject, url, error) from error

    def _read(self, request: Request, response: HTTPResponse, url: str, deadline: Deadline) -> Answer:
        """Read a small body to its end and give the connection back; of an error's body, only the beginning."""
        welcome = request.ok is None or response.status in request.ok
        limit = ANSWER_LIMIT if welcome else _ERROR_LIMIT
        pieces: list[bytes] = []
        size = 0
        try:
            while size <= limit and not deadline.expired and (piece := response.read1(1 << 18)):
                pieces.append(piece)
                size += len(piece)
            complete = response.closed
        except breakages() as error:
            raise broken(request.subject, url, error) from error
        finally:
            response.close()
            response.release_conn()
        if not complete and welcome:
            raise SourceUnavailable(request.subject, f"{shown(url)} is too large or too slow", "ask its operator")
        return Answer(response.status, response.headers, b"".join(pieces), url)


def _unwelcome(request: Request, answer: Answer) -> ModelfleetError:
    error = request.refused(answer) if request.refused else None
    return error or refusal(request.subject, answer.url, answer.status, answer.headers, answer.body)


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _following(subject: str, url: str, target: str) -> str:
    """Return where an answer points, if a client may go there."""
    try:
        following = urljoin(url, target)
        scheme, where = urlsplit(following).scheme, shown(following)
    except ValueError:
        scheme, where = "", "what is no URL"
    if scheme not in {"http", "https"} or (scheme == "http" and urlsplit(url).scheme == "https"):
        problem = f"is redirected from {shown(url)} to {where}, which is not safe"
        raise SourceForbidden(subject, problem, "name the place where it is now")
    return following


def _closed_early(error: Exception) -> bool:
    return re.search(r"RemoteDisconnected|ConnectionResetError|BrokenPipeError", repr(error)) is not None
