"""What a pulling node tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class PullState(Enum):
    """Where one wanted version is on its way to the disk."""

    #: Known to be wanted, no worker has taken it yet.
    WAITING = "WAITING"
    #: Bytes are on their way.
    PULLING = "PULLING"
    #: All bytes are here; they are checked and published.
    VERIFYING = "VERIFYING"
    #: An attempt failed; the next one has its time.
    RETRYING = "RETRYING"
    #: Complete on disk.
    COMPLETE = "COMPLETE"
    #: Will not come without a change by a person, or of its source.
    REFUSED = "REFUSED"
    #: An operator stopped it; it waits for the next ``sync``.
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class VersionReport:
    """One version of a model.

    Attributes:
        model: The model's name.
        version: Its version; 0 for a problem of the model as a whole.
        state: Where it is.
        code: The typed reason of the last failure, for example ``FORBIDDEN``; empty without one.
        message: The last failure in one line; empty without one.
        remedy: The next step for a person; empty when there is none.
        attempt: Which attempt runs, or ran last; 0 before the first.
        next_retry_s: Seconds until the next attempt; None when none is planned.
        bytes_done: What is here.
        bytes_total: What there is.
        bytes_per_s: Mean rate of the running attempt; 0 when none runs.
        since: When it came into this state, ISO 8601 in UTC.
    """

    model: str
    version: int
    state: PullState
    code: str = ""
    message: str = ""
    remedy: str = ""
    attempt: int = 0
    next_retry_s: float | None = None
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    since: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        return {**vars(self), "state": self.state.value}


@dataclass(frozen=True)
class PullerStatus:
    """A puller as a whole.

    Attributes:
        node: The node's name.
        source: Where models come from: URI of the repository, or the directory of definitions.
        manifest: What says which models are wanted, for messages.
        revision: Revision of the manifest; 0 where nobody counts.
        paused: Whether an operator paused it.
        error: Why the last look at manifest and repository failed, as ``ModelfleetError.as_dict`` gives it; empty when
            it did not. Nothing is dropped because of such a failure.
        passes: How many looks there were since the start.
        last_pass_at: When the last one ended, ISO 8601 in UTC; empty before the first.
        last_pass_s: How long it took, in seconds.
        next_pass_s: Seconds until the next one.
        versions: Every wanted version, and every problem, ordered by model and version.
        counters: Totals since the start, by name: ``pulled_versions``, ``pulled_bytes``, ``resumed_bytes``,
            ``linked_bytes``, ``failed_attempts``, ``cancelled_versions``, ``stalls``, ``damaged_versions``.
        oldest_pending_s: Age in seconds of the oldest wanted version that is not complete; 0 when there is none.
    """

    node: str
    source: str
    manifest: str = ""
    revision: int = 0
    paused: bool = False
    error: Mapping[str, Any] | None = None
    passes: int = 0
    last_pass_at: str = ""
    last_pass_s: float = 0.0
    next_pass_s: float = 0.0
    versions: tuple[VersionReport, ...] = ()
    counters: Mapping[str, int] | None = None
    oldest_pending_s: float = 0.0


@dataclass(frozen=True)
class PullEvent:
    """One step, for the log.

    Attributes:
        step: Its name, for example ``Need to add model``, ``Downloading``, ``Published``.
        model: The model's name; empty when it is about the whole.
        version: Its version; 0 when it is about the model as a whole.
        details: Plain values that belong to it.
        failure: Whether somebody should look.
    """

    step: str
    model: str = ""
    version: int = 0
    details: Mapping[str, Any] | None = None
    failure: bool = False
