"""How a node pulls."""

from __future__ import annotations

from dataclasses import dataclass

from .backoff import Backoff


@dataclass(frozen=True)
class PullSettings:
    """What an operator may choose.

    Attributes:
        workers: How many pieces are read at once, over all versions.
        headroom_bytes: What must stay free on the store's file system.
        segment_bytes: Up to how many bytes of an object are read by one request; this much is repeated, for each
            worker, by a pull that goes on after it was killed.
        bandwidth_bytes_per_s: What all workers read together per second; 0 means no limit.
        stall_s: How long a read may bring no byte before it is given up and tried again, in seconds.
        first_retry_s: The longest wait after a first failure, in seconds; waits double.
        max_retry_s: The longest wait of all, in seconds; as long, a version that always arrived damaged stays aside.
        retries: How often a version is tried again before it counts as refused: a pull that has an end gives it up, one
            that has none goes on at the longest pace.
        require_digest: Whether a version without ``digests.json`` is refused.
        memory_bytes: What the models of a node may announce to need; 0 means no check.
    """

    workers: int = 4
    headroom_bytes: int = 0
    segment_bytes: int = 32 << 20
    bandwidth_bytes_per_s: int = 0
    stall_s: float = 60.0
    first_retry_s: float = 1.0
    max_retry_s: float = 300.0
    retries: int = 4
    require_digest: bool = False
    memory_bytes: int = 0

    @property
    def backoff(self) -> Backoff:
        """The waits between attempts."""
        return Backoff(self.first_retry_s, self.max_retry_s)
