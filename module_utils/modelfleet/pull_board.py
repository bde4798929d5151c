"""Whose turn it is: the versions on their way, and which of them a free worker goes to."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING

from .bandwidth import Limiter

if TYPE_CHECKING:
    from .jobs import Job
    from .pull_plan import Key
    from .pull_settings import PullSettings
    from .waiting import Clock

#: How long a worker may stay with one version while another one waits, in seconds.
TURN_S = 5.0
#: How many versions may be begun at once: each holds two open files.
MOST_OPEN = 64


class Board:
    """What all workers look at; ``lock`` guards it.

    Attributes:
        jobs: The versions on their way.
        stopping: Whether everything ends.
        paused: Whether nothing may be read.
        stalls: How many reads were given up because no byte came.
        begun: The versions that a worker has taken at least once.
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
        self.begun: dict[Key, Job] = {}
        self._fresh: list[tuple[int, int, Job]] = []
        self._added = 0

    def add(self, key: Key, job: Job) -> None:
        """Take a version up; the smallest is begun first."""
        self.jobs[key] = job
        self._added += 1
        heapq.heappush(self._fresh, (job.total, self._added, job))

    def remove(self, key: Key) -> None:
        """Forget a version that ended."""
        del self.jobs[key]
        if self.begun.pop(key, None) is None and len(self._fresh) > 2 * len(self.jobs):
            self._fresh = [entry for entry in self._fresh if not entry[2].ending]
            heapq.heapify(self._fresh)

    def choose(self, last: Job | None, turn_began: float) -> Job | None:
        """Return the version for a free worker; None when there is nothing to do now.

        A worker stays with its version until its turn is over. Otherwise the version comes first that has the fewest
        workers, then the one that has waited longest.

        Args:
            last: The version that the worker was with.
            turn_began: Since when.
        """
        if self.paused:
            return None
        if last is not None and self._can_go_on(last) and not self.turn_over(last, turn_began, others=last.active):
            return last
        fresh = self._next_fresh()
        candidates = [job for job in self.begun.values() if self._can_go_on(job)]
        if fresh is not None:
            candidates.append(fresh)
        job = min(candidates, key=lambda job: (job.active, job.served), default=None)
        if job is not None and job is fresh:
            heapq.heappop(self._fresh)
            self.begun[job.item.model, job.item.version] = job
        return job

    def turn_over(self, job: Job, began: float, *, others: int) -> bool:
        """Return whether a worker is to leave a version: another one waits, and this one has had its share.

        Args:
            job: The version.
            began: Since when the worker is with it.
            others: How many other workers are.
        """
        shared = others > 0 or self.clock.now() - began >= TURN_S
        return shared and self._somebody_waits(job)

    def until_next(self) -> float | None:
        """Return the seconds until a version may be tried again; None when only an event can change anything."""
        now = self.clock.now()
        waits = [job.not_before - now for job in self.begun.values() if job.units and not job.ending]
        # One whose time came since ``choose`` looked counts as well: nobody else would tell.
        return max(0.0, min(waits)) if waits and not self.paused else None

    def _somebody_waits(self, but: Job) -> bool:
        """Return whether another version that could go on has no worker."""
        if self._next_fresh() is not None:
            return True
        return any(not job.active and job is not but and self._can_go_on(job) for job in self.begun.values())

    def _can_go_on(self, job: Job) -> bool:
        return bool(job.units) and not job.ending and job.not_before <= self.clock.now()

    def _next_fresh(self) -> Job | None:
        """Return the version to begin next, if another one may be begun."""
        while self._fresh and self._fresh[0][2].ending:
            heapq.heappop(self._fresh)
        return self._fresh[0][2] if self._fresh and len(self.begun) < MOST_OPEN else None
