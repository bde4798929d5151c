"""Buckets of Google Cloud Storage, by its JSON API."""

from __future__ import annotations

import binascii
import json
import os
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote, urlencode, urlsplit

from ..errors import (
    InvalidInput,
    ModelfleetError,
    SourceChanged,
    SourceNotFound,
    SourceUnavailable,
)
from ..locations import shown, without_user
from .google_credentials import GoogleCredentials
from .http_errors import LATER, host_of, retry_after, server_words
from .object_store import Entry
from .transport import Request

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from .access import Access
    from .http_body import Body
    from .transport import Answer, Transport

GOOGLE = "https://storage.googleapis.com"
#: How many keys are asked for at a time; the server may send fewer.
PAGE = 5000
#: A listing that brings nothing for so many pages in a row never will.
EMPTY_PAGES = 1000
_FIELDS = "items(name,size,generation,crc32c,md5Hash,contentEncoding),nextPageToken"
_CRC32C_BYTES = 4
_MD5_BYTES = 16
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_LIMITED = re.compile(rb'"reason"\s*:\s*"\w*[rR]ateLimitExceeded"')


class GcsStore:
    """The keys of one bucket."""

    def __init__(self, bucket: str, access: Access, transport: Transport) -> None:
        """Prepare to reach a bucket; nothing is asked yet.

        Raises:
            InvalidInput: the bucket's name or the endpoint is not one.
        """
        if not _BUCKET.fullmatch(bucket):
            raise InvalidInput(
                f"bucket {without_user(bucket)!r}",
                "is not the name of a bucket",
                "give 3 to 222 of a-z, 0-9, '-', '_' and '.'",
            )
        self._bucket = bucket
        self._transport = transport
        endpoint = access.gcs_endpoint or os.environ.get("STORAGE_EMULATOR_HOST", "")
        self._base = _base_url(endpoint)
        # An endpoint of one's own is an emulator: it gets a token only when credentials are named for it.
        anonymous = access.anonymous or (bool(endpoint) and not access.credentials_file)
        self._credentials = None if anonymous else GoogleCredentials(access.credentials_file, transport)

    @property
    def uri(self) -> str:
        """How people name it."""
        return f"gs://{self._bucket}"

    def list(self, prefix: str) -> Iterator[Entry]:
        """Return every key that begins with the prefix; see ``KeyedStore``."""
        asked = {"maxResults": str(PAGE), "fields": _FIELDS, "projection": "noAcl"}
        if prefix:
            asked["prefix"] = prefix
        subject = f"repository {self.uri}"
        token, empty = "", 0
        while True:
            query = urlencode({**asked, "pageToken": token} if token else asked)
            call = _Call(self._credentials, _listing_refused)
            answer = self._transport.request(call.request(subject, f"{self._objects()}?{query}"))
            following, entries = _page(subject, answer.body)
            yield from entries
            if not following:
                return
            empty = 0 if entries else empty + 1
            if following == token or empty == EMPTY_PAGES:
                raise SourceUnavailable(subject, f"{host_of(self._base)} never ends its listing", LATER)
            token = following

    def open(self, entry: Entry, subject: str, start: int = 0, length: int | None = None) -> Body:
        """Return the content of a key in the generation that was listed; see ``KeyedStore``."""
        generation = quote(entry.generation, safe="")
        url = f"{self._objects()}/{quote(entry.key, safe='')}?alt=media&generation={generation}"

        def accept(body: Body) -> None:
            if body.headers.get("x-goog-generation", entry.generation) != entry.generation:
                raise _changed(subject)

        request = _Call(self._credentials, _content_refused).request(subject, url)
        return self._transport.stream(request, start, length, accept, total=entry.size)

    def read_small(self, key: str) -> bytes | None:
        """Return the whole content of a small key; see ``KeyedStore``."""
        call = _Call(self._credentials, _listing_refused)
        url = f"{self._objects()}/{quote(key, safe='')}?alt=media"
        answer = self._transport.request(call.request(f"{self.uri}/{key}", url, ok=(200, 404)))
        return answer.body if answer.status == HTTPStatus.OK else None

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._transport.close()

    def _objects(self) -> str:
        return f"{self._base}/storage/v1/b/{self._bucket}/o"


class _Call:
    """One request to Google: signed, and sent once more when a token stopped being accepted."""

    def __init__(
        self, credentials: GoogleCredentials | None, refused: Callable[[str, Answer], ModelfleetError | None]
    ) -> None:
        self._credentials = credentials
        self._refused = refused
        self._sent: Mapping[str, str] = {}

    def request(self, subject: str, url: str, ok: Collection[int] = (200,)) -> Request:
        return Request(
            subject,
            url,
            signer=self._sign,
            ok=ok,
            refused=lambda answer: _limited(subject, answer) or self._refused(subject, answer),
            again=self._again,
        )

    def _sign(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002  (tokens are for all)
        if self._credentials is None:
            return headers
        self._sent = self._credentials.headers()
        return {**headers, **self._sent}

    def _again(self, answer: Answer) -> bool:
        wrong = answer.status == HTTPStatus.UNAUTHORIZED
        return wrong and self._credentials is not None and self._credentials.renew(self._sent)


def _base_url(endpoint: str) -> str:
    if not endpoint:
        return GOOGLE
    url = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname and parts.port != 0 and not parts.query and not parts.fragment)
    except ValueError:
        plain = False
    if not plain or not url.startswith(("http://", "https://")):
        raise InvalidInput(f"endpoint {shown(url)}", "is not the URL of a server", "give http://host:port")
    return url.rstrip("/")


def _page(subject: str, body: bytes) -> tuple[str, list[Entry]]:
    """Return the token of the page after this one, empty for none, and what this one lists."""
    try:
        page = json.loads(body, object_hook=_entry)
        entries = page.get("items", [])
        if isinstance(entries, list) and all(isinstance(entry, Entry) for entry in entries):
            return page.get("nextPageToken", ""), entries
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise SourceUnavailable(subject, "the server answers with something that is not a listing", LATER)


def _entry(item: dict[str, Any]) -> Entry | dict[str, Any]:
    """Return what an object of JSON lists, or itself when it lists nothing.

    Called while the text is parsed, so that a page of thousands of items is never there in full.
    """
    try:
        name, size, crc32c, md5 = item["name"], int(item["size"]), item.get("crc32c"), item.get("md5Hash")
        checksum, digest = binascii.a2b_base64(crc32c or ""), binascii.a2b_base64(md5 or "")
        lengths = _CRC32C_BYTES if crc32c else 0, _MD5_BYTES if md5 else 0
        if not isinstance(name, str) or size < 0 or (len(checksum), len(digest)) != lengths:
            return item
        return Entry(
            name,
            size,
            str(item["generation"]),
            int.from_bytes(checksum, "big") if checksum else None,
            f"md5:{digest.hex()}" if digest else "",
            "is stored compressed, which servers undo on the way" if item.get("contentEncoding") == "gzip" else "",
        )
    except (KeyError, ValueError, TypeError):
        return item


def _limited(subject: str, answer: Answer) -> ModelfleetError | None:
    """Return the error for a refusal that only means: not so fast."""
    if answer.status == HTTPStatus.FORBIDDEN and _LIMITED.search(answer.body):
        problem = f"{host_of(answer.url)} wants fewer requests ({server_words(answer.body)})"
        return SourceUnavailable(subject, problem, LATER, retry_after(answer.headers))
    return None


def _listing_refused(subject: str, answer: Answer) -> ModelfleetError | None:
    if answer.status == HTTPStatus.NOT_FOUND:
        return SourceNotFound(subject, "there is no such bucket", "correct its name, or create it")
    return None


def _content_refused(subject: str, answer: Answer) -> ModelfleetError | None:
    return _changed(subject) if answer.status == HTTPStatus.NOT_FOUND else None


def _changed(subject: str) -> SourceChanged:
    return SourceChanged(subject, "changed in the repository while it was pulled", "pull again when it is complete")
