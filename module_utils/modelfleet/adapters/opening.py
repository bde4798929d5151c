"""Open a repository by its URI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import InvalidInput
from ..locations import shown
from .access import Access
from .files import FilesRepository

if TYPE_CHECKING:
    from .repository import Repository

_DEFAULT = Access()


def open_repository(uri: str, access: Access = _DEFAULT) -> Repository:
    """Return the repository behind a URI, or behind an absolute path of a directory.

    Raises:
        InvalidInput: the URI is not one this release can use.
    """
    if uri.startswith("/"):
        return FilesRepository(Path(uri), uri)
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInput(f"repository {shown(uri)!r}", "is not a URI", "correct it") from error
    opener = _OPENERS.get(parts.scheme)
    if parts.scheme in {"http", "https"}:
        raise InvalidInput(
            f"repository {shown(uri)}",
            "is on an HTTP server, which has no listing of models",
            "define each model with a URL of its own, or name a bucket's gs:// or s3://",
        )
    if opener is None:
        kinds = ", ".join(f"{scheme}://" for scheme in sorted(_OPENERS))
        raise InvalidInput(
            f"repository {shown(uri)!r}", "is not a URI of a repository", f"give a directory, or one of {kinds}"
        )
    return opener(uri, parts, access)


def _files(uri: str, parts: SplitResult, access: Access) -> Repository:  # noqa: ARG001  (nothing stands in the way)
    if (
        parts.netloc not in {"", "localhost"}
        or not parts.path.startswith("/")
        or parts.query
        or parts.fragment
        or "%00" in parts.path
    ):
        raise InvalidInput(
            f"repository {shown(uri)!r}", "does not name a directory of this machine", "write file:///directory"
        )
    return FilesRepository(Path(unquote(parts.path)), uri)


# What only one kind of repository needs is imported with it: a module of Ansible compiles everything anew on each run.


def _gcs(uri: str, parts: SplitResult, access: Access) -> Repository:
    from .gcs import GcsStore
    from .object_store import ObjectStoreRepository
    from .transport import Transport

    bucket, prefix = _bucket_and_prefix(uri, parts)
    return ObjectStoreRepository(GcsStore(bucket, access, Transport(access)), prefix)


def _s3(uri: str, parts: SplitResult, access: Access) -> Repository:
    from .object_store import ObjectStoreRepository
    from .s3 import S3Store, s3_transport

    bucket, prefix = _bucket_and_prefix(uri, parts)
    return ObjectStoreRepository(S3Store(bucket, access, s3_transport(access)), prefix)


def _bucket_and_prefix(uri: str, parts: SplitResult) -> tuple[str, str]:
    """Return the two parts of ``scheme://bucket/prefix``, in which no character has a second meaning."""
    rest = uri[len(parts.scheme) + len("://") :]
    bucket, _, prefix = rest.partition("/")
    if not uri.startswith(f"{parts.scheme}://") or not bucket:
        raise InvalidInput(f"repository {shown(uri)!r}", "names no bucket", f"write {parts.scheme}://bucket/prefix")
    return bucket, prefix


_OPENERS: dict[str, Callable[[str, SplitResult, Access], Repository]] = {"file": _files, "gs": _gcs, "s3": _s3}
