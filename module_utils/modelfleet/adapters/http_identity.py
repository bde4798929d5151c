"""What the headers of an answer tell about a file: how large it is, which content it has, what kind it is."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from ..saved_model import ROOTS
from .archives import archive_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES = {
    "application/zip": "zip",
    "application/x-zip-compressed": "zip",
    "application/tar": "tar",
    "application/tar+gzip": "tar",
    "application/x-tar": "tar",
    "application/x-gtar": "tar",
    "application/x-compressed-tar": "tar",
    "application/gzip": "tar",
    "application/x-gzip": "tar",
    "application/x-tgz": "tar",
}
#: More digits are no size of a file.
_SIZE = re.compile(r"[0-9]{1,19}")
_TOTAL = re.compile(r"bytes (?:[0-9]+-[0-9]+|\*)/([0-9]{1,19})")
_SHA256 = re.compile(r"sha-?256=:?([A-Za-z0-9+/]{43}=):?", re.IGNORECASE)
_GOOGLE = re.compile(r"(crc32c|md5)=([A-Za-z0-9+/=]+)")
#: A date of change proves nothing about changes within the same second (RFC 9110, 8.8.2.2).
_SETTLED = timedelta(seconds=1)


@dataclass(frozen=True)
class Identity:
    """What an answer says about the file as a whole.

    Attributes:
        size: In bytes; None when it does not say.
        generation: Its entity tag, else its date of change, else empty.
        exact: Whether equal generations mean equal bytes, so that parts of several answers fit together.
        parts: Whether the server says that it sends parts.
        crc32c: Announced checksum; None without.
        content: Announced strong hash, as ``<algorithm>:<hex>``; empty without.
        encoding: How it was encoded for the way; empty for not at all.
    """

    size: int | None
    generation: str
    exact: bool
    parts: bool
    crc32c: int | None
    content: str
    encoding: str


def identity(status: int, headers: Mapping[str, str]) -> Identity:
    """Return what an answer with status 200 or 206 says about the whole file.

    Args:
        status: The answer's status.
        headers: Its headers; names in any case.
    """
    part = status == HTTPStatus.PARTIAL_CONTENT
    tag, changed = headers.get("etag", "").strip(), headers.get("last-modified", "").strip()
    encoding = headers.get("content-encoding", "").strip().lower()
    encoding = "" if encoding == "identity" else encoding
    crc32c, content = _announced(headers, whole=not part) if not encoding else (None, "")
    return Identity(
        size=_total(headers) if part else _length(headers),
        generation=tag or changed,
        exact=tag.startswith('"') if tag else _settled(changed, headers.get("date", "")),
        parts=part or headers.get("accept-ranges", "").strip().lower() == "bytes",
        crc32c=crc32c,
        content=content,
        encoding=encoding,
    )


def file_name(headers: Mapping[str, str]) -> str:
    """Return the name under which a server wants an answer to be saved; empty when it says none."""
    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    return message.get_filename("") or ""


def kind_of(name: str, headers: Mapping[str, str]) -> str:
    """Return ``zip`` or ``tar`` for an archive, told by its name, else by what the server says; empty for others."""
    if name in ROOTS:
        return ""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return archive_kind(name) or archive_kind(file_name(headers)) or _TYPES.get(media, "")


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if _SIZE.fullmatch(text) else None


def _total(headers: Mapping[str, str]) -> int | None:
    match = _TOTAL.fullmatch(headers.get("content-range", "").strip())
    return int(match[1]) if match else None


def _settled(changed: str, date: str) -> bool:
    """Return whether a file was not changed in the second in which it was asked for."""
    try:
        return parsedate_to_datetime(date) - parsedate_to_datetime(changed) > _SETTLED
    except (TypeError, ValueError):
        return False


def _announced(headers: Mapping[str, str], *, whole: bool) -> tuple[int | None, str]:
    """Return the checksum and the strong hash of the whole file, where the server announces them."""
    google = dict(_GOOGLE.findall(headers.get("x-goog-hash", "")))
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        google = {}  # of the compressed content, which is not what was sent
    crc32c = _decoded(google.get("crc32c", ""), 4)
    sha256 = _SHA256.search(headers.get("repr-digest", "") or headers.get("digest", ""))
    plain = headers.get("x-checksum-sha256", "").strip().lower()
    md5 = google.get("md5", "") or (headers.get("content-md5", "").strip() if whole else "")
    found = _decoded(sha256[1], 32) if sha256 else plain if re.fullmatch(r"[0-9a-f]{64}", plain) else ""
    strong = f"sha256:{found}" if found else f"md5:{_decoded(md5, 16)}" if _decoded(md5, 16) else ""
    return int(crc32c, 16) if crc32c else None, strong


def _decoded(text: str, size: int) -> str:
    """Return base64 as hexadecimal digits; empty when it is not that of so many bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == size else ""
