"""What is remembered of versions that did not come: when each may be tried again. Pure, but for the given time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import SourceChanged, SourceUnavailable

if TYPE_CHECKING:
    from .backoff import Backoff
    from .errors import ModelfleetError
    from .pull_plan import Key


@dataclass(frozen=True)
class Failure:
    """The last failure of a version.

    Attributes:
        error: Why it failed.
        count: How often it failed in a row.
        not_before: When it may be tried again, by the clock of whoever asks.
        source: The fingerprint of the source that failed.
    """

    error: ModelfleetError
    count: int
    not_before: float
    source: str


class Attempts:
    """The failures of all versions."""

    def __init__(self, backoff: Backoff, retries: int) -> None:
        self._backoff = backoff
        self._retries = retries
        self._failures: dict[Key, Failure] = {}

    def failed(self, key: Key, error: ModelfleetError, source: str, now: float) -> Failure:
        """Remember a failure; what failed often, or only a person can mend, is tried again at the longest pace."""
        earlier = self.against(key, source)
        count = earlier.count + 1 if earlier else 1
        asked = error.retry_after_s if isinstance(error, SourceUnavailable) else 0.0
        hopeful = error.retryable and count <= self._retries
        wait = self._backoff.wait_s(count, asked)
        if not hopeful:
            wait = max(wait, self._backoff.limit_s)
        self._failures[key] = Failure(error, count, now + wait, source)
        return self._failures[key]

    def of(self, key: Key) -> Failure | None:
        """Return the last failure of a version, if it did not come since."""
        return self._failures.get(key)

    def against(self, key: Key, source: str) -> Failure | None:
        """Return the last failure of a version as far as it speaks against a source.

        That of another source does not, unless it was that the source would not stay the same.
        """
        failure = self._failures.get(key)
        counts = failure is not None and (failure.source == source or isinstance(failure.error, SourceChanged))
        return failure if counts else None

    def ready(self, key: Key, source: str, now: float) -> bool:
        """Return whether a version may be tried; one with a new source may, unless it never stays the same."""
        failure = self.against(key, source)
        return failure is None or failure.not_before <= now

    def forget(self, key: Key) -> None:
        """Forget the failures of a version: it came, or an operator wants it tried now."""
        self._failures.pop(key, None)

    def known(self) -> dict[Key, Failure]:
        """Return the last failures of all versions that did not come since."""
        return dict(self._failures)

    def next_time(self, after: float) -> float | None:
        """Return the earliest time after a given one at which a version may be tried again; None without one."""
        times = (failure.not_before for failure in self._failures.values())
        return min((at for at in times if at > after), default=None)
