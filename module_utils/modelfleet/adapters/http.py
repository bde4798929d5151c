"""Single files on HTTP servers, which have no listing: an archive of a version, or its one file."""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import InvalidInput, SourceChanged, SourceIncomplete
from ..names import subject_of
from .http_errors import shown
from .http_identity import Identity, file_name, identity, kind_of
from .repository import RemoteObject
from .source_numbers import UNDIVIDED
from .transport import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from .http_body import Body
    from .repository import Source
    from .source_places import Version
    from .transport import Answer, Transport

#: How many redirections are followed.
REDIRECTS = 5
#: Answers to HEAD after which GET may do: servers and signed addresses often allow nothing else.
_NO_HEAD = frozenset({400, 403, 404, 405, 501})
_STATED_HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")
_GZIP = {"gzip", "x-gzip"}


class HttpFile:
    """One file at a URL.

    A user and a password in the URL, and what ``Access.http_headers`` has for its host, are sent to that host only.
    The URL may end in ``#sha256=<hex>``, which the content is held against.

    Args:
        url: Where it is.
        transport: What requests are sent with.

    Raises:
        InvalidInput: it is no such URL.
    """

    def __init__(self, url: str, transport: Transport) -> None:
        self._transport = transport
        try:
            parts = urlsplit(url)
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable:
            subject = f"source {url.partition('://')[0]}://…"
            raise InvalidInput(subject, "is not a URL with a host", "write https://host/path/model.zip")
        stated = _STATED_HASH.fullmatch(parts.fragment)
        if parts.fragment and not stated:
            raise InvalidInput(f"source {shown(url)}", "has a '#' with an unknown meaning", "write #sha256=<hex>")
        self._content = f"sha256:{stated[1].lower()}" if stated else ""
        # Who corrects the hash wants the file to be looked at anew.
        self._mark = f"#{self._content}" if stated else ""
        login, _, self.host = parts.netloc.rpartition("@")
        self._authorization = f"Basic {base64.b64encode(unquote(login).encode()).decode()}" if login else ""
        self._url = urlunsplit((parts.scheme, self.host, parts.path or "/", parts.query, ""))
        self._name = unquote(parts.path.rpartition("/")[2])
        #: The URL as receipts have it: without what is secret, and another one for another query or hash.
        self.origin = shown(url)
        if parts.query:
            self.origin += f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:16]}"
        self.origin += self._mark

    def look(self, subject: str) -> RemoteObject:
        """Return the file as it is now.

        Args:
            subject: What errors are about.

        Raises:
            InvalidInput: the URL names no file.
            SourceIncomplete: the server does not say how large it is, or sends it in another encoding.
            SourceNotFound: there is no such file.
            SourceForbidden: it may not be read.
            SourceUnavailable: the server does not answer after several attempts.
        """
        headers, seen = self._ask(subject)
        name = self._name or file_name(headers)
        if not name:
            raise InvalidInput(
                subject, "names a directory, and HTTP has no listing of directories", "give the URL of an archive"
            )
        if not seen.size:
            how = "is empty" if seen.size == 0 else "comes from a server that announces no size of it (Content-Length)"
            raise SourceIncomplete(subject, how, "publish it again, on a server that sends plain files")
        kind = kind_of(name, headers)
        _check_encoding(seen, kind, subject)
        return RemoteObject(
            path=name,
            size=seen.size,
            generation=self._generation(seen, seen.size),
            crc32c=seen.crc32c,
            content=self._content or seen.content,
            divisible=seen.parts and seen.exact,
            archive=kind,
        )

    @contextmanager
    def open(self, obj: RemoteObject, start: int, length: int | None, subject: str) -> Iterator[Source]:
        """Return the content of the file, or of a part of it, as ``look`` returned it; see ``Repository.open``.

        Raises:
            SourceChanged: it is no longer that file, at the beginning or at the end.
            SourceForbidden: it may not be read.
            SourceUnavailable: the server does not answer, or not properly.
        """
        tag = obj.generation[: len(obj.generation) - len(self._mark)]
        pinned = {"If-Match": tag} if tag.startswith('"') else {}
        request = Request(subject, self._url, headers=pinned, signer=self._signed, redirects=REDIRECTS)
        accept = partial(self._check_same, obj, subject)
        with self._transport.stream(request, start, length, accept, obj.size) as body:
            yield body
        _, seen = self._ask(subject)
        if not self._same(obj, seen):
            raise _changed(subject)

    def _generation(self, seen: Identity, size: int) -> str:
        return (seen.generation or f"{size} bytes") + self._mark

    def _same(self, obj: RemoteObject, seen: Identity) -> bool:
        return obj.generation == self._generation(seen, obj.size) and seen.size in {None, obj.size}

    def _check_same(self, obj: RemoteObject, subject: str, body: Body) -> None:
        """Check that an answer is about the content that was listed.

        Raises:
            SourceChanged: it is not.
            SourceIncomplete: it is sent in another encoding.
        """
        seen = identity(body.status, body.headers)
        _check_encoding(seen, obj.archive, subject)
        if not self._same(obj, seen):
            raise _changed(subject)

    def _ask(self, subject: str) -> tuple[Mapping[str, str], Identity]:
        request = Request(subject, self._url, signer=self._signed, redirects=REDIRECTS)
        head = replace(request, method="HEAD", headers={"Accept-Encoding": "identity"}, ok=(200, *_NO_HEAD))
        answer = self._transport.request(head)
        seen = identity(answer.status, answer.headers)
        if answer.status == HTTPStatus.OK and seen.size:
            return answer.headers, seen
        # The first byte is asked for; a server that sends all instead is left at once.
        with self._transport.stream(replace(request, refused=partial(_nothing, subject)), length=1) as body:
            return body.headers, identity(body.status, body.headers)

    def _signed(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002  (a Signer)
        parts = urlsplit(url)
        by_host = {host.lower(): given for host, given in self._transport.access.http_headers.items()}
        given = by_host.get(parts.netloc.lower()) or by_host.get((parts.hostname or "").lower()) or {}
        login = {"Authorization": self._authorization} if self._authorization and url == self._url else {}
        return {**headers, **given, **login}


class HttpPlace:
    """A file on an HTTP server."""

    def __init__(self, file: HttpFile) -> None:
        self._file = file
        self.host = file.host
        self.origin = file.origin

    def versions(self, model: str) -> Mapping[int, Version]:
        """Return what is there, by number; see ``Place``."""
        return {UNDIVIDED: _HttpVersion(self._file, self._file.look(f"model {model}"))}


class _HttpVersion:
    """The one version that a file on an HTTP server holds."""

    def __init__(self, file: HttpFile, seen: RemoteObject) -> None:
        self._file = file
        self._seen = seen
        self.origin = file.origin

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        return (self._file.look(subject_of(model, version)) if fresh else self._seen,)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        return self._file.open(obj, start, length, f"{subject_of(model, version)}: {obj.path}")


def _check_encoding(seen: Identity, kind: str, subject: str) -> None:
    """Check that the bytes that come are those of the file.

    Servers tell of a file that is compressed already as if they had compressed it for the way.

    Raises:
        SourceIncomplete: they are not.
    """
    if seen.encoding and not (kind == "tar" and seen.encoding in _GZIP):
        raise SourceIncomplete(
            subject, f"is sent in the encoding {seen.encoding!r}", "let the server send the file as it is"
        )


def _nothing(subject: str, answer: Answer) -> SourceIncomplete | None:
    if answer.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return None
    return SourceIncomplete(subject, "is empty", "publish it again")


def _changed(subject: str) -> SourceChanged:
    return SourceChanged(subject, "changed on its server while it was pulled", "pull again when it is complete")
