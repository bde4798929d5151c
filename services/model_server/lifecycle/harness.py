"""One managed version: its state, its attempts to load, its end."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, TypeVar

from ..rpc_status import Code, StatusError

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable

    from ..servable import LoadServable, Servable
    from .states import ServableId

Result = TypeVar("Result")


class HarnessState(Enum):
    """The manager's own states, finer than the published ones."""

    NEW = auto()
    LOAD_REQUESTED = auto()
    LOADING = auto()
    READY = auto()
    UNLOAD_REQUESTED = auto()
    UNLOADING = auto()
    DISABLED = auto()
    ERROR = auto()


class Retrier:
    """Tries again, up to a number of times and with pauses in between; every error is worth another attempt."""

    def __init__(self, retries: int, interval_s: float, stopping: threading.Event, log: logging.Logger) -> None:
        """Take the rules of retrying.

        Args:
            retries: Attempts after the first.
            interval_s: Pause between attempts in seconds; none when negative.
            stopping: Ends pauses and further attempts.
            log: Where failed attempts are told.
        """
        self._retries = retries
        self._interval_s = interval_s
        self._stopping = stopping
        self._log = log

    def run(self, description: str, attempt: Callable[[], Result], cancelled: Callable[[], bool]) -> Result:
        """Return the first success.

        A cancellation ends the retries after an attempt, never during a pause: a pause already begun is slept out and
        followed by one more attempt.

        Raises:
            StatusError: the error of the last attempt.
        """
        number = 0
        while True:
            try:
                return attempt()
            except StatusError as error:
                self._log.error("%s failed: %s", description, error)
                if cancelled():
                    self._log.info("Retrying of %s was cancelled.", description)
                    raise
                if number == self._retries:
                    self._log.info("Retrying of %s exhausted max_num_retries: %d", description, self._retries)
                    raise
                if self._stopping.wait(max(0.0, self._interval_s)):
                    raise
            number += 1
            self._log.info("Retrying of %s retry: %d", description, number)


class Harness:
    """A version under management.

    Each state is written by one thread at a time (the manager's, then the executor's that runs the job), so reading it
    needs no lock.

    Attributes:
        id: The version.
        path: Its directory.
        state: Where it stands.
        wanted: Whether the last processed list of its model holds it. Written by the manager's thread alone.
        error: Why it is in state ERROR.
        servable: The loaded version, from READY until it is closed.
    """

    def __init__(self, servable_id: ServableId, path: str) -> None:
        self.id = servable_id
        self.path = path
        self.state = HarnessState.NEW
        self.wanted = True
        self.error: StatusError | None = None
        self.servable: Servable | None = None
        self._retry_cancelled = False

    def cancel_retries(self) -> None:
        """Let a load make no attempt after the one under way or to come, and give up its success."""
        self._retry_cancelled = True

    def retries_cancelled(self) -> bool:
        """Return whether nobody wants the load any more."""
        return self._retry_cancelled

    def fail(self, error: StatusError) -> None:
        """End in an error."""
        self.error = error
        self.state = HarnessState.ERROR

    def load(self, load: LoadServable, retrier: Retrier, log: logging.Logger) -> None:
        """Load, with retries, until READY.

        Raises:
            StatusError: the last attempt's error; or CANCELLED, it loaded, but was freed as nobody wants it any more.
        """
        log.info("Loading servable version %s", self.id)
        self.state = HarnessState.LOADING

        def attempt() -> Servable:
            return load(self.id.name, self.id.version, self.path)

        self.servable = retrier.run(f"Loading servable: {self.id}", _guarded(attempt, log), self.retries_cancelled)
        if self._retry_cancelled:
            self.free(log)
            raise StatusError(Code.CANCELLED, "Loading of servable cancelled")
        self.state = HarnessState.READY
        log.info("Successfully loaded servable version %s", self.id)

    def free(self, log: logging.Logger) -> None:
        """Close what was loaded; the state stays UNLOADING until the caller has published the end."""
        log.info("Unloading just-loaded servable version %s", self.id)
        self.state = HarnessState.UNLOADING
        servable, self.servable = self.servable, None
        try:
            if servable is not None:
                servable.close()
        except Exception:  # requests reach it no more; what is left of it must not stop its successors
            log.exception("Servable version %s failed to close", self.id)
        log.info("Done unloading servable version %s", self.id)


def _guarded(attempt: Callable[[], Result], log: logging.Logger) -> Callable[[], Result]:
    """Give the errors that a loader does not declare a status, so that they count as failed attempts too."""

    def guarded() -> Result:
        try:
            return attempt()
        except StatusError:
            raise
        except Exception as error:
            log.exception("A load failed with an unexpected error")
            raise StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}") from error

    return guarded
