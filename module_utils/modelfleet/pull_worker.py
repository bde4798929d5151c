"""One thread of a pull, and what it shares with the others."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .adapters.checksums import BUFFER_SIZE
from .bandwidth import Limiter
from .errors import SourceUnavailable, Stalled
from .jobs import LeaveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable, Optional

    from .adapters.repository import Source
    from .jobs import Job, Unit
    from .pull_plan import Key
    from .pull_settings import PullSettings
    from .waiting import Clock

    Take = Callable[[], Optional[tuple[Job, Unit]]]
    Settle = Callable[["PullWorker", Job, Unit], None]

#: How long a worker may stay with one version while another one waits, in seconds.
TURN_S = 5.0
#: How long a read that should end may bring no byte before it is ended from outside, in seconds.
PATIENCE_S = 0.5
#: What a worker does that waits for work, for as long as that takes.
IDLE = "idle"


class Board:
    """What all workers look at; ``lock`` guards it.

    Attributes:
        jobs: The versions on their way.
        stopping: Whether everything ends.
        paused: Whether nothing may be read.
        stalls: How many reads were given up because no byte came.
    """

    def __init__(self, settings: PullSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.limiter = Limiter(settings.bandwidth_bytes_per_s, clock)
        self.lock = threading.Condition()
        self.jobs: dict[Key, Job] = {}
        self.stopping = False
        self.paused = False
        self.stalls = 0

    def ready(self) -> list[Job]:
        """Return the versions of which a unit may be taken now."""
        now = self.clock.now()
        return [job for job in self.jobs.values() if job.units and job.not_before <= now and not job.ending]

    def somebody_waits(self) -> bool:
        """Return whether a version that could go on has no worker."""
        now = self.clock.now()
        return any(
            job.units and not job.active and job.not_before <= now and not job.ending for job in self.jobs.values()
        )


class PullWorker:
    """One thread, and what others must know of it."""

    def __init__(self, board: Board, name: str, take: Take, carry_out: Settle) -> None:
        self.name = name
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.life = time.monotonic()
        self.doing = IDLE
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._board = board
        self._take = take
        self._carry_out = carry_out
        self._job: Job | None = None
        self._source: Source | None = None
        self._took_at = 0.0
        self._byte_at = 0.0
        self._stalled = False

    def sign(self) -> tuple[float, str]:
        """Return the seconds since it last showed life, and what it does; who waits for work owes no sign."""
        waits = self.doing == IDLE and self.thread.is_alive()
        return (0.0 if waits else time.monotonic() - self.life), self.doing

    def busy(self, what: str) -> None:
        """Tell what the worker does; see ``jobs.Worker``."""
        self.doing = what
        self.life = time.monotonic()

    def check(self) -> None:
        """Tell that the worker is alive; see ``jobs.Worker``."""
        self.life = time.monotonic()
        if self._unneeded():
            raise LeaveError

    def moved(self, count: int) -> None:
        """Tell that bytes came; see ``jobs.Worker``."""
        board = self._board
        self._alive()
        if count and self._job:
            self._job.failures = 0
        self._make_way()
        wait = board.limiter.wait_s(count)
        while wait > 0:
            board.clock.sleep(min(wait, PATIENCE_S))
            wait -= PATIENCE_S
            self._alive()
            self._make_way()

    @contextmanager
    def reading(self, source: Source, what: str) -> Iterator[None]:
        """Let others end a read that hangs; see ``jobs.Worker``."""
        self.busy(what)
        with self._board.lock:
            self._byte_at = self._board.clock.now()
            self._stalled = False
            self._source = source
        try:
            yield
        except SourceUnavailable as error:
            if self._stalled:
                problem = f"brought no byte for {self._board.settings.stall_s:g} s"
                raise Stalled(error.subject, problem, "it is tried again; look at the network if this stays") from error
            if self._should_leave():
                raise LeaveError from error
            raise
        finally:
            with self._board.lock:
                self._source = None

    def look_after(self, now: float) -> None:
        """End a read that hangs, or that should end. The caller holds the board's lock."""
        source, board = self._source, self._board
        if source is None:
            return
        idle = now - self._byte_at
        if idle >= board.settings.stall_s:
            board.stalls += not self._stalled
            self._stalled = True
            source.abort()
        elif idle >= PATIENCE_S and self._should_leave():
            source.abort()

    def _alive(self) -> None:
        self.life = time.monotonic()
        self._byte_at = self._board.clock.now()

    def _unneeded(self) -> bool:
        return self._board.stopping or (self._job is not None and self._job.ending)

    def _should_leave(self) -> bool:
        board, job = self._board, self._job
        if self._unneeded():
            return True
        if job is None or not job.divisible:
            return False
        turn_over = job.active > 1 or board.clock.now() - self._took_at >= TURN_S
        return board.paused or (turn_over and board.somebody_waits())

    def _make_way(self) -> None:
        with self._board.lock:
            if self._should_leave():
                raise LeaveError

    def _run(self) -> None:
        while (task := self._take()) is not None:
            job, unit = task
            self._job, self._took_at = job, self._board.clock.now()
            self.busy(f"working on {job.item.subject}")
            self._carry_out(self, job, unit)
            self._job = None
            self.busy(IDLE)
