"""What the workers of a pull work on: one job for each version, in units that any worker can take."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Callable, Protocol

from . import digests
from .adapters.checksums import crc32c_function, crc32c_of
from .durable import reported, sync_tree
from .errors import SourceUnavailable
from .pull_plan import Kind
from .receipts import Receipt
from .saved_model import files_below

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .adapters.repository import RemoteObject, Repository, Source
    from .errors import DigestMismatch, ModelfleetError, SourceIncomplete
    from .pull_plan import PullItem
    from .store import Store


class LeaveError(Exception):
    """The worker is to put its work down: others wait, or nobody needs it any more. What has arrived is kept."""


class Worker(Protocol):
    """What a job may ask of the worker that carries out a unit of it."""

    @property
    def buffer(self) -> memoryview:
        """Memory of the worker's own, for reading."""

    def reading(self, source: Source, what: str, *, divisible: bool) -> AbstractContextManager[None]:
        """Let others end a read that hangs; one of which no part counts does not make way for other versions."""

    def moved(self, count: int) -> None:
        """Tell that bytes came; waits where a limit of bandwidth asks for it.

        Raises:
            LeaveError: the job is no longer wanted, another one waits, or everything pauses.
        """

    def check(self) -> None:
        """Tell that the worker is alive.

        Raises:
            LeaveError: the job is no longer wanted, or everything ends.
        """

    def busy(self, what: str) -> None:
        """Tell what the worker does."""


Unit = Callable[[Worker], None]


class Fate(Enum):
    """How a job ended."""

    #: The version is published.
    PULLED = "PULLED"
    #: What is on disk is what the repository has.
    SAME = "SAME"
    #: It is not.
    DIFFERENT = "DIFFERENT"
    #: See the error.
    FAILED = "FAILED"
    #: Nobody wants it any more; nothing is left of it.
    DROPPED = "DROPPED"


@dataclass(frozen=True)
class Moved:
    """Where the bytes of a version came from; sizes in bytes."""

    #: Read from the repository.
    read: int = 0
    #: Found sound in what an earlier attempt left.
    resumed: int = 0
    #: Shared with another version on disk.
    linked: int = 0


class Job:
    """One version on its way. The pool's lock guards what the pool reads; ``lock`` guards the rest.

    Attributes:
        item: What it is about.
        units: What can be taken now.
        active: How many workers are on it.
        started: Whether any was.
        served: When a worker took a unit of it last; 0 before the first.
        began: When a worker took the first one.
        not_before: When the next unit may be taken, by the pool's clock.
        failures: Failed tries since the last byte came that counts.
        dropped: Whether nobody wants it any more.
        error: Why it failed; it ends when its workers have left.
        crash: The error of the program that ended it.
        fate: How it ended; None while it goes on.
        total: Bytes of all its files.
        done: Bytes that are here.
        read: Bytes read from the repository, also in vain.
        resumed: Bytes found sound in what an earlier attempt left.
        linked: Bytes shared with another version on disk.
        verifying: Whether all bytes are here and are being checked.
        divisible: Whether a worker may put a unit down in the middle: what is left of it is queued again by itself.
    """

    divisible = False

    def __init__(self, item: PullItem, first: Unit) -> None:
        self.item = item
        self.total = item.bytes
        self.units: deque[Unit] = deque([first])
        self.active = 0
        self.started = False
        self.served = 0.0
        self.began = 0.0
        self.not_before = 0.0
        self.failures = 0
        self.dropped = False
        self.error: ModelfleetError | None = None
        self.crash: BaseException | None = None
        self.fate: Fate | None = None
        self.done = 0
        self.verifying = False
        self.read = self.resumed = self.linked = 0
        self.lock = threading.Lock()

    @property
    def ending(self) -> bool:
        """Whether no further unit of it is to be taken."""
        return self.dropped or self.error is not None or self.fate is not None

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return max(0, self.total - self.done)

    @property
    def moved(self) -> Moved:
        """Where its bytes came from."""
        return Moved(self.read, self.resumed, self.linked)

    @property
    def unwritten(self) -> int:
        """Bytes of disk space that are promised to it and not taken yet."""
        return 0

    def next_step(self) -> None:
        """Go on when no unit is left and no worker is on it: add units, or set the fate."""

    def damaged(self, error: DigestMismatch | SourceIncomplete) -> bool:  # noqa: ARG002  (what is read once only is never read again)
        """Read again what arrived damaged; return False when that is of no use."""
        return False

    def close(self) -> None:
        """Give back what the job holds; the end of every job."""


class Comparison(Job):
    """A version on disk that is compared with its source, and certified when they are equal."""

    def __init__(self, item: PullItem, repository: Repository, store: Store) -> None:
        super().__init__(item, self._compare)
        self._repository = repository
        self._store = store

    def _compare(self, worker: Worker) -> None:
        item = self.item
        worker.busy(f"comparing {item.subject} with its source")
        local = self._local(worker)
        equal = local is not None and local == self._source(worker)
        if equal and local is not None:
            if item.kind is Kind.ADOPT:
                self._prove(worker)
            objects = sorted(item.objects, key=lambda obj: obj.path)
            receipt = Receipt(
                self._repository.origin(item.model, item.version),
                tuple(replace(obj, crc32c=local[obj.path]) for obj in objects),
                now(),
            )
            self._store.certify(item.model, item.version, receipt)
        self.fate = Fate.SAME if equal else Fate.DIFFERENT

    def _local(self, worker: Worker) -> dict[str, int] | None:
        """Return the checksums of the files on disk; None when they are not those of the source by name and size.

        A receipt was written from the very bytes, so a version that has one is not read again.
        """
        item, folder = self.item, self._store.root / self.item.model / str(self.item.version)
        if item.kind is Kind.COMPARE:
            receipt = self._store.receipt(item.model, item.version)
            return {obj.path: obj.crc32c for obj in receipt.objects if obj.crc32c is not None} if receipt else None
        checksums = {}
        with reported(folder):
            if sorted(files_below(str(folder))) != sorted((obj.path, obj.size) for obj in item.objects):
                return None
            for obj in item.objects:
                worker.check()
                checksums[obj.path] = crc32c_of(folder / obj.path)
        return checksums

    def _prove(self, worker: Worker) -> None:
        """Check what every version is checked for before its receipt is written, and bring it to disk.

        Raises:
            DigestMismatch: a file is not what the publisher's digests announce.
        """
        folder, paths = (
            self._store.root / self.item.model / str(self.item.version),
            [obj.path for obj in self.item.objects],
        )
        with reported(folder):
            if digests.FILE_NAME in paths:
                digests.verify(folder, paths, self.item.subject, worker.check)
            sync_tree(folder)

    def _source(self, worker: Worker) -> dict[str, int]:
        return {obj.path: self._read(worker, obj) if obj.crc32c is None else obj.crc32c for obj in self.item.objects}

    def _read(self, worker: Worker, obj: RemoteObject) -> int:
        crc32c, checksum = crc32c_function(), 0
        subject = f"{self.item.subject}: {obj.path}"
        opened, read = self._repository.open(self.item.model, self.item.version, obj), 0
        with opened as source, worker.reading(source, f"comparing {subject}", divisible=False):
            while count := source.readinto(worker.buffer):
                checksum = crc32c(worker.buffer[:count], checksum)
                read += count
                worker.moved(count)
        if read != obj.size:
            raise SourceUnavailable(subject, f"ended after {read} of {obj.size} bytes", "it is tried again")
        return checksum


def now() -> str:
    """Return the time for records: ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
