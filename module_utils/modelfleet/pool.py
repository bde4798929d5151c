"""The versions on their way and the bounded number of threads that bring them.

No version waits for another one: a free worker goes where the fewest are, and one that reads for long makes way when
somebody waits. What hangs is ended from outside, so that no worker is lost.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .adapters.checksums import crc32c_function
from .errors import DigestMismatch, ModelfleetError, SourceIncomplete, SourceUnavailable, Stalled
from .jobs import Comparison, Fate, Job, LeaveError, Moved
from .pull_board import Board
from .pull_plan import Kind
from .pull_status import PullEvent
from .pull_worker import PATIENCE_S, PullWorker
from .receipts import fingerprint
from .transfer import Transfer
from .waiting import Clock

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Callable

    from .adapters.repository import Repository
    from .jobs import Unit
    from .pull_plan import Key, PullItem
    from .pull_settings import PullSettings
    from .store import Store

#: Failed tries in a row, without a byte in between, after which a version gives up its place until its next attempt.
QUICK_TRIES = 3
#: How long a version may keep its place while it waits for its next try, in seconds.
LONGEST_REST_S = 10.0
#: How long threads may take to end, in seconds.
STOP_S = 5.0
_STEPS = {
    Fate.PULLED: "Published",
    Fate.SAME: "Certified what was on disk",
    Fate.DIFFERENT: "Found another content on disk",
    Fate.FAILED: "Attempt failed",
    Fate.DROPPED: "Cancelled",
}


@dataclass(frozen=True)
class Outcome:
    """How one version's attempt ended.

    Attributes:
        item: The version.
        fate: How it ended.
        error: Why it failed.
        blamed: The fingerprint of its source when that is at fault; empty when another try may find it sound.
        moved: Where its bytes came from.
        crash: The error of the program that ended it; a defect of ours.
    """

    item: PullItem
    fate: Fate
    error: ModelfleetError | None = None
    blamed: str = ""
    moved: Moved = field(default_factory=Moved)
    crash: BaseException | None = None

    @property
    def key(self) -> Key:
        """The version."""
        return self.item.model, self.item.version


@dataclass(frozen=True)
class View:
    """A version on its way, as others see it; sizes in bytes, the time since a worker took it in seconds."""

    item: PullItem
    done: int
    read: int
    total: int
    age_s: float
    active: bool
    verifying: bool
    error: ModelfleetError | None
    retry_in_s: float


class Pool:
    """Threads start with the first version, and end with ``close``."""

    def __init__(
        self,
        store: Store,
        settings: PullSettings,
        log: Callable[[PullEvent], None] = lambda _event: None,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._log = log
        self._board = Board(settings, clock or Clock())
        self._lock = self._board.lock
        self._jobs = self._board.jobs
        self._last_errors: dict[Key, ModelfleetError] = {}
        self._outcomes: list[Outcome] = []
        self._workers: list[PullWorker] = []
        self.failed_tries = 0

    @property
    def stalls(self) -> int:
        """How many reads were given up because no byte came."""
        return self._board.stalls

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        with self._lock:
            return not self._jobs

    def begun(self) -> list[Key]:
        """Return which of the versions on their way a worker has taken at least once."""
        with self._lock:
            return list(self._board.begun)

    def add(self, item: PullItem, repository: Repository) -> bool:
        """Bring, adopt or compare a version; return False when it is on its way already.

        Raises:
            MissingDependency: the library for checksums is not installed.
        """
        crc32c_function()
        key = (item.model, item.version)
        with self._lock:
            if key in self._jobs or self._board.stopping:
                return False
            job: Job
            if item.kind is Kind.PULL:
                job = Transfer(item, repository, self._store, self._settings, self._room, self._log)
            else:
                job = Comparison(item, repository, self._store)
            self._board.add(key, job)
            self._start()
            self._lock.notify_all()
        return True

    def drop(self, key: Key) -> bool:
        """Give a version up; nothing stays of it. Return whether it was on its way."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.ending:
                return False
            job.dropped = True
            job.units.clear()
            ended = not job.active
            self._lock.notify_all()
        if ended:
            self._end(job)
        return True

    def pause(self, *, paused: bool) -> None:
        """Let workers put their work down, or take it up again."""
        with self._lock:
            self._board.paused = paused
            self._lock.notify_all()

    def views(self, keys: Collection[Key] | None = None) -> dict[Key, View]:
        """Return what is on its way, or what of some versions is."""
        with self._lock:
            now = self._board.clock.now()
            chosen = self._jobs if keys is None else {key: self._jobs[key] for key in keys if key in self._jobs}
            return {
                key: View(
                    item=job.item,
                    done=job.done,
                    read=job.read,
                    total=job.total,
                    age_s=now - job.began if job.served else 0.0,
                    active=job.active > 0,
                    verifying=job.verifying,
                    error=self._last_errors.get(key),
                    retry_in_s=max(0.0, job.not_before - now),
                )
                for key, job in chosen.items()
            }

    def collect(self, timeout_s: float) -> list[Outcome]:
        """Return what ended since the last call; wait for it, and look after what hangs meanwhile.

        Returns at once when nothing is on its way.
        """
        end = time.monotonic() + timeout_s
        with self._lock:
            while True:
                self._look_after()
                left = end - time.monotonic()
                if self._outcomes or not self._jobs or left <= 0:
                    found, self._outcomes = self._outcomes, []
                    return found
                self._lock.wait(min(PATIENCE_S / 2, left))

    def wake(self) -> None:
        """Let ``collect`` look around."""
        with self._lock:
            self._lock.notify_all()

    def heartbeats(self) -> dict[str, tuple[float, str]]:
        """Return, for each worker, the seconds since it last showed life and what it does."""
        with self._lock:
            return {worker.name: worker.sign() for worker in self._workers}

    def close(self) -> None:
        """End the threads; what has arrived stays for the next attempt."""
        with self._lock:
            self._board.stopping = True
            self._lock.notify_all()
        end = time.monotonic() + STOP_S
        while any(worker.thread.is_alive() for worker in self._workers) and time.monotonic() < end:
            with self._lock:
                self._look_after()
            for worker in self._workers:
                worker.thread.join(PATIENCE_S / 4)
        with self._lock:
            for job in self._jobs.values():
                if not job.active:
                    job.close()

    def __enter__(self) -> Pool:  # noqa: PYI034  (typing.Self is younger than the oldest Python of a node)
        """Return the pool."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pool."""
        self.close()

    def _look_after(self) -> None:
        now = self._board.clock.now()
        for worker in self._workers:
            worker.look_after(now)

    def _room(self) -> int:
        """Return how many bytes the file system can take beside the headroom and what others were promised."""
        with self._lock:
            promised = sum(job.unwritten for job in self._board.begun.values())
        return self._store.free_bytes() - self._settings.headroom_bytes - promised

    def _start(self) -> None:
        """Start the threads that are not running yet."""
        for number in range(len(self._workers), max(1, self._settings.workers)):
            worker = PullWorker(self._board, f"pull-{number + 1}", self._take, self._carry_out)
            self._workers.append(worker)
            worker.thread.start()
            self._log(PullEvent("Worker initialized", details={"worker": worker.name}))

    def _take(self, worker: PullWorker) -> tuple[Job, Unit] | None:
        """Return a unit for a worker; wait for one. None means that everything ends."""
        with self._lock:
            while not self._board.stopping:
                job = self._board.choose(worker.last, worker.turn_began)
                if job is not None:
                    now = self._board.clock.now()
                    if job is not worker.last:
                        worker.last, worker.turn_began = job, now
                    if not job.served:
                        job.began = now
                    job.active += 1
                    job.served = now
                    return job, job.units.popleft()
                worker.last = None
                self._lock.wait(self._board.until_next())
            return None

    def _carry_out(self, worker: PullWorker, job: Job, unit: Unit) -> None:
        """Do a unit of work; the worker is counted in already."""
        error: ModelfleetError | None = None
        crash: BaseException | None = None
        if not job.started:
            job.started = True
            self._log(PullEvent("Started job", job.item.model, job.item.version, {"worker": worker.name}))
        try:
            unit(worker)
        except LeaveError:
            pass
        except ModelfleetError as caught:
            error = caught
        except BaseException as caught:  # noqa: BLE001  (a defect ends the version and is told; other versions go on)
            crash = caught
        with self._lock:
            job.active -= 1
            if crash is not None:
                job.crash = crash
                job.error = ModelfleetError(job.item.subject, f"met a defect of this program: {crash!r}")
            elif error is not None:
                self._failed(job, error)
            if not (job.active or job.units or job.ending or self._board.stopping):
                job.next_step()
                if not (job.units or job.ending):
                    job.error = error or ModelfleetError(job.item.subject, "ended without a result")
            ended = job.ending and not job.active
            self._lock.notify_all()
        if ended:
            self._end(job)

    def _failed(self, job: Job, error: ModelfleetError) -> None:
        """Decide whether a version goes on after a failed unit. The caller holds the lock."""
        key, now = (job.item.model, job.item.version), self._board.clock.now()
        self.failed_tries += 1
        self._last_errors[key] = error
        passing = job.divisible and isinstance(error, (SourceUnavailable, Stalled)) and not job.verifying
        if isinstance(error, (DigestMismatch, SourceIncomplete)) and job.damaged(error):
            return
        if not passing:
            job.error = job.error or error
            return
        if now < job.not_before:
            return  # several workers met the same failure
        job.failures += 1
        asked = error.retry_after_s if isinstance(error, SourceUnavailable) else 0.0
        wait = self._settings.backoff.wait_s(job.failures, asked)
        if job.failures >= QUICK_TRIES or wait > LONGEST_REST_S:
            job.error = job.error or error
            return
        job.not_before = now + wait
        details = {"reason": error.code, "problem": error.problem, "retry_in_s": round(wait, 1)}
        self._log(PullEvent("Try failed", job.item.model, job.item.version, details, failure=True))

    def _end(self, job: Job) -> None:
        """End a version whose last worker has left. It stays known until its leftovers are gone."""
        key = (job.item.model, job.item.version)
        fate = job.fate or (Fate.DROPPED if job.dropped else Fate.FAILED)
        job.fate = fate
        failed = job.error if fate is Fate.FAILED else None
        blamed = fingerprint(job.item.objects) if isinstance(failed, (DigestMismatch, SourceIncomplete)) else ""
        moved = job.moved
        details: dict[str, object] = {"read": moved.read, "resumed": moved.resumed, "linked": moved.linked}
        if failed:
            details = {"reason": failed.code, "problem": failed.problem, "remedy": failed.remedy}
        self._log(PullEvent(_STEPS[fate], *key, details, failure=failed is not None))
        try:
            job.close()
        finally:
            with self._lock:
                self._board.remove(key)
                self._last_errors.pop(key, None)
                self._outcomes.append(Outcome(job.item, fate, failed, blamed, job.moved, job.crash))
                self._lock.notify_all()
