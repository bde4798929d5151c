"""A node's own directory of models.

``<root>/<model>/<version>/`` holds complete versions only: they are prepared in ``.staging`` on the same file system
and renamed into place, and a receipt outside of the version says what it was pulled from. TensorFlow Serving reads the
same directory, and skips names that are not numbers.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .durable import exchange, make_directory, replace_file, reported, sync_directory
from .errors import ModelfleetError, NoSpace, StoreError
from .locking import exclusive
from .names import is_model_name, is_version_number, model_name, version_number
from .receipts import Receipt
from .saved_model import files_below, validate_saved_model
from .staging_area import StagingArea

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .staging import Staging

__all__ = ["QuarantineRecord", "Receipt", "Store", "StoredVersion", "validate_saved_model"]

_STAGING, _RECEIPTS, _QUARANTINE, _STATE = ".staging", ".receipts", ".quarantine", ".state"
#: Held by whoever decides what the server serves, also for minutes.
_LOCK = ".lock"
#: Held while a version comes or goes, for an instant.
_COMMIT = ".commit"
#: How long somebody else's instant may be, in seconds: the deletion of a large version.
COMMIT_TIMEOUT_S = 120.0
_CLAIM = ".lock"


@dataclass(frozen=True)
class StoredVersion:
    """One version on disk.

    Attributes:
        version: Its number.
        receipt: What it was pulled from; None when that is not known.
        complete: Whether every file of the receipt is there with its size.
        bytes: Size of its files.
    """

    version: int
    receipt: Receipt | None
    complete: bool
    bytes: int


@dataclass(frozen=True)
class QuarantineRecord:
    """Why a version is set aside.

    Attributes:
        code: The typed reason, upper case.
        message: What went wrong, one line.
        fingerprint: The source as it was then; a changed source gets another chance. Empty when not known.
        stage: Where it failed: ``pull``, ``verify`` or ``load``.
        at: When, ISO 8601 in UTC.
    """

    code: str
    message: str
    fingerprint: str
    stage: str
    at: str


class Store:
    """The directory of one node. Nothing is created before something is written.

    Attributes:
        root: The directory.
        staging: The versions in preparation.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.staging = StagingArea(self.root / _STAGING)
        self._receipts: dict[tuple[str, int], tuple[tuple[int, int], Receipt | None]] = {}
        self._mutex = threading.RLock()
        self._committing = False

    def scan(self) -> dict[str, dict[int, StoredVersion]]:
        """Return every version on disk, by model; sizes are checked, contents are not read.

        Raises:
            StoreError: the directory cannot be read.
        """
        with reported(self.root):
            found = {model: self._scan_model(model) for model in _folders(str(self.root), is_model_name)}
        # Receipts are remembered, but not for ever: versions come and go.
        for model, version in list(self._receipts):
            if version not in found.get(model, ()):
                self._receipts.pop((model, version), None)
        return {model: versions for model, versions in found.items() if versions}

    def fingerprint(self, model: str, version: int) -> str:
        """Return the fingerprint of the source that a version was pulled from; empty when it is not known."""
        receipt = self.receipt(model, version)
        return receipt.fingerprint if receipt else ""

    def free_bytes(self) -> int:
        """Return how much the file system of the store can still take, also before the store exists.

        Raises:
            StoreError: no directory above the store can be examined.
        """
        place = self.root
        while not place.is_dir() and place != place.parent:
            place = place.parent
        with reported(place):
            status = os.statvfs(place)
        return status.f_bavail * status.f_frsize

    def quarantined(self) -> dict[tuple[str, int], QuarantineRecord]:
        """Return the versions that are set aside, ordered.

        Raises:
            StoreError: a record cannot be read.
        """
        found = {}
        with reported(self.root / _QUARANTINE):
            for path in sorted((self.root / _QUARANTINE).glob("*/*.json")):
                if is_model_name(path.parent.name) and is_version_number(path.stem):
                    data = _load(path)
                    try:
                        found[(path.parent.name, int(path.stem))] = QuarantineRecord(**data)
                    except TypeError as error:
                        raise _unreadable(path) from error
        return dict(sorted(found.items()))

    def good(self) -> dict[str, set[int]]:
        """Return the versions that were available on this node at some time, by model.

        Raises:
            StoreError: the record cannot be read.
        """
        path = self.root / _STATE / "good.json"
        with reported(path):
            if not path.exists():
                return {}
            data = _load(path)
        try:
            return {model: {version_number(version) for version in versions} for model, versions in data.items()}
        except (ModelfleetError, TypeError) as error:
            raise _unreadable(path) from error

    @contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        """Decide alone what the server serves, against other processes and other stores of this one.

        Versions may be pulled meanwhile.

        Args:
            timeout_s: How long to wait for another holder, in seconds.

        Raises:
            StoreBusy: another holder kept it for longer; the message names its process.
            StoreError: the directory cannot be created or written.
        """
        with ExitStack() as held:
            with reported(self.root / _LOCK):
                make_directory(self.root)
                held.enter_context(exclusive(self.root / _LOCK, timeout_s))
            yield

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """Let versions come and go one at a time."""
        with self._mutex, ExitStack() as held:
            if self._committing:
                yield
                return
            with reported(self.root / _COMMIT):
                make_directory(self.root)
                held.enter_context(exclusive(self.root / _COMMIT, COMMIT_TIMEOUT_S))
            self._committing = True
            try:
                yield
            finally:
                self._committing = False

    def require_files(self, count: int, subject: str) -> None:
        """Check that the file system can take so many more files and directories.

        Raises:
            NoSpace: it cannot; some file systems have a fixed number of them.
            StoreError: the store cannot be examined.
        """
        with reported(self.root):
            status = os.statvfs(self.root)
        if status.f_files and count > status.f_favail:
            problem = (
                f"needs {count} files and directories, and {self.root} is on a file system with {status.f_favail} left"
            )
            raise NoSpace(subject, problem, "delete files there, or make it anew with more inodes")

    def complete(self, model: str, version: int) -> Receipt | None:
        """Return the receipt of a version that is complete on disk; None when it is not."""
        receipt = self.receipt(model, version)
        folder = f"{self.root}/{model}/{version}"
        if receipt and all(_size(f"{folder}/{obj.path}") == obj.size for obj in receipt.objects):
            return receipt
        return None

    def certify(self, model: str, version: int, receipt: Receipt) -> None:
        """Write the receipt of a version that is on disk already.

        Raises:
            StoreError: it cannot be written.
        """
        path = self._receipt_path(model, version)
        with self._commit(), reported(path):
            make_directory(path.parent)
            replace_file(path, receipt.to_json().encode())

    def remove(self, model: str, version: int) -> None:
        """Delete a version from disk: renamed away first, so that it is whole until it is gone.

        The model's directory goes with its last version. TensorFlow Serving stops looking for new versions of every
        model while the directory of a configured one is missing, so take the model out of its configuration before.

        Raises:
            StoreError: it is not there, or cannot be removed.
        """
        folder = self._folder(model, version)
        with self._commit(), reported(folder):
            away = self._set_away(folder)
            self._receipt_path(model, version).unlink(missing_ok=True)
            shutil.rmtree(away)
            for parent in (folder.parent, self._receipt_path(model, version).parent):
                _remove_if_empty(parent)
        self._forget_good(model, version)

    def clean_staging(self, wanted: Collection[tuple[str, int]] = ()) -> tuple[str, ...]:
        """Delete what interrupted work left behind, and return the names.

        Args:
            wanted: Versions whose preparation goes on; what somebody prepares now is left alone as well.

        Raises:
            StoreError: something cannot be removed; everything else was.
        """
        leftovers = self.staging.leftovers(wanted)
        if not leftovers:
            return ()
        with self._commit():
            return self.staging.delete(leftovers)

    def uncertify(self, model: str, version: int) -> None:
        """Withdraw the proof that a version is complete; its files stay until they are brought anew.

        Raises:
            StoreError: the receipt cannot be removed.
        """
        path = self._receipt_path(model, version)
        with self._commit(), reported(path):
            path.unlink(missing_ok=True)
            sync_directory(path.parent)

    def quarantine(self, model: str, version: int, record: QuarantineRecord) -> None:
        """Set a version aside; its files stay where they are.

        Raises:
            StoreError: the record cannot be written.
        """
        path = self._record_path(model, version)
        with self._commit(), reported(path):
            make_directory(path.parent)
            replace_file(path, (json.dumps(asdict(record), indent=1) + "\n").encode())

    def release(self, model: str, version: int) -> bool:
        """Give a version that was set aside another chance; return whether it was set aside.

        Raises:
            StoreError: the record cannot be removed.
        """
        path = self._record_path(model, version)
        with reported(path):
            if not path.exists():
                return False
        with self._commit(), reported(path):
            path.unlink(missing_ok=True)
            _remove_if_empty(path.parent)
        return True

    def mark_good(self, model: str, version: int) -> None:
        """Remember that a version was available on this node.

        Raises:
            StoreError: the record cannot be read or written.
        """
        known = self.good()
        if version not in known.get(model, set()):
            known.setdefault(model_name(model), set()).add(version_number(version))
            self._write_good(known)

    def publish(self, staging: Staging, receipt: Receipt) -> None:
        """Bring the directories of a prepared version to disk, rename it into place, and write its receipt last.

        Raises:
            StoreError: it cannot be moved; what was prepared is still in staging then.
        """
        folder = self._folder(staging.model, staging.version)
        with reported(folder):
            for inner, _, _ in os.walk(staging.path, topdown=False):
                sync_directory(Path(inner))
        with self._commit(), reported(folder):
            make_directory(folder.parent)
            replaced = self._replace(staging.path, folder) if os.path.lexists(folder) else None
            if replaced is None:
                staging.path.rename(folder)
            sync_directory(folder.parent)
            self.certify(staging.model, staging.version, receipt)
            if replaced:
                shutil.rmtree(replaced)
        staging.discard()

    def _replace(self, fresh: Path, folder: Path) -> Path:
        """Put a prepared version in the place of a damaged or unproven one; return where that one is now.

        The server may hold it, and unloads a version whose directory is gone for a moment: so they change places in
        one step, where the system can.
        """
        if exchange(fresh, folder):
            return fresh
        away = self._set_away(folder)
        fresh.rename(folder)
        return away

    def note(self, name: str, text: str) -> None:
        """Remember one line under a name; an empty one is forgotten.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.root / _STATE / name
        if self.noted(name) == text:
            return
        with reported(path):
            if text:
                make_directory(path.parent)
                replace_file(path, f"{text}\n".encode())
            else:
                path.unlink()

    def noted(self, name: str) -> str:
        """Return the line that is remembered under a name; empty when there is none.

        Raises:
            StoreError: it cannot be read.
        """
        path = self.root / _STATE / name
        with reported(path):
            try:
                return path.read_text(encoding="utf-8", errors="replace").strip()
            except FileNotFoundError:
                return ""

    def _set_away(self, folder: Path) -> Path:
        away = self.root / _STAGING / f"removed.{folder.parent.name}.{folder.name}.{uuid.uuid4().hex}"
        make_directory(away.parent)
        folder.rename(away)
        sync_directory(folder.parent)
        return away

    def _forget_good(self, model: str, version: int) -> None:
        known = self.good()
        if version in known.get(model, set()):
            known[model].discard(version)
            self._write_good({name: versions for name, versions in known.items() if versions})

    def _write_good(self, known: dict[str, set[int]]) -> None:
        path = self.root / _STATE / "good.json"
        with reported(path):
            make_directory(path.parent)
            data = {model: sorted(versions) for model, versions in sorted(known.items())}
            replace_file(path, (json.dumps(data) + "\n").encode())

    def _folder(self, model: str, version: int) -> Path:
        return self.root / model_name(model) / str(version_number(version))

    def _receipt_path(self, model: str, version: int) -> Path:
        return self.root / _RECEIPTS / model_name(model) / f"{version_number(version)}.json"

    def _record_path(self, model: str, version: int) -> Path:
        return self.root / _QUARANTINE / model_name(model) / f"{version_number(version)}.json"

    def _scan_model(self, model: str) -> dict[int, StoredVersion]:
        versions = sorted(int(name) for name in _folders(str(self.root / model), is_version_number))
        return {version: self._scan_version(model, version) for version in versions}

    def _scan_version(self, model: str, version: int) -> StoredVersion:
        folder = f"{self.root}/{model}/{version}"
        receipt = self.receipt(model, version)
        if receipt is None:
            return StoredVersion(version, None, complete=False, bytes=sum(size for _, size in files_below(folder)))
        complete = all(_size(f"{folder}/{obj.path}") == obj.size for obj in receipt.objects)
        return StoredVersion(version, receipt, complete, receipt.size)

    def receipts(self, model: str) -> dict[int, Receipt]:
        """Return the receipts of a model's versions on disk, the newest version first."""
        found = {version: self.receipt(model, version) for version in self._numbers(model)}
        return {version: receipt for version, receipt in found.items() if receipt}

    def origins(self, model: str) -> dict[int, str]:
        """Return every version of a model on disk with the URI that it came from; empty where that is not known."""
        found = {version: self.receipt(model, version) for version in self._numbers(model)}
        return {version: receipt.source if receipt else "" for version, receipt in found.items()}

    def _numbers(self, model: str) -> list[int]:
        """Return the versions of a model on disk, the newest first."""
        with reported(self.root):
            return sorted((int(name) for name in _folders(str(self.root / model), is_version_number)), reverse=True)

    def receipt(self, model: str, version: int) -> Receipt | None:
        """Return a receipt, read again only when its file changed; None when there is none, or an unreadable one."""
        path, key = f"{self.root}/{_RECEIPTS}/{model}/{version}.json", (model, version)
        try:
            status = os.stat(path)  # noqa: PTH116  (thousands of files: no Path for each)
            stamp = (status.st_mtime_ns, status.st_ino)
            known = self._receipts.get(key)
            if known is None or known[0] != stamp:
                known = (stamp, Receipt.from_json(Path(path).read_bytes()))
        except (OSError, ValueError):
            self._receipts.pop(key, None)
            return None
        self._receipts[key] = known
        return known[1]


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise _unreadable(path) from error
    if not isinstance(data, dict):
        raise _unreadable(path)
    return data


def _unreadable(path: Path) -> StoreError:
    return StoreError(str(path), "is not a record of ours", "remove the file")


def _folders(top: str, accept: Callable[[str], bool]) -> list[str]:
    try:
        with os.scandir(top) as entries:
            return sorted(entry.name for entry in entries if accept(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []


def _size(path: str) -> int:
    """Return the size of a file in bytes; -1 when it is not there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116  (thousands of files: no Path for each)
    except OSError:
        return -1


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
