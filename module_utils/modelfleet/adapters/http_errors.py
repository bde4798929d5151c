"""What the failures of HTTP mean to somebody who waits for a model."""

from __future__ import annotations

import functools
import json
import re
import ssl
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import ModelfleetError, SourceChanged, SourceForbidden, SourceNotFound, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Answers after which the same request may succeed; every other 5xx is one as well.
TRANSIENT = frozenset({408, 425, 429})
LATER = "it is tried again"
#: No wish of a server is granted for longer, in seconds: nobody would notice that the server is well again.
PATIENCE_LIMIT_S = 3600.0
#: How much of a server's own words is shown, in characters.
_WORDS = 200
_REFUSALS: dict[int, tuple[type[ModelfleetError], str]] = {
    401: (SourceForbidden, "give credentials that may read it"),
    403: (SourceForbidden, "give credentials that may read it"),
    404: (SourceNotFound, "publish it, or correct its name"),
    410: (SourceNotFound, "publish it, or correct its name"),
    412: (SourceChanged, "pull again when it is complete"),
    416: (SourceChanged, "pull again when it is complete"),
}
#: What kinds of errors, the more telling first, say about a host.
_BREAKAGES = {
    "NameResolutionError": "is unknown: its name has no address",
    "ProxyError": "cannot be reached through the proxy",
    "NewConnectionError": "cannot be connected to",
    "ConnectTimeoutError": "does not answer: the connection timed out",
    "ReadTimeoutError": "stopped answering: nothing came for too long",
    "TimeoutError": "stopped answering: nothing came for too long",
    "EmptyPoolError": "is busy: every connection to it is in use",
}


def shown(url: str) -> str:
    """Return a URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_of(url)}{parts.path}"


def host_of(url: str) -> str:
    """Return the host of a URL, with its port when it has one."""
    return urlsplit(url).netloc.rpartition("@")[2]


@functools.cache
def breakages() -> tuple[type[Exception], ...]:
    """Return every class of error by which an exchange fails."""
    try:
        from urllib3.exceptions import HTTPError
    except ImportError:  # then nothing is exchanged, and that is the error on its way
        return HTTPException, OSError
    return HTTPError, HTTPException, OSError


def refusal(subject: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> ModelfleetError:
    """Return the error that an answer with an unwelcome status stands for."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _proxy_refused(subject)
    words = server_words(body)
    problem = f"{host_of(url)} answers {_phrase(status)}" + (f" ({words})" if words else "")
    if status in _REFUSALS:
        kind, remedy = _REFUSALS[status]
        return kind(subject, problem, remedy)
    if status in TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SourceUnavailable(subject, problem, LATER, retry_after(headers))
    target = headers.get("location", "")
    if status < HTTPStatus.BAD_REQUEST and "://" in target:
        return SourceForbidden(subject, f"{problem} and points to {shown(target)}", "name the place where it is now")
    return SourceForbidden(subject, problem, "correct its URL or the settings of its server")


def broken(subject: str, url: str, error: Exception) -> ModelfleetError:
    """Return the error that a failed exchange stands for: no connection, none to trust, one that broke."""
    host, causes = host_of(url), _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            problem = f"the certificate of {host} is not trusted ({cause.verify_message or cause})"
            return SourceForbidden(subject, problem, "name the file of its authority's certificate in ca_bundle")
        if "407 Proxy Authentication Required" in str(cause):
            return _proxy_refused(subject)
    names = {type(cause).__name__ for cause in causes}
    what = next((text for name, text in _BREAKAGES.items() if name in names), "broke the connection")
    detail = "" if ":" in what else f" ({_reason(causes)})"
    return SourceUnavailable(subject, f"{host} {what}{detail}", LATER)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return how long a server asks to wait, in seconds, up to an hour; 0 when it does not say."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text), PATIENCE_LIMIT_S)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return min(max(0.0, (moment - datetime.now(timezone.utc)).total_seconds()), PATIENCE_LIMIT_S)


def server_words(body: bytes) -> str:
    """Return the first line of what a server says about an error, shortened; empty when it says nothing to people."""
    text = body[:65536].decode("utf-8", "replace").strip()
    inner = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    if inner:
        text = inner.group(1)
    elif text.startswith("{"):
        text = _json_words(text)
    elif text.startswith("<"):
        return ""
    line = "".join(char if char.isprintable() else " " for char in text.strip().partition("\n")[0]).strip()
    return line if len(line) <= _WORDS else f"{line[:_WORDS]}…"


def _json_words(text: str) -> str:
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return message if isinstance(message, str) else ""


def _proxy_refused(subject: str) -> SourceForbidden:
    return SourceForbidden(subject, "the proxy asks who is there", "put its user and password into the proxy's URL")


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and what is behind it: libraries chain, wrap and nest."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or one in found:
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__, *(arg for arg in one.args if isinstance(arg, BaseException))]
    return found


def _reason(causes: list[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    text = str(causes[-1]).strip() or type(causes[-1]).__name__
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
