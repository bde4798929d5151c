"""A limit for what all workers of a process read together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .waiting import Clock


class Limiter:
    """Hands out the right to go on after bytes were read.

    Whoever read too much waits before the next read, so that the mean keeps to the rate.
    """

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        """Make a limiter; 0 bytes per second means no limit."""
        self._rate = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.now()

    def piece_bytes(self, largest: int) -> int:
        """Return how much to read at once, so that waits stay short."""
        return min(largest, max(self._rate // 8, 4096)) if self._rate else largest

    def wait_s(self, count: int) -> float:
        """Account for bytes that were read; return the seconds to wait before the next read."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = self._clock.now()
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at - now
