"""Values of settings, checked one by one. Each takes the text and what to name in an error."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelfleet.errors import InvalidInput
from modelfleet.locations import without_user
from modelfleet.quantity import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_LAST_PORT = 65535


def whole(least: int, most: int) -> Callable[[str, str], int]:
    """Return a reader of whole numbers within these bounds."""

    def read(text: str, subject: str) -> int:
        if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
            return int(text)
        raise InvalidInput(subject, f"{text!r} is not a whole number from {least} to {most}", "correct it")

    return read


#: A TCP port; 0 means any that is free.
port = whole(0, _LAST_PORT)


def seconds(least: float) -> Callable[[str, str], float]:
    """Return a reader of durations of at least so many seconds."""

    def read(text: str, subject: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            raise InvalidInput(subject, f"{text!r} is not a number of seconds of at least {least:g}", "correct it")
        return value

    return read


def amount(text: str, subject: str) -> int:
    """Return a number of bytes.

    Raises:
        InvalidInput: it is none.
    """
    return parse_bytes(text, subject)


def one_of(*words: str) -> Callable[[str, str], str]:
    """Return a reader of one of these words."""

    def read(text: str, subject: str) -> str:
        if text not in words:
            raise InvalidInput(subject, f"{text!r} is not one of {', '.join(words)}", "choose one of them")
        return text

    return read


def path(text: str, subject: str) -> Path:
    """Return an absolute path.

    Raises:
        InvalidInput: it is not absolute.
    """
    if not text.startswith("/") or "\0" in text:
        raise InvalidInput(subject, f"{text!r} is not an absolute path", "write it from / on")
    return Path(text)


def address(text: str, subject: str) -> str:
    """Return an IP address of this machine to listen on.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InvalidInput(subject, f"{text!r} is not an IP address", "write one, for example 127.0.0.1") from error


def endpoint(text: str, subject: str) -> str:
    """Return the URL of a server.

    Raises:
        InvalidInput: it is none, or carries what everybody would see.
    """
    bare = url(text, subject)
    try:
        parts = urlsplit(bare)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = without_user(text)  # without a scheme, a password passes for a part of the path
        raise InvalidInput(subject, f"{shown!r} is not the URL of a server", "write http://host:port or https://host")
    return bare


def url(text: str, subject: str) -> str:
    """Return a URL or a path.

    Raises:
        InvalidInput: it carries what everybody would see in the list of processes.
    """
    try:
        carries = "@" in urlsplit(text).netloc
    except ValueError as error:
        raise InvalidInput(subject, "is not a URL", "correct it") from error
    if carries:
        raise InvalidInput(subject, "carries a user or a password", "give credentials by environment or files")
    return text
