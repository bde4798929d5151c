"""The threads of a pull: objects are copied, versions are checked and published, sources are compared."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Callable

from .adapters.checksums import BUFFER_SIZE, crc32c_function, crc32c_of
from .durable import reported
from .errors import DigestMismatch, ModelfleetError, SourceChanged, SourceIncomplete
from .pull_plan import Kind, PullItem, PullPlan, Refusal, no_space, overwritten
from .receipts import Receipt, fingerprint
from .saved_model import files_below, validate_saved_model
from .store import QuarantineRecord

if TYPE_CHECKING:
    from pathlib import Path

    from .adapters.repository import RemoteObject, Repository
    from .store import Staging, Store

#: How often an object that arrives damaged is read again before the version is given up.
ATTEMPTS = 3


@dataclass(frozen=True)
class Progress:
    """How far a version is; sizes in bytes."""

    model: str
    version: int
    done: int
    total: int


@dataclass(frozen=True)
class Pulled:
    """One version that arrived.

    Attributes:
        model: The model's name.
        version: Its version.
        bytes: What was moved; 0 when the files were on disk already and only got their receipt.
    """

    model: str
    version: int
    bytes: int


class _DroppedError(Exception):
    """The version need not go on: no longer wanted, failed in another thread, or everything stops."""


@dataclass
class _Job:
    """A version on its way."""

    item: PullItem
    left: int
    staging: Staging
    checksums: dict[str, int] = field(default_factory=dict)
    done: int = 0
    error: ModelfleetError | None = None
    unwanted: bool = False
    published: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Work:
    """The queue of a run, and what its threads share."""

    def __init__(
        self,
        planned: PullPlan,
        repository: Repository,
        store: Store,
        on_progress: Callable[[Progress], None],
        still_wanted: Callable[[str, int], bool],
    ) -> None:
        self.pulled: list[Pulled] = []
        self.refused: list[Refusal] = []
        self.cancelled: list[tuple[str, int]] = []
        self._plan = planned
        self._repository = repository
        self._store = store
        self._on_progress = on_progress
        self._still_wanted = still_wanted
        self._jobs: list[_Job] = []
        self._pulls = deque(item for item in planned.items if item.kind is Kind.PULL)
        checks = (*planned.comparisons, *(item for item in planned.items if item.kind is Kind.ADOPT))
        self._units: deque[Callable[[memoryview], None]] = deque(partial(self._check, item) for item in checks)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def refuse(self, refusal: Refusal) -> None:
        """Report a version as not coming, and set it aside when its source is to blame."""
        self.refused.append(refusal)
        if refusal.fingerprint:
            record = QuarantineRecord(
                code=refusal.error.code,
                message=refusal.error.problem,
                fingerprint=refusal.fingerprint,
                stage="pull",
                at=_now(),
            )
            self._store.quarantine(refusal.model, refusal.version, record)

    def carry_out(self, workers: int) -> None:
        """Work through the plan; an unexpected error stops all threads and is raised here."""
        if not self._pulls and not self._units:
            return
        self._crc32c = crc32c_function()
        count = max(1, workers)
        try:
            with ThreadPoolExecutor(count, thread_name_prefix="pull") as pool:
                try:
                    for thread in [pool.submit(self._serve) for _ in range(count)]:
                        thread.result()
                finally:
                    self._stop.set()
        finally:
            for job in self._jobs:
                if not job.published:
                    job.staging.discard()

    def _serve(self) -> None:
        """Be one of the threads: take the next piece of work until there is none."""
        buffer = memoryview(bytearray(BUFFER_SIZE))
        try:
            while not self._stop.is_set() and (unit := self._next()):
                unit(buffer)
        except BaseException:
            self._stop.set()
            raise

    def _next(self) -> Callable[[memoryview], None] | None:
        """Return the next piece; a version is begun when the objects of those before it are all taken."""
        with self._lock:
            while not self._units and self._pulls:
                self._begin(self._pulls.popleft())
            return self._units.popleft() if self._units else None

    def _begin(self, item: PullItem) -> None:
        try:
            staging = self._store.stage(item.model, item.version)
        except ModelfleetError as error:
            self.refuse(Refusal(item.model, item.version, error))
            return
        job = _Job(item, len(item.objects), staging)
        self._jobs.append(job)
        self._units.extend(partial(self._pull_object, job, obj) for obj in item.objects)

    def _pull_object(self, job: _Job, obj: RemoteObject, buffer: memoryview) -> None:
        """Bring one object; whoever brings the last one of a version finishes it."""
        try:
            checksum = self._copy(job, obj, buffer)
            with job.lock:
                job.checksums[obj.path] = checksum
        except _DroppedError:
            pass
        except ModelfleetError as error:
            with job.lock:
                job.error = job.error or error
        with job.lock:
            job.left -= 1
            last = job.left == 0
        if last and not self._stop.is_set():
            self._finish(job)

    def _copy(self, job: _Job, obj: RemoteObject, buffer: memoryview) -> int:
        """Copy one object into staging and bring it to disk; return its checksum."""
        target = job.staging.path / obj.path
        for attempt in range(1, ATTEMPTS + 1):
            before = job.done
            try:
                return self._copy_once(job, obj, target, buffer)
            except DigestMismatch:
                # The way may have damaged it, not the source: only what stays damaged is held against the source.
                if attempt == ATTEMPTS:
                    raise
                self._advance(job, before - job.done)
        raise AssertionError

    def _copy_once(self, job: _Job, obj: RemoteObject, target: Path, buffer: memoryview) -> int:
        item, subject = job.item, f"{job.item.subject}: {obj.path}"
        checksum = size = 0
        self._check_wanted(job)
        with reported(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            with self._repository.open(item.model, item.version, obj) as source:
                while size <= obj.size and (count := source.readinto(buffer)):
                    piece = buffer[:count]
                    checksum = self._crc32c(piece, checksum)
                    with reported(target):
                        _write(descriptor, piece)
                    size += count
                    self._advance(job, count)
                    self._check_wanted(job)
            with reported(target):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if size != obj.size:
            problem = f"arrived with {min(size, obj.size + 1)} bytes instead of {obj.size}"
            raise DigestMismatch(subject, problem, "publish it again as a new version if this stays")
        if obj.crc32c is not None and checksum != obj.crc32c:
            problem = f"arrived with checksum {checksum:08x} instead of {obj.crc32c:08x}"
            raise DigestMismatch(subject, problem, "publish it again as a new version if this stays")
        return checksum

    def _check_wanted(self, job: _Job) -> None:
        if not job.unwanted and not self._still_wanted(job.item.model, job.item.version):
            job.unwanted = True
        if job.unwanted or job.error or self._stop.is_set():
            raise _DroppedError

    def _advance(self, job: _Job, count: int) -> None:
        with job.lock:
            job.done += count
            progress = Progress(job.item.model, job.item.version, job.done, job.item.bytes)
        self._on_progress(progress)

    def _finish(self, job: _Job) -> None:
        """Publish a version of which all objects are there, or say why not."""
        item = job.item
        if job.error is None and not job.unwanted:
            try:
                self._publish(job)
            except ModelfleetError as error:
                job.error = error
        with self._lock:
            if job.published:
                self.pulled.append(Pulled(item.model, item.version, item.bytes))
            elif job.error is None:
                self.cancelled.append((item.model, item.version))
            else:
                self.refuse(Refusal(item.model, item.version, job.error, _blamed(job.error, item)))
        if not job.published:
            job.staging.discard()

    def _publish(self, job: _Job) -> None:
        item = job.item
        with reported(job.staging.path):
            validate_saved_model(job.staging.path, item.subject)
        # An upload that is still going on adds objects: what was listed must still be all there is.
        if fingerprint(self._repository.objects(item.model, item.version)) != fingerprint(item.objects):
            problem = "changed in the repository while it was pulled"
            raise SourceChanged(item.subject, problem, "pull again when it is complete")
        job.staging.publish(self._receipt(item, job.checksums))
        job.published = True
        self._store.release(item.model, item.version)

    def _check(self, item: PullItem, buffer: memoryview) -> None:
        """Compare a version on disk with its source, and certify it when they are equal."""
        try:
            local = self._local_checksums(item)
            equal = local is not None and local == self._source_checksums(item, buffer)
            if equal and local is not None:
                self._store.certify(item.model, item.version, self._receipt(item, local))
        except _DroppedError:
            return
        except ModelfleetError as error:
            with self._lock:
                self.refuse(Refusal(item.model, item.version, error))
            return
        with self._lock:
            if equal and item.kind is Kind.ADOPT:
                self.pulled.append(Pulled(item.model, item.version, 0))
            elif not equal and item.kind is Kind.ADOPT:
                self._pull_instead(item)
            elif not equal:
                self.refuse(Refusal(item.model, item.version, overwritten(item.subject)))

    def _pull_instead(self, item: PullItem) -> None:
        """Bring the files of a version that could not be adopted, as long as there is room."""
        have = self._store.free_bytes() - self._plan.headroom_bytes
        if item.space > have:
            self.refuse(Refusal(item.model, item.version, no_space(item, have, self._plan.headroom_bytes)))
        else:
            self._pulls.append(replace(item, kind=Kind.PULL))

    def _local_checksums(self, item: PullItem) -> dict[str, int] | None:
        """Return the checksums of the files on disk; None when they are not those of the source by name and size.

        A receipt was written from the very bytes, so a version that has one is not read again.
        """
        folder = self._store.root / item.model / str(item.version)
        if item.kind is Kind.COMPARE:
            receipt = self._store.receipt(item.model, item.version)
            return {obj.path: obj.crc32c for obj in receipt.objects if obj.crc32c is not None} if receipt else None
        with reported(folder):
            if sorted(files_below(str(folder))) != sorted((obj.path, obj.size) for obj in item.objects):
                return None
            return {obj.path: crc32c_of(folder / obj.path) for obj in item.objects}

    def _source_checksums(self, item: PullItem, buffer: memoryview) -> dict[str, int]:
        return {
            obj.path: self._source_checksum(item, obj, buffer) if obj.crc32c is None else obj.crc32c
            for obj in item.objects
        }

    def _source_checksum(self, item: PullItem, obj: RemoteObject, buffer: memoryview) -> int:
        checksum = 0
        with self._repository.open(item.model, item.version, obj) as source:
            while count := source.readinto(buffer):
                checksum = self._crc32c(buffer[:count], checksum)
                if self._stop.is_set():
                    raise _DroppedError
        return checksum

    def _receipt(self, item: PullItem, checksums: dict[str, int]) -> Receipt:
        objects = tuple(
            replace(obj, crc32c=checksums[obj.path]) for obj in sorted(item.objects, key=lambda obj: obj.path)
        )
        return Receipt(self._repository.uri, objects, _now())


def _blamed(error: ModelfleetError, item: PullItem) -> str:
    """Return the fingerprint of a source that is itself at fault; empty when another try may find it sound."""
    return fingerprint(item.objects) if isinstance(error, (SourceIncomplete, DigestMismatch)) else ""


def _write(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
