"""What every repository of models looks like to the engine, and how to open one by its URI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInput

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_LATER = {"gs", "s3", "http", "https"}


@dataclass(frozen=True)
class RemoteObject:
    """One file of a version in a repository.

    Attributes:
        path: Where it lies below the version's directory, with ``/`` between the parts.
        size: In bytes.
        generation: Changes whenever the content may have changed.
        crc32c: Checksum of the content; None where the repository does not know it without reading.
    """

    path: str
    size: int
    generation: str
    crc32c: int | None = None


class Source(Protocol):
    """The content of an object, read from its beginning."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a part of the buffer and return how many bytes; 0 at the end.

        Raises:
            ModelfleetError: the content cannot be read (on).
        """


class Repository(Protocol):
    """A place of models: ``<model>/<version>/saved_model.pb`` and so on."""

    @property
    def uri(self) -> str:
        """How people name it."""

    def list_models(self) -> dict[str, tuple[int | str, ...]]:
        """Return every model with its versions, ascending; a model without a version has none.

        A SavedModel under a name that is not a version comes last, by that name: it is somebody's mistake.

        Raises:
            SourceNotFound: there is no such repository.
            SourceForbidden: it may not be listed.
        """

    def objects(self, model: str, version: int) -> tuple[RemoteObject, ...]:
        """Return the files of a version, ordered by path.

        Raises:
            SourceNotFound: there is no such version.
            SourceForbidden: it may not be listed, or leads out of the repository.
            SourceIncomplete: it holds what is not a file.
        """

    def open(self, model: str, version: int, obj: RemoteObject) -> AbstractContextManager[Source]:
        """Return the content of an object in the generation that was listed.

        Leaving the context without an error proves that the object did not change in between.

        Raises:
            SourceChanged: the object is no longer the listed one, at the beginning or at the end.
            SourceForbidden: it may not be read.
        """

    def read_text(self, name: str) -> str | None:
        """Return a small file of the repository, such as ``fleet.json``; None when there is none.

        Raises:
            SourceForbidden: it may not be read.
            InvalidInput: the name leads out of the repository, or the content is not UTF-8.
        """


def open_repository(uri: str) -> Repository:
    """Return the repository behind ``file:///directory`` or an absolute path of a directory.

    Raises:
        InvalidInput: the URI is not one this release can use.
    """
    # Imported here because implementations build on this module.
    from .files import FilesRepository

    subject = f"repository {uri!r}"
    if uri.startswith("/"):
        return FilesRepository(Path(uri), uri)
    parts = urlsplit(uri)
    if parts.scheme in _LATER:
        raise InvalidInput(
            subject, f"{parts.scheme}:// is not supported yet by this release", "use a directory, or file:///directory"
        )
    if parts.scheme != "file":
        raise InvalidInput(subject, "is not a URI of a repository", "give an absolute directory, or file:///directory")
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise InvalidInput(subject, "does not name a directory of this machine", "write file:///directory")
    return FilesRepository(Path(unquote(parts.path)), uri)
