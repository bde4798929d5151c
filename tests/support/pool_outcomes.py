"""How the versions of a pool ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelfleet.pool import Outcome, Pool


def outcomes(pool: Pool, count: int, timeout_s: float = 10) -> list[Outcome]:
    """Return so many ends of versions, as soon as they are there."""
    found: list[Outcome] = []
    end = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < end:
        found += pool.collect(0.1)
    assert len(found) == count
    return found
