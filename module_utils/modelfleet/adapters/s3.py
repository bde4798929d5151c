"""Buckets of Amazon S3, and of the many servers that speak its protocol."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from ..errors import ModelfleetError, SourceChanged, SourceNotFound, SourceUnavailable
from ..waiting import Clock
from .http_errors import LATER
from .object_store import Entry
from .s3_address import listing_url, object_url
from .s3_asking import Asking, Attempt
from .s3_content import Content, bare, identity_of
from .s3_xml import Page, page_of
from .transport import Request, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable

    from .access import Access
    from .http_body import Body
    from .transport import Answer


#: A listing that brings nothing for so many pages in a row never will.
EMPTY_PAGES = 1000


class S3Store:
    """The keys and contents of one bucket; for many threads."""

    def __init__(self, bucket: str, access: Access, transport: Transport, clock: Clock | None = None) -> None:
        """Make a store; nothing is asked yet.

        Args:
            bucket: The bucket's name.
            access: How it is reached; what it leaves open is taken from the environment and from the profile in use.
            transport: Sends the requests.
            clock: Tells how long ago credentials were looked for.

        Raises:
            InvalidInput: the bucket, the endpoint or the region cannot be one.
        """
        self._asking = Asking(bucket, access, clock or Clock())
        self._transport = transport

    @property
    def uri(self) -> str:
        """How people name the bucket."""
        return f"s3://{self._asking.bucket}"

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._transport.close()

    def list(self, prefix: str) -> Iterator[Entry]:
        """Return every key that begins with the prefix; see ``KeyedStore``."""
        subject = f"{self.uri}/{prefix}"
        page, empty = Page((), ""), 0
        while True:
            answer = self._get(subject, partial(listing_url, prefix=prefix, token=page.token))
            page, earlier = page_of(answer.body, subject), page
            for key, size, etag in page.keys:
                yield Entry(key, size, etag, None, identity_of(etag))
            if not page.token:
                return
            empty = 0 if page.keys else empty + 1
            if page.token == earlier.token or empty == EMPTY_PAGES:
                raise SourceUnavailable(subject, "never comes to the end of its listing", "use another store")

    @contextmanager
    def open(self, entry: Entry, subject: str, start: int = 0, length: int | None = None) -> Iterator[Content]:
        """Return the content of a key, or a part of it; see ``KeyedStore``."""
        attempt = Attempt(self._asking, subject)
        etag = bare(entry.generation)

        def refused(answer: Answer) -> ModelfleetError | None:
            if attempt.moved:
                return SourceUnavailable(subject, "was looked for in another region than it is in", LATER)
            error = attempt.refused(answer)
            gone = error is None and answer.status == HTTPStatus.NOT_FOUND
            return _changed(subject) if gone else error

        def accept(body: Body) -> None:
            # Not every server heeds the condition.
            if bare(body.headers.get("etag", "")) != etag:
                raise _changed(subject)

        headers = {"If-Match": f'"{etag}"'}
        if start == 0 and length in {None, entry.size}:
            headers["x-amz-checksum-mode"] = "ENABLED"
        request = Request(
            subject,
            object_url(attempt.base, entry.key),
            headers=headers,
            signer=attempt.sign,
            refused=refused,
            again=attempt.again,
        )
        with self._transport.stream(request, start, length, accept, entry.size) as body:
            yield Content(body)

    def read_small(self, key: str) -> bytes | None:
        """Return the whole content of a small key; see ``KeyedStore``."""
        subject = f"{self.uri}/{key}"
        try:
            return self._get(subject, partial(object_url, key=key)).body
        except SourceNotFound as error:
            if error.subject != subject:  # it is the bucket that is not there
                raise
            return None

    def _get(self, subject: str, url_of: Callable[[str], str]) -> Answer:
        """Return a small answer, from another place if the first one tells that the bucket is there."""
        attempt = Attempt(self._asking, subject)
        try:
            return self._transport.request(_request(subject, attempt, url_of))
        except ModelfleetError:
            if not attempt.moved:
                raise
        return self._transport.request(_request(subject, Attempt(self._asking, subject), url_of))


def s3_transport(access: Access) -> Transport:
    """Return what sends requests to S3, which has a variable of its own for the certificates to trust."""
    return Transport(replace(access, ca_bundle=access.ca_bundle or os.environ.get("AWS_CA_BUNDLE", "")))


def _request(subject: str, attempt: Attempt, url_of: Callable[[str], str]) -> Request:
    return Request(subject, url_of(attempt.base), signer=attempt.sign, refused=attempt.refused, again=attempt.again)


def _changed(subject: str) -> SourceChanged:
    return SourceChanged(subject, "is no longer what was listed in the bucket", "pull again when it is complete")
