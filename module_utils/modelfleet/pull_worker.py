"""One thread of a pull, and what it shares with the others."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .adapters.checksums import BUFFER_SIZE
from .errors import SourceUnavailable, Stalled
from .jobs import LeaveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable, Optional

    from .adapters.repository import Source
    from .jobs import Job, Unit
    from .pull_board import Board

    Take = Callable[["PullWorker"], Optional[tuple[Job, Unit]]]
    Settle = Callable[["PullWorker", Job, Unit], None]

#: How long a read that should end may bring no byte before it is ended from outside, in seconds.
PATIENCE_S = 0.5
#: What a worker does that waits for work, for as long as that takes.
IDLE = "idle"


class PullWorker:
    """One thread, and what others must know of it."""

    def __init__(self, board: Board, name: str, take: Take, carry_out: Settle) -> None:
        self.name = name
        self.buffer = memoryview(bytearray(board.limiter.piece_bytes(BUFFER_SIZE)))
        self.life = time.monotonic()
        self.doing = IDLE
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._board = board
        self._take = take
        self._carry_out = carry_out
        self.last: Job | None = None
        self.turn_began = 0.0
        self._job: Job | None = None
        self._source: Source | None = None
        self._byte_at = 0.0
        self._stalled = False
        self._divisible = True

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
        self._make_way()
        wait = board.limiter.wait_s(count)
        while wait > 0:
            board.clock.sleep(min(wait, PATIENCE_S))
            wait -= PATIENCE_S
            self._alive()
            self._make_way()

    @contextmanager
    def reading(self, source: Source, what: str, *, divisible: bool) -> Iterator[None]:
        """Let others end a read that hangs; see ``jobs.Worker``."""
        self.busy(what)
        with self._board.lock:
            self._byte_at = self._board.clock.now()
            self._stalled = False
            self._source = source
            self._divisible = divisible
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
                self._divisible = True

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
        return board.paused or (self._divisible and board.turn_over(job, self.turn_began, others=job.active - 1))

    def _make_way(self) -> None:
        with self._board.lock:
            if self._should_leave():
                raise LeaveError

    def _run(self) -> None:
        while (task := self._take(self)) is not None:
            job, unit = task
            self._job = job
            self.busy(f"working on {job.item.subject}")
            self._carry_out(self, job, unit)
            self._job = None
            self.busy(IDLE)
