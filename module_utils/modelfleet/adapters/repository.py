"""What every repository of models looks like to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: How many files a version may have, all of which are kept in mind, and how deep they may lie.
FILES_LIMIT, DEPTH_LIMIT = 100_000, 64


@dataclass(frozen=True)
class RemoteObject:
    """One file of a version in a repository.

    Attributes:
        path: Where it lies below the version's directory, with ``/`` between the parts.
        size: In bytes.
        generation: Changes whenever the content may have changed.
        crc32c: Checksum of the content; None where the repository does not know it without reading.
        content: A strong hash of the content that the repository announces, as ``<algorithm>:<hex>``, for example
            ``md5:…``; empty where it does not. Equal ones mean equal bytes.
        divisible: Whether parts of it can be read on their own.
        archive: ``zip`` or ``tar`` when the version's files are the members of this object; else empty.
    """

    path: str
    size: int
    generation: str
    crc32c: int | None = None
    content: str = ""
    divisible: bool = True
    archive: str = ""


class Source(Protocol):
    """The content of an object, or of a part of it, read from its beginning."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a part of the buffer and return how many bytes; 0 at the end.

        Raises:
            SourceUnavailable: the content cannot be read on now, also because of ``abort``.
            SourceForbidden: it may not be read.
            SourceChanged: it is not the listed content any more.
        """

    def abort(self) -> None:
        """Let a read that is going on in another thread, and every later one, fail at once; harmless at any time."""


class Announcing(Source, Protocol):
    """A source whose answer tells more about the object than its listing did."""

    @property
    def announced(self) -> str:
        """A hash of the whole object, as ``<algorithm>:<hex>``; empty when the answer tells none."""


class Repository(Protocol):
    """A place of models: ``<model>/<version>/saved_model.pb`` and so on."""

    @property
    def uri(self) -> str:
        """How people name it."""

    def origin(self, model: str, version: int) -> str:
        """Return the URI that the receipt of a version names: that of the repository, or the version's own."""

    def list_models(self) -> dict[str, tuple[int | str, ...]]:
        """Return every model with its versions, ascending; a model without a version has none.

        A SavedModel under a name that is not a version comes last, by that name: it is somebody's mistake.

        Raises:
            SourceNotFound: there is no such repository.
            SourceForbidden: it may not be listed.
            SourceUnavailable: it does not answer after several attempts.
        """

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        """Return the files of a version, ordered by path.

        Args:
            model: The model's name.
            version: Its version.
            fresh: Whether to ask anew; otherwise what ``list_models`` saw last may be the answer.

        Raises:
            SourceNotFound: there is no such version.
            SourceForbidden: it may not be listed, or leads out of the repository.
            SourceIncomplete: it holds what is not a file.
        """

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        """Return the content of an object in the generation that was listed.

        Leaving the context without an error proves that the object did not change in between. One attempt is made;
        whoever calls tries again.

        Args:
            model: The model's name.
            version: Its version.
            obj: The object, as ``objects`` returned it.
            start: Offset of the first byte; not 0 only for a divisible object.
            length: How many bytes from there; None means up to the end.

        Raises:
            SourceChanged: the object is no longer the listed one, at the beginning or at the end.
            SourceForbidden: it may not be read.
            SourceUnavailable: the repository does not answer, or not properly; trying again may help.
        """

    def close(self) -> None:
        """Give connections back; the repository is of no use afterwards."""

    def read_text(self, name: str) -> str | None:
        """Return a small file of the repository, such as ``fleet.json``; None when there is none.

        Raises:
            SourceForbidden: it may not be read.
            InvalidInput: the name leads out of the repository, or the content is not UTF-8.
        """
