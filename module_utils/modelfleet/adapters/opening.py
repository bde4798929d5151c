"""Open a repository by its URI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInput
from .files import FilesRepository

if TYPE_CHECKING:
    from .repository import Repository

_LATER = {"gs", "s3", "http", "https"}


def open_repository(uri: str) -> Repository:
    """Return the repository behind ``file:///directory`` or an absolute path of a directory.

    Raises:
        InvalidInput: the URI is not one this release can use.
    """
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
