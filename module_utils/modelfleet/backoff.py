"""How long to wait before the next attempt. Pure, but for the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: The longest wait that another side may ask for, in seconds: it may be wrong, and nothing is given up for good.
MOST_ASKED_S = 3600.0


@dataclass(frozen=True)
class Backoff:
    """Waits that double, spread at random so that many nodes do not come at once.

    Attributes:
        first_s: The longest wait after the first failure, in seconds.
        limit_s: The longest wait of all, in seconds.
    """

    first_s: float = 1.0
    limit_s: float = 300.0

    def wait_s(self, failures: int, asked_s: float = 0.0) -> float:
        """Return the seconds to wait after so many failures in a row, at least what the other side asked for.

        That counts up to an hour.
        """
        longest = min(self.limit_s, self.first_s * 2.0 ** min(max(failures, 1) - 1, 30))
        return max(random.uniform(longest / 2, longest), min(asked_s, MOST_ASKED_S))  # noqa: S311  (spreads load, guards nothing)
