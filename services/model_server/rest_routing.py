"""Which call of the HTTP API a request line asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from .rpc_status import Code

_MODEL = r"/([^/:]+)"
_CHOICE = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_INFERENCE = re.compile(rf"(?i)/v1/models{_MODEL}{_CHOICE}:(classify|regress|predict)", re.ASCII)
_STATUS = re.compile(rf"(?i)/v1/models(?:{_MODEL})?{_CHOICE}(?:/(metadata))?", re.ASCII)
_API = re.compile(r"(?i)/v1/.*", re.ASCII)
_INT64_MAX = 2**63 - 1
_INT64_DIGITS = 19

_HTTP_CODES = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


@dataclass(frozen=True, kw_only=True)
class Route:
    """A request line that the API understands.

    Attributes:
        call: ``classify``, ``regress``, ``predict``, ``status`` or ``metadata``.
        model: The model's name, decoded; empty where the path has none.
        version: The version asked for.
        label: The label asked for, decoded.
    """

    call: str
    model: str
    version: int | None = None
    label: str | None = None


class VersionOverflow(Exception):
    """The version in the path does not fit into 64 bits; the reply has no body."""


def http_code(code: Code) -> int:
    """Return the HTTP status of a canonical code."""
    return _HTTP_CODES[code]


def is_api_path(path: str) -> bool:
    """Return whether the path belongs to the API at all; anything else is a plain 404."""
    return _API.fullmatch(path) is not None


def _decode(text: str) -> str:
    """Return a part of a path, whose characters stand for the bytes that arrived, as the name that it spells."""
    return unquote_to_bytes(text.encode("latin-1")).decode("utf-8", "replace")


def _version(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    if len(significant) > _INT64_DIGITS or int(significant) > _INT64_MAX:
        raise VersionOverflow
    return int(significant)


def route(method: str, path: str) -> Route | None:
    """Return what the request asks for; None for a malformed request.

    The query string is part of the path, as it is for the real server: ``/v1/models/m?x=1`` asks for model ``m?x=1``.

    Raises:
        VersionOverflow: the path's version is no 64-bit number.
    """
    if method == "POST":
        match = _INFERENCE.fullmatch(path)
    elif method == "GET":
        match = _STATUS.fullmatch(path)
    else:
        return None
    if match is None:
        return None
    name, version, label, last = match.groups()
    call = last if method == "POST" else ("metadata" if last == "metadata" else "status")
    if method == "POST" and call not in {"classify", "regress", "predict"}:
        return None
    return Route(
        call=call,
        model=_decode(name or ""),
        version=_version(version) if version is not None else None,
        label=_decode(label) if label is not None else None,
    )
