"""Where a version is prepared: one place for each, claimed by one process at a time, kept for the next attempt."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from .errors import StoreBusy
from .journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


class Claim(NamedTuple):
    """The right to work on a place; the kernel takes it back when the process ends."""

    path: Path
    descriptor: int

    def release(self) -> None:
        """Give the right back, and remove its file; one that stays hinders nobody."""
        try:
            with suppress(OSError):
                self.path.unlink()
        finally:
            os.close(self.descriptor)


def claim(folder: Path) -> Claim:
    """Claim a place beside which a lock file lies.

    Raises:
        StoreBusy: somebody has it; the message names the process.
        OSError: the lock file cannot be created.
    """
    path = folder.with_name(f"{folder.name}.lock")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            problem = f"is being prepared by process {holder}"
            raise StoreBusy(folder.name, problem, "wait until it is done") from error
        except BaseException:
            os.close(descriptor)
            raise
        if _same_file(path, descriptor):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return Claim(path, descriptor)
        # The holder before removed the file between our opening and our lock: ours guards nothing.
        os.close(descriptor)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Staging:
    """A version in preparation, invisible to everybody else.

    Attributes:
        model: The model's name.
        version: Its version.
        path: The directory to fill with the version's files; every file must be brought to disk by its writer.
        archive: The directory for what is unpacked into ``path``.
        journal: Which pieces have arrived.
    """

    def __init__(self, model: str, version: int, folder: Path, held: Claim) -> None:
        self.model = model
        self.version = version
        self.path = folder / "tree"
        self.archive = folder / "archive"
        self.journal = Journal(folder / "journal")
        self._folder = folder
        self._claim: Claim | None = held
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.close()
            raise

    def clear(self) -> None:
        """Delete what an earlier attempt left, and keep the place.

        Raises:
            OSError: it cannot be deleted.
        """
        self.journal.close()
        shutil.rmtree(self._folder)
        self.path.mkdir(parents=True)

    def close(self) -> None:
        """Give the place back with what is in it, for another attempt; harmless when it was given back."""
        self.journal.close()
        if self._claim:
            self._claim.release()
            self._claim = None

    def discard(self) -> None:
        """Delete what was prepared and give the place back; harmless when it was given back."""
        self.journal.close()
        if self._claim:
            shutil.rmtree(self._folder, ignore_errors=True)
            self.close()
