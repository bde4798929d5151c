"""Remembers the last state of every version ever seen, and lets callers wait for models."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from ..rpc_status import Code, StatusError
from .states import ManagerState, ServableId, ServableState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from .events import EventBus


class _Wait:
    """A wait for models, judged at every event, so that a state that passes quickly is not missed."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.reached: list[ServableState] | None = None

    def look_at(self, states: Mapping[str, Mapping[int, ServableState]]) -> None:
        """End the wait when every model has a settled version now."""
        if self.reached is None:
            settled = [state for name in self._names if (state := _settled(states.get(name, {}))) is not None]
            if len(settled) == len(self._names):
                self.reached = settled


class ServableStateMonitor:
    """The history of states since its creation. As a context manager it stops listening on exit.

    Entries are never removed: a version that ended stays known until the process ends, and one that is loaded again
    overwrites its entry.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, ServableState]] = {}
        self._waits: list[_Wait] = []
        self._stopped = False
        bus.subscribe(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bus.unsubscribe(self._handle)

    def versions(self, name: str) -> dict[int, ServableState]:
        """Return the last state of each version of a model, by version; empty for an unknown model."""
        with self._changed:
            return dict(self._states.get(name, {}))

    def wait_until_available_or_ended(self, names: Iterable[str]) -> list[ServableState]:
        """Wait until every model has a version that is AVAILABLE or at its END.

        The wait has no deadline, like the server it stands for: a model whose versions cannot be found holds the caller
        until they appear. ``stop`` is the only other way out.

        Returns:
            For each model the state that ended the wait, that of its highest such version, sorted by model.

        Raises:
            StatusError: UNAVAILABLE, the server stops.
        """
        wait = _Wait(sorted(set(names)))
        with self._changed:
            wait.look_at(self._states)
            self._waits.append(wait)
            self._changed.wait_for(lambda: self._stopped or wait.reached is not None)
            self._waits.remove(wait)
            if wait.reached is None:
                raise StatusError(Code.UNAVAILABLE, "The server is stopping.")
            return wait.reached

    def stop(self) -> None:
        """Release every waiting caller, now and from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _handle(self, event: ServableState) -> None:
        with self._changed:
            self._states.setdefault(event.id.name, {})[event.id.version] = event
            for wait in self._waits:
                wait.look_at(self._states)
            self._changed.notify_all()


def _settled(versions: Mapping[int, ServableState]) -> ServableState | None:
    """Return the state of the highest version that is AVAILABLE or at its END."""
    return next(
        (
            versions[version]
            for version in sorted(versions, reverse=True)
            if versions[version].state in (ManagerState.AVAILABLE, ManagerState.END)
        ),
        None,
    )


def require_available(reached: Iterable[ServableState], noun: str) -> None:
    """Refuse the result of a wait in which a model's first settled version had ended.

    Raises:
        StatusError: UNKNOWN, with one entry for each such version.
    """
    failed = [state for state in reached if state.state is not ManagerState.AVAILABLE]
    if failed:
        entries = "".join(f"{{{_because(state.id, state.error)}}}, " for state in failed)
        raise StatusError(Code.UNKNOWN, f"{len(failed)} {noun} did not become available: {{{entries}}}")


def _because(servable: ServableId, error: StatusError | None) -> str:
    return str(servable) if error is None else f"{servable} due to error: {error}"
