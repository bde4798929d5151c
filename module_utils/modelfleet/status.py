"""The states and typed reasons that every face shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Reasons why a version is set aside by its node: it failed to load, it did not load in time, or its bytes changed on
#: this node's disk, in which case the next pull brings it anew.
LOAD_FAILED = "LOAD_FAILED"
LOAD_TIMEOUT = "LOAD_TIMEOUT"
DAMAGED = "DAMAGED"


class ServingState(Enum):
    """TensorFlow Serving's states of one version (``apis/get_model_status.proto``), by their wire numbers."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What the server reports about one version.

    Attributes:
        state: The life-cycle state.
        error_code: Name of the gRPC code; ``OK`` also while a failing load is being retried.
        error_message: The server's own words; empty when there is no error.
    """

    state: ServingState
    error_code: str = "OK"
    error_message: str = ""

    @property
    def available(self) -> bool:
        """Whether the version answers requests now."""
        return self.state is ServingState.AVAILABLE

    @property
    def failed(self) -> bool:
        """Whether the version ended in an error; such a version is never retried while it stays wanted."""
        return self.state is ServingState.END and self.error_code != "OK"

    @property
    def gone(self) -> bool:
        """Whether the server no longer holds the version's files."""
        return self.state is ServingState.END

    @property
    def in_transition(self) -> bool:
        """Whether the server is still working towards AVAILABLE or END."""
        return self.state in {ServingState.START, ServingState.LOADING, ServingState.UNLOADING}
