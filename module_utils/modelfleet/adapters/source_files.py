"""Sources in directories of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import SourceForbidden
from .archives import archive_kind
from .files import FilesRepository, generation_of, is_saved_model
from .repository import RemoteObject
from .source_numbers import UNDIVIDED, number_of
from .source_places import divided, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .repository import Source
    from .source_places import Version


class DirectoryPlace:
    """A directory of this machine, or one file.

    Args:
        path: Its absolute path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.host = "file"
        self.origin = path.as_uri()

    def versions(self, model: str) -> Mapping[int, Version]:
        """Return what is there, by number; see ``Place``."""
        try:
            if self._path.is_file():
                return {UNDIVIDED: _File(self._path, self.origin)}
            with os.scandir(self._path) as entries:
                folders = [entry.name for entry in entries if number_of(entry.name) and entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise nothing(model, self.origin) from error
        except OSError as error:
            problem = f"cannot be read at {self.origin} ({error.strerror})"
            raise SourceForbidden(f"model {model}", problem, "let the service's user read it") from error
        models = {name for name in ("", *folders) if is_saved_model(self._path / name)}
        numbers = divided(model, self.origin, folders, models)
        if not numbers:
            return {UNDIVIDED: _DirectoryVersion(_Located(self._path, self._path), self.origin)}
        return {
            number: _DirectoryVersion(_Located(self._path, self._path / name), f"{self.origin}/{name}")
            for number, name in numbers.items()
        }


class _Located(FilesRepository):
    """The files of one version, whatever the name of its directory."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(root)
        self._place = folder

    def _folder(self, model: str, version: int) -> Path:  # noqa: ARG002  (there is only one)
        return self._place


class _DirectoryVersion:
    """One version in a directory."""

    def __init__(self, files: FilesRepository, origin: str) -> None:
        self._files = files
        self.origin = origin

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        return self._files.objects(model, version, fresh=fresh)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        return self._files.open(model, version, obj, start, length)


class _File(_DirectoryVersion):
    """One file, and nothing that lies beside it."""

    def __init__(self, path: Path, origin: str) -> None:
        super().__init__(_Located(path.parent, path.parent), origin)
        self._path = path

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:  # noqa: ARG002  (a file is always asked)
        try:
            status = self._path.stat()
        except OSError as error:
            raise nothing(model, self.origin) from error
        name = self._path.name
        return (RemoteObject(name, status.st_size, generation_of(status), archive=archive_kind(name)),)
