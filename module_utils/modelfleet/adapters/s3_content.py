"""The content of an object in S3, and the hash of it that only an answer tells."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .http_body import Body

_ONE_PIECE = re.compile("[0-9a-f]{32}")
_LENGTHS = {"crc32c": 4, "sha256": 32}


class Content:
    """The content of an object, or of a part of it; a ``Source`` and an ``Announcing`` one."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.readinto = body.readinto
        self.abort = body.abort

    @property
    def announced(self) -> str:
        """A hash of the whole object, as ``<algorithm>:<hex>``; empty when the answer tells none."""
        return announced_by(self._body.headers)


def bare(etag: str) -> str:
    """Return an entity tag without its quotes."""
    return etag.strip('"')


def identity_of(etag: str) -> str:
    """Return the entity tag of an object that was written in one piece as a hash of its content; else nothing.

    It is the content's MD5 or, where a key management service encrypts, something else that is as unique. A listing
    does not tell which, so it is called neither: equal ones mean equal bytes, but it cannot be made from the bytes.
    """
    return f"etag:{bare(etag)}" if _ONE_PIECE.fullmatch(bare(etag)) else ""


def announced_by(headers: Mapping[str, str]) -> str:
    """Return the hash of the whole object that an answer announces, as ``<algorithm>:<hex>``; empty for none.

    A checksum that the uploader gave comes first, unless it is one of parts' checksums. The entity tag is an MD5 when
    the object was written in one piece and no key but the service's own encrypts it.
    """
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm, length in _LENGTHS.items():
            digest = _decoded(headers.get(f"x-amz-checksum-{algorithm}", ""))
            if len(digest) == length:
                return f"{algorithm}:{digest.hex()}"
    etag = bare(headers.get("etag", ""))
    by_own_key = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    by_customer = "x-amz-server-side-encryption-customer-algorithm" in headers
    return f"md5:{etag}" if _ONE_PIECE.fullmatch(etag) and by_own_key and not by_customer else ""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
