"""A repository in a directory: a mounted share, a synchronised copy, an example."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from ..errors import InvalidInput, SourceChanged, SourceForbidden, SourceIncomplete, SourceNotFound, SourceUnavailable
from ..names import is_model_name, is_version_number, model_name, subject_of, version_number
from ..saved_model import ROOTS
from ..small_files import read_text
from .repository import DEPTH_LIMIT, FILES_LIMIT, RemoteObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .repository import Source

_READABLE = "let the service's user read it"


class FilesRepository:
    """Reads ``<root>/<model>/<version>/…``.

    Names that begin with a dot, and children of a model that are not canonical version numbers, are not versions and
    are skipped. Symbolic links are followed as long as they stay below the root.
    """

    def __init__(self, root: Path, uri: str = "") -> None:
        self._root = root
        self._uri = uri or root.as_uri()

    @property
    def uri(self) -> str:
        """How people name it."""
        return self._uri

    def origin(self, model: str, version: int) -> str:  # noqa: ARG002  (one origin for all)
        """Return the URI that receipts name; see ``Repository``."""
        return self._uri

    def list_models(self) -> dict[str, tuple[int | str, ...]]:
        """Return every model with its versions; see ``Repository``."""
        try:
            with os.scandir(self._root) as entries:
                names = sorted(entry.name for entry in entries if _is_folder(entry))
        except OSError as error:
            self._refuse(f"repository {self._uri}", error)
        found = {name: self._versions(name) for name in names}
        return {name: versions for name, versions in found.items() if versions or is_model_name(name)}

    def objects(
        self,
        model: str,
        version: int,
        *,
        fresh: bool = False,  # noqa: ARG002  (a directory is always asked)
    ) -> tuple[RemoteObject, ...]:
        """Return the files of a version; see ``Repository``."""
        subject = subject_of(model, version)
        folder = self._folder(model, version)
        try:
            if not stat.S_ISDIR(folder.stat().st_mode):
                raise SourceIncomplete(subject, f"{folder} is not a directory", "publish a SavedModel directory")
            top = os.path.realpath(folder)
            if (folder.is_symlink() or folder.parent.is_symlink()) and not self._inside(top):
                self._escapes(subject, folder)
            found = list(islice(self._walk(str(folder), "", subject, (top,)), FILES_LIMIT + 1))
        except OSError as error:
            self._refuse(subject, error)
        if len(found) > FILES_LIMIT:
            raise SourceIncomplete(subject, f"holds more than {FILES_LIMIT} files", "publish a SavedModel directory")
        return tuple(sorted(found, key=lambda obj: obj.path))

    @contextmanager
    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> Iterator[Source]:
        """Return the content of an object; see ``Repository``."""
        subject = f"{subject_of(model, version)}: {obj.path}"
        path = self._folder(model, version) / obj.path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise _changed(subject) from error
        except OSError as error:
            self._refuse(subject, error)
        try:
            before = os.fstat(descriptor)
            if generation_of(before) != obj.generation:
                raise _changed(subject)
            yield _Content(descriptor, subject, start, obj.size - start if length is None else length)
            if _strict(os.fstat(descriptor)) != _strict(before) or not _still_there(path, before):
                raise _changed(subject)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Nothing is held; see ``Repository``."""

    def read_text(self, name: str) -> str | None:
        """Return a small file of the repository; see ``Repository``."""
        subject = f"{self._uri}/{name}"
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise InvalidInput(subject, "is not a path below the repository", "give a relative path")
        path = self._root / name
        try:
            if not self._inside(os.path.realpath(path)):
                self._escapes(subject, path)
            return read_text(path, subject)
        except FileNotFoundError:
            if not self._root.is_dir():
                self._refuse(f"repository {self._uri}", FileNotFoundError())
            return None
        except OSError as error:
            self._refuse(subject, error)

    def _folder(self, model: str, version: int) -> Path:
        return self._root / model_name(model) / str(version_number(version))

    def _versions(self, model: str) -> tuple[int | str, ...]:
        """Return a model's versions; none when it cannot be listed, so that its neighbours go on.

        A SavedModel under a name that is no version is returned by that name: somebody expects it to be served.
        """
        folder = self._root / model
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if _is_folder(entry)]
        except OSError:
            return ()
        strays = [name for name in names if not is_version_number(name) and is_saved_model(folder / name)]
        return (*sorted(int(name) for name in names if is_version_number(name)), *sorted(strays))

    def _walk(self, folder: str, prefix: str, subject: str, above: tuple[str, ...]) -> Iterator[RemoteObject]:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
                if entry.is_symlink() and not self._inside(real):
                    self._escapes(subject, Path(entry.path))
                if entry.is_dir():
                    if real in above:
                        problem = f"{path} leads back to a directory above it"
                        raise SourceIncomplete(subject, problem, "remove the symbolic link")
                    if len(above) == DEPTH_LIMIT:
                        raise SourceIncomplete(subject, f"{path} lies too deep", "publish a SavedModel directory")
                    yield from self._walk(entry.path, f"{path}/", subject, (*above, real))
                    continue
                status = _status(entry, subject, path)
                yield RemoteObject(path, status.st_size, generation_of(status))

    def _inside(self, real: str) -> bool:
        root = os.path.realpath(self._root)
        return os.path.commonpath([root, real]) == root

    def _escapes(self, subject: str, path: Path) -> NoReturn:
        raise SourceForbidden(
            subject, f"{path} is a symbolic link that leads out of the repository", "put the files themselves there"
        )

    def _refuse(self, subject: str, error: OSError) -> NoReturn:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            if not self._root.is_dir():
                raise SourceNotFound(f"repository {self._uri}", "is not a directory", "correct its path, or mount it")
            raise SourceNotFound(subject, f"does not exist below {self._root}", "publish it, or correct its name")
        reason = error.strerror or str(error)
        raise SourceForbidden(subject, f"cannot be read ({reason})", _READABLE) from error


class _Content:
    """A part of an open file whose errors are those of a repository."""

    def __init__(self, descriptor: int, subject: str, start: int, length: int) -> None:
        self._descriptor = descriptor
        self._subject = subject
        self._position = start
        self._end = start + length
        self._aborted = False

    def readinto(self, buffer: memoryview, /) -> int:
        if self._aborted:
            raise SourceUnavailable(self._subject, "reading it was given up", "it is tried again")
        try:
            count = os.preadv(self._descriptor, [buffer[: self._end - self._position]], self._position)
        except OSError as error:
            raise SourceForbidden(self._subject, f"cannot be read ({error.strerror})", _READABLE) from error
        self._position += count
        return count

    def abort(self) -> None:
        self._aborted = True


def _status(entry: os.DirEntry[str], subject: str, path: str) -> os.stat_result:
    try:
        status = entry.stat()
    except FileNotFoundError as error:
        problem = f"{path} vanished, or is a symbolic link to nothing"
        raise SourceIncomplete(subject, problem, "publish the file itself") from error
    if not stat.S_ISREG(status.st_mode):
        problem = f"{path} is neither a file nor a directory"
        raise SourceIncomplete(subject, problem, "remove it from the version")
    return status


def generation_of(status: os.stat_result) -> str:
    """Return what changes when a file does."""
    return f"{status.st_mtime_ns}.{status.st_size}.{status.st_ino}"


def _strict(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what tells a change during a copy, also one that sets the old modification time again."""
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def _still_there(path: Path, before: os.stat_result) -> bool:
    try:
        return _strict(path.stat()) == _strict(before)
    except OSError:
        return False


def _changed(subject: str) -> SourceChanged:
    return SourceChanged(subject, "changed in the repository while it was pulled", "pull again when it is complete")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir()
    except OSError:
        return False


def is_saved_model(folder: Path) -> bool:
    """Return whether a directory holds what makes it a model."""
    return any((folder / name).is_file() for name in ROOTS)
