"""What S3 answers in XML: pages of listings, and errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from ..errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORDS_LIMIT = 300
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REMEDY = "check that the endpoint speaks S3 and that no proxy answers in its place"


class Listed(NamedTuple):
    """One key of a listing.

    Attributes:
        key: The whole key.
        size: In bytes.
        etag: As the store wrote it, quotes included.
    """

    key: str
    size: int
    etag: str


@dataclass(frozen=True)
class Page:
    """One answer to ListObjectsV2.

    Attributes:
        keys: What it lists, in the order of the keys.
        token: Where the next page begins; empty after the last one.
    """

    keys: tuple[Listed, ...]
    token: str


@dataclass(frozen=True)
class Fault:
    """What an error document says.

    Attributes:
        code: S3's word for it, such as ``NoSuchBucket``; empty when the answer is no such document.
        message: S3's explanation, one short line.
        region: The region that the bucket is in, where the error is about that.
    """

    code: str = ""
    message: str = ""
    region: str = ""


def page_of(body: bytes, subject: str) -> Page:
    """Return what a page of ListObjectsV2 lists.

    Raises:
        SourceUnavailable: it is not such a page, or one that cannot be continued.
    """
    try:
        root = _parsed(body)
        space = root.tag[: root.tag.rfind("}") + 1]
        if root.tag != f"{space}ListBucketResult":
            problem = f"answered with <{root.tag[len(space) :][:40]}> instead of a listing"
            raise SourceUnavailable(subject, problem, _REMEDY)
        # Absent from the answer of a server that does not know how to encode keys.
        encoded = root.findtext(f"{space}EncodingType") == "url"
        keys = tuple(_listed(root, space, encoded=encoded))
    except (ET.ParseError, ValueError) as error:
        raise SourceUnavailable(subject, f"sent a listing that cannot be read ({error})", _REMEDY) from error
    token = root.findtext(f"{space}NextContinuationToken") or ""
    if root.findtext(f"{space}IsTruncated") == "true" and not token:
        problem = "sent a part of a listing without saying how to get the rest"
        raise SourceUnavailable(subject, problem, "use a store that knows version 2 of ListObjects")
    return Page(keys, token)


def fault_of(body: bytes) -> Fault:
    """Return what an error document says; all of it empty for an answer that is none."""
    try:
        root = _parsed(body)
    except (ET.ParseError, ValueError):
        return Fault()
    space = root.tag[: root.tag.rfind("}") + 1]
    if root.tag != f"{space}Error":
        return Fault()
    message = " ".join((root.findtext(f"{space}Message") or "").split())[:_WORDS_LIMIT]
    return Fault(
        (root.findtext(f"{space}Code") or "").strip()[:_WORDS_LIMIT],
        message.rstrip("."),
        region_name(root.findtext(f"{space}Region") or ""),
    )


def region_name(text: str) -> str:
    """Return the text if it may be the name of a region, which becomes a part of a host's name; else nothing."""
    return text if _REGION.fullmatch(text) else ""


def _listed(root: ET.Element, space: str, *, encoded: bool) -> Iterator[Listed]:
    contents, key, size, etag = (f"{space}{name}" for name in ("Contents", "Key", "Size", "ETag"))
    for item in root:
        if item.tag != contents:
            continue
        fields = {child.tag: child.text or "" for child in item}
        name, tag, count = fields.get(key, ""), fields.get(etag, ""), int(fields.get(size, ""))
        if not (name and tag and tag.isascii() and tag.isprintable() and count >= 0):
            raise ValueError("an entry without key or size, or without an entity tag that can be sent back")
        yield Listed(unquote_plus(name) if encoded and ("%" in name or "+" in name) else name, count, tag)


def _parsed(body: bytes) -> ET.Element:
    """Return the root of a document that declares nothing: only a document type can define entities."""
    text = body.decode()
    if "<!DOCTYPE" in text:
        raise ValueError("it declares a document type")
    return ET.fromstring(text)  # noqa: S314  (without a document type there is nothing to expand)
