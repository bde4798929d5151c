"""All versions in preparation on one node: who works on what, what it takes of the disk, what nobody needs any more."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from .durable import make_directory, reported
from .errors import StoreBusy
from .names import is_model_name, is_version_number, model_name, version_number
from .staging import Staging, claim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

#: Name and version make the name of a place.
_PARTS = 2
_CLAIM = ".lock"


class StagingArea:
    """The directory that holds a place for each version in preparation, and what was set away to be deleted."""

    def __init__(self, top: Path) -> None:
        self._top = top

    def claim(self, model: str, version: int) -> Staging:
        """Claim the place where a version is prepared; what an earlier attempt left there is still there.

        Raises:
            StoreBusy: somebody prepares it already; the message names the process.
            StoreError: it cannot be created.
        """
        folder = self._folder(model, version)
        with reported(folder):
            make_directory(folder.parent)
            return Staging(model, version, folder, claim(folder))

    def versions(self) -> set[tuple[str, int]]:
        """Return the versions that are unfinished."""
        try:
            parts = [entry.name.split(".") for entry in self._top.iterdir()]
        except OSError:
            return set()
        return {
            (part[0], int(part[1]))
            for part in parts
            if len(part) == _PARTS and is_model_name(part[0]) and is_version_number(part[1])
        }

    def bytes_taken(self, model: str, version: int) -> int:
        """Return how much of the disk an unfinished version takes already."""
        # Another version has what is shared: it was free before, and is no room for what is still to come.
        files = (status for status in self._statuses(model, version) if status.st_nlink == 1)
        return sum(status.st_blocks * 512 for status in files)

    def touched_at(self, model: str, version: int) -> float:
        """Return when something was last written for an unfinished version, in seconds of the epoch; 0 without any."""
        return max((status.st_mtime for status in self._statuses(model, version, folders=True)), default=0.0)

    def leftovers(self, wanted: Collection[tuple[str, int]]) -> list[str]:
        """Return the names of what is there beside the wanted versions.

        Raises:
            StoreError: the directory cannot be read.
        """
        kept = {f"{model}.{version}" for model, version in wanted}
        with reported(self._top):
            names = {entry.name.removesuffix(_CLAIM) for entry in self._top.iterdir()} if self._top.is_dir() else set()
        return sorted(names - kept)

    def delete(self, names: Collection[str]) -> tuple[str, ...]:
        """Delete what nobody works on, and return its names.

        Raises:
            StoreError: something cannot be removed; everything else was.
        """
        deleted, failed = [], None
        with reported(self._top):
            for name in names:
                try:
                    if _deleted(self._top / name):
                        deleted.append(name)
                except OSError as error:
                    failed = failed or error
            if failed:
                raise failed
        return tuple(deleted)

    def _folder(self, model: str, version: int) -> Path:
        return self._top / f"{model_name(model)}.{version_number(version)}"

    def _statuses(self, model: str, version: int, *, folders: bool = False) -> Iterator[os.stat_result]:
        """Yield the statuses of the files of an unfinished version, and of its directories when they are asked for."""
        for place, _, names in os.walk(self._folder(model, version)):
            for name in (".", *names) if folders else names:
                try:
                    yield os.lstat(f"{place}/{name}")
                except OSError:  # gone in between
                    continue


def _deleted(folder: Path) -> bool:
    """Delete a leftover, unless somebody works on it; return whether it was deleted."""
    try:
        held = claim(folder)
    except StoreBusy:
        return False
    try:
        shutil.rmtree(folder, ignore_errors=not folder.exists())
    finally:
        held.release()
    return True
