"""Loads and unloads single versions on demand, and tells the world."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ..rpc_status import StatusError
from .executors import executor
from .harness import Harness, HarnessState, Retrier
from .rounds import survived
from .serving_map import ServingMap
from .states import ManagerState, ServableId, ServableState

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ..servable import LoadServable
    from .events import EventBus

#: States in which a version may be forgotten.
_AT_REST = (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)
_CLOSE_SLICE_S = 0.5


class BasicManager:
    """The managed versions and the executors they load and unload on.

    ``_lock`` guards the managed versions. It is held while a swap of the serving map waits for requests and while an
    estimate is retried, so either stalls every load and unload; requests never take it.
    """

    def __init__(  # noqa: PLR0913  (each is a different thing, named at the one call)
        self,
        *,
        load: LoadServable,
        estimate: Callable[[str], int],
        bus: EventBus,
        retrier: Retrier,
        load_threads: int,
        unload_threads: int,
        stopping: threading.Event,
        log: logging.Logger,
    ) -> None:
        """Take what loads, what measures and where it is told.

        Args:
            load: Loads one attempt.
            estimate: Bytes of memory for a version's directory; raises StatusError.
            bus: Receives every published state.
            retrier: Tries estimates and loads again.
            load_threads: Size of the load pool; 0 loads inline on the thread that asks.
            unload_threads: The same for unloads.
            stopping: Set when the server stops; loads that end later are freed at once.
            log: Where loads and unloads are told.
        """
        self.serving_map = ServingMap()
        self._load_version = load
        self._estimate = estimate
        self._bus = bus
        self._retrier = retrier
        self._stopping = stopping
        self._log = log
        self._lock = threading.Lock()
        self._managed: dict[str, dict[int, Harness]] = {}
        self._executor_lock = threading.Lock()
        self._load_executor = executor(load_threads, "load")
        self._unload_executor = executor(unload_threads, "unload")

    def managed(self) -> dict[str, list[Harness]]:
        """Return the managed versions by model."""
        with self._lock:
            return {name: list(versions.values()) for name, versions in self._managed.items()}

    def manage(self, servable_id: ServableId, path: str) -> None:
        """Begin to manage a version; publishes START. It must not be managed yet."""
        with self._lock:
            self._managed.setdefault(servable_id.name, {})[servable_id.version] = Harness(servable_id, path)
        self._publish(servable_id, ManagerState.START)

    def forget_unwanted(self) -> None:
        """Manage no longer the versions that are unwanted and at rest.

        Nothing is published: a version that was dropped before its load began is reported in state START ever after.
        """
        with self._lock:
            for name, versions in list(self._managed.items()):
                for harness in list(versions.values()):
                    if not harness.wanted and harness.state in _AT_REST:
                        del versions[harness.id.version]
                if not versions:
                    del self._managed[name]

    def load(self, servable_id: ServableId) -> None:
        """Load a version that is NEW, on the load executor."""
        harness = self._request(servable_id, HarnessState.LOAD_REQUESTED)
        with self._executor_lock:
            self._load_executor.submit(lambda: self._guard(self._execute_load, harness))

    def unload(self, servable_id: ServableId) -> None:
        """Unload a version that is READY, on the unload executor."""
        harness = self._request(servable_id, HarnessState.UNLOAD_REQUESTED)
        self._unload_executor.submit(lambda: self._guard(self._execute_unload, harness))

    def set_load_threads(self, threads: int) -> None:
        """Rebuild the load pool; waits until every load already given to the old one, its retries too, is over."""
        with self._executor_lock:
            # In slices, because a load that hangs must not keep a server from stopping.
            while not self._load_executor.close(_CLOSE_SLICE_S) and not self._stopping.is_set():
                pass
            self._load_executor = executor(threads, "load")

    def shut_down(self, timeout_s: float) -> None:
        """Serve nothing, free every version no request uses, and wait for threads.

        Before, ``stopping`` was set and the waits of the serving map were abandoned.
        """
        deadline = time.monotonic() + timeout_s
        for pool in (self._load_executor, self._unload_executor):
            if not pool.close(max(0.0, deadline - time.monotonic())):
                self._log.warning("A load or unload is still under way and is left behind")
        if not self.serving_map.clear(max(0.0, deadline - time.monotonic())):
            self._log.warning("Requests are still under way; the loaded versions are left to the end of the process")
            return
        for versions in self.managed().values():
            for harness in versions:
                if harness.state in (HarnessState.READY, HarnessState.UNLOAD_REQUESTED):
                    harness.free(self._log)

    def _request(self, servable_id: ServableId, state: HarnessState) -> Harness:
        with self._lock:
            harness = self._managed[servable_id.name][servable_id.version]
            harness.state = state
            return harness

    def _guard(self, execute: Callable[[Harness], None], harness: Harness) -> None:
        """Keep an executor's thread, which may be the manager's own, alive whatever a job does."""
        with survived(self._log, "Managing %s failed unexpectedly", harness.id):
            execute(harness)

    def _execute_load(self, harness: Harness) -> None:
        try:
            self._reserve_resources(harness)
            self._publish(harness.id, ManagerState.LOADING)
            harness.load(self._load_version, self._retrier, self._log)
        except StatusError as error:
            self._log.error("Servable %s cannot be loaded: %s", harness.id, error)
            # The state changes last: at rest the version may be managed anew at once, and its START must not be
            # overtaken by this END.
            self._publish(harness.id, ManagerState.END, error)
            harness.fail(error)
            return
        with self._lock:
            if self._stopping.is_set():
                harness.free(self._log)
                return
            self._swap()
        self._publish(harness.id, ManagerState.AVAILABLE)

    def _execute_unload(self, harness: Harness) -> None:
        with self._lock:
            self._publish(harness.id, ManagerState.UNLOADING)
            if not self._swap():
                return
        harness.free(self._log)
        self._publish(harness.id, ManagerState.END)
        harness.state = HarnessState.DISABLED

    def _reserve_resources(self, harness: Harness) -> None:
        """Estimate what the version needs; the budget is unlimited, so only the estimate itself can fail.

        Raises:
            StatusError: the estimate failed, retries included.
        """
        with self._lock:
            try:
                self._retrier.run(
                    f"Reserving resources for servable: {harness.id}",
                    lambda: self._estimate(harness.path),
                    harness.retries_cancelled,
                )
            except StatusError as error:
                text = f"Error while attempting to reserve resources to load servable {harness.id}: {error.message}"
                raise StatusError(error.code, text) from error
        self._log.info("Successfully reserved resources to load servable %s", harness.id)

    def _swap(self) -> bool:
        """Serve what is READY; with the lock held. Return whether earlier requests are done."""
        return self.serving_map.replace(
            {
                harness.id: harness.servable
                for versions in self._managed.values()
                for harness in versions.values()
                if harness.state is HarnessState.READY and harness.servable is not None
            }
        )

    def _publish(self, servable_id: ServableId, state: ManagerState, error: StatusError | None = None) -> None:
        self._bus.publish(ServableState(servable_id, state, error))
