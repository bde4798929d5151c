"""Bounded waits with a clock that tests can replace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Clock:
    """A monotonic clock and the sleep that goes with it, both in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Deadline:
    """A point in time after which a wait ends."""

    def __init__(self, timeout_s: float, clock: Clock) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._end = clock.now() + timeout_s

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - self._clock.now())

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return self.remaining_s <= 0

    def pause(self, interval_s: float) -> None:
        """Sleep for the interval, but not beyond the deadline."""
        self._clock.sleep(min(interval_s, self.remaining_s))
