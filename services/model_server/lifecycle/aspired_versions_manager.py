"""Brings what is loaded in line with what is wanted, one step at a tick."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .harness import HarnessState
from .policy import Kind, Snapshot, next_action
from .rounds import survived
from .states import ServableId

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from .basic_manager import BasicManager
    from .harness import Harness


class AspiredVersionsManager:
    """The manager's one thread: forgets what is over, takes over lists of wanted versions, does one action.

    With inline executors loads, their retries and unloads run on this very thread, and nothing else happens meanwhile.
    """

    def __init__(
        self, basic_manager: BasicManager, *, tick_s: float, stopping: threading.Event, log: logging.Logger
    ) -> None:
        """Take what does the work.

        Args:
            basic_manager: Loads and unloads.
            tick_s: Pause between two ticks in seconds.
            stopping: Ends the thread.
            log: Where unexpected errors are told.
        """
        self._basic = basic_manager
        self._tick_s = tick_s
        self._stopping = stopping
        self._log = log
        self._pending_lock = threading.Lock()
        self._pending: dict[str, dict[int, str]] = {}
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end after ``stopping`` was set; return whether it did within the timeout."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def set_wanted(self, name: str, paths: Mapping[int, str]) -> None:
        """Want exactly these versions of a model from the next tick on; replaces a list not yet taken over."""
        with self._pending_lock:
            self._pending[name] = dict(paths)

    def tick(self) -> None:
        """Do one round; called by the thread."""
        self._basic.forget_unwanted()
        self._take_over_pending()
        action = next_action(map(_snapshot, versions) for versions in self._basic.managed().values())
        if action is not None:
            (self._basic.load if action.kind is Kind.LOAD else self._basic.unload)(action.id)

    def _run(self) -> None:
        while not self._stopping.wait(self._tick_s):
            with survived(self._log, "A round of the manager failed unexpectedly"):
                self.tick()

    def _take_over_pending(self) -> None:
        managed = self._basic.managed()
        with self._pending_lock:
            for name, paths in list(self._pending.items()):
                versions = managed.get(name, [])
                # A version that is on its way out has to be gone before it can be wanted anew, so the list waits for
                # that; while the policy keeps such a version alive the list waits for ever.
                if not any(harness.id.version in paths for harness in versions if not harness.wanted):
                    self._take_over(name, paths, versions)
                    del self._pending[name]

    def _take_over(self, name: str, paths: Mapping[int, str], versions: list[Harness]) -> None:
        for harness in versions:
            if harness.id.version not in paths:
                harness.wanted = False
                harness.cancel_retries()
        present = {harness.id.version for harness in versions}
        for version, path in paths.items():
            if version not in present:
                self._basic.manage(ServableId(name, version), path)


def _snapshot(harness: Harness) -> Snapshot:
    state = harness.state
    return Snapshot(harness.id, harness.wanted, state is HarnessState.NEW, state is HarnessState.READY)
