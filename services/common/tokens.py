"""Who may change things: a bearer token from a file, or only this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import threading
from typing import TYPE_CHECKING

from modelfleet.errors import InvalidInput

from . import private_file
from .refusals import NotAllowed, NoToken, TokenUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SHORTEST, _LONGEST = 16, 4096
_TOKEN = re.compile(rb"[!-~]{%d,}" % _SHORTEST)
_WHAT = "token file"
_SCHEME = "bearer"


class TokenFile:
    """A token in a file of its own, read again whenever the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._signature: private_file.Signature | None = None
        self._digest = b""

    def digest(self) -> bytes:
        """Return a digest of the token as it is now.

        Raises:
            InvalidInput: there is no such file, others may read it, or it holds no token.
        """
        with self._lock:
            if private_file.signature(self._path, _WHAT) != self._signature:
                self._signature = None
                content, signature = private_file.read(self._path, _WHAT, _LONGEST)
                token = content.strip()
                if not _TOKEN.fullmatch(token):
                    raise InvalidInput(
                        f"{_WHAT} {self._path}",
                        f"does not hold a token, {_SHORTEST} or more printable characters without blanks",
                        f"make one: (umask 077; openssl rand -hex 32 >{self._path})",
                    )
                self._digest, self._signature = hashlib.sha256(token).digest(), signature
            return self._digest


class Guard:
    """Decides whether a request may change something.

    Args:
        token: What callers have to show. None lets in whoever can reach the port, which is right only on a loopback
            address; web pages that this machine's browser shows are still kept out.
    """

    def __init__(self, token: TokenFile | None) -> None:
        self._token = token

    def check(self, headers: Mapping[str, str]) -> None:
        """Let a request pass, given its headers by lower-case name.

        Raises:
            NoToken: it shows no token, or a wrong one.
            NotAllowed: it comes from a web page, or from a name that is not this machine's own.
            TokenUnusable: the token file is no longer usable.
        """
        if self._token is None:
            _check_local(headers)
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            expected = self._token.digest()
        except InvalidInput as error:
            raise TokenUnusable(error.subject, error.problem, error.remedy) from error
        shown = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        if not hmac.compare_digest(expected, shown) or scheme.lower() != _SCHEME:
            raise NoToken(
                "token", "is missing or wrong", "send the header Authorization: Bearer <content of the token file>"
            )


def _check_local(headers: Mapping[str, str]) -> None:
    """Refuse what a browser sends on behalf of a web page: a foreign origin, or a foreign name for this machine."""
    host = headers.get("host", "")
    origin = headers.get("origin")
    if not is_loopback(_name(host)) or (origin is not None and origin != f"http://{host}"):
        raise NotAllowed(
            "request",
            f"comes by the name {host or '(none)'!s}" + (f" from {origin}" if origin is not None else ""),
            "call this service from its own machine by a loopback address, or give it a token file",
        )


def _name(host: str) -> str:
    """Return the name or address of a ``Host`` header."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Return whether a name or address leads nowhere but to this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
