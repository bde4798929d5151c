"""A small, single-threaded model of how TensorFlow Serving takes lists of versions over, hazards included.

It exists for random histories: thousands of reloads, ticks and restarts a second. The rules that matter to a planner
are here: labels are checked and swapped before anything loads; a list is taken over at the next file-system poll; one
missing base path stops the poll for every model; a list that names a version that is managed but unwanted is parked
until that version has gone; an unwanted version is unloaded only when a wanted one is ready; a failed version is
never retried while it stays wanted; a reload waits for new models only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelfleet.errors import ServerRefused, ServerUnreachable
from modelfleet.status import ServingState, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelfleet.models_config import ModelsConfig

LOAD_TICKS = 2


@dataclass
class Managed:
    """One version that the manager harnesses."""

    wanted: bool = True
    state: ServingState = ServingState.START
    error: str = ""
    ticks: int = 0


@dataclass
class ContractServer:
    """The server; ``disk`` and ``failing`` are shared with the test, which changes them."""

    disk: dict[str, set[int]]
    failing: set[tuple[str, int]]
    up: bool = True
    source: dict[str, tuple[int, ...]] = field(default_factory=dict)
    label_map: dict[str, dict[str, int]] = field(default_factory=dict)
    pending: dict[str, tuple[int, ...]] = field(default_factory=dict)
    managed: dict[tuple[str, int], Managed] = field(default_factory=dict)
    monitor: dict[str, dict[int, VersionStatus]] = field(default_factory=dict)
    reloads: int = 0

    # -- what a client sees ------------------------------------------------------------------------------------------
    def statuses(self, models: Iterable[str]) -> dict[str, dict[int, VersionStatus]]:
        self._require_up()
        return {name: dict(self.monitor.get(name, {})) for name in models}

    def labels(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        self._require_up()
        result: dict[tuple[str, str], int | None] = {}
        for name, label in wanted:
            version = self.label_map.get(name, {}).get(label)
            result[(name, label)] = version if version is not None and self.available(name, version) else None
        return result

    def reload(self, config: ModelsConfig, *, timeout_s: float) -> None:
        self._require_up()
        self.reloads += 1
        for name, entry in config.entries.items():
            for label, version in entry.labels.items():
                before = self.label_map.get(name, {}).get(label)
                if not self.available(name, version) and before not in {None, version}:
                    raise ServerRefused(
                        "server", "FAILED_PRECONDITION", f"Request to assign label to version {version}"
                    )
        self.label_map = {name: dict(entry.labels) for name, entry in config.entries.items()}
        new = set(config.entries) - set(self.source)
        for name in set(self.source) - set(config.entries):
            self.pending[name] = ()
        self.source = {name: entry.versions for name, entry in config.entries.items()}
        for _ in range(50):
            if all(self._first_ended(name) for name in new):
                break
            self.tick()
        else:
            raise AssertionError(f"the reload hangs for ever: {sorted(new)} of {config}")
        failed = [
            f"{{name: {name} version: {version}}} due to error: {item.error}"
            for name in new
            for (owner, version), item in self.managed.items()
            if owner == name and item.error and not self._serves(name)
        ]
        if failed:
            raise ServerRefused("server", "UNKNOWN", f"1 model(s) did not become available: {{{', '.join(failed)}, }}")

    def available(self, name: str, version: int) -> bool:
        status = self.monitor.get(name, {}).get(version)
        return status is not None and status.available

    def _serves(self, name: str) -> bool:
        return any(status.available for status in self.monitor.get(name, {}).values())

    def _first_ended(self, name: str) -> bool:
        items = [item for (owner, _), item in self.managed.items() if owner == name and item.wanted]
        return any(item.state in {ServingState.AVAILABLE, ServingState.END} for item in items)

    def _require_up(self) -> None:
        if not self.up:
            raise ServerUnreachable("server", "is down")

    # -- what happens by itself --------------------------------------------------------------------------------------
    def restart(self, config: ModelsConfig) -> None:
        """Forget everything and start with the file; down when a version of it breaks the start."""
        self.source, self.label_map, self.pending = {}, {}, {}
        self.managed, self.monitor = {}, {}
        self.up = True
        try:
            self.reload(config, timeout_s=0)
        except ServerRefused:
            self.up = False

    def tick(self) -> None:
        """One poll of the file system and one round of the manager."""
        if all(self.disk.get(name) for name in self.source):
            for name, versions in self.source.items():
                self.pending[name] = tuple(v for v in versions if v in self.disk[name])
        self._flush()
        for name in list(self.pending):
            self._take_over(name)
        self._advance_loads()
        self._one_action()

    def _flush(self) -> None:
        for key, item in list(self.managed.items()):
            if not item.wanted and item.state is ServingState.END:
                del self.managed[key]

    def _take_over(self, name: str) -> None:
        wanted = self.pending[name]
        mine = {version: item for (owner, version), item in self.managed.items() if owner == name}
        if any(version in mine and not mine[version].wanted for version in wanted):
            return  # parked
        del self.pending[name]
        for version, item in mine.items():
            if version not in wanted:
                item.wanted = False
                if item.state is ServingState.START:
                    self._publish(name, version, item, ServingState.END)
        for version in wanted:
            if version not in mine:
                self._publish(name, version, self.managed.setdefault((name, version), Managed()), ServingState.START)

    def _advance_loads(self) -> None:
        for (name, version), item in list(self.managed.items()):
            if item.state is not ServingState.LOADING:
                continue
            item.ticks += 1
            if item.ticks < LOAD_TICKS:
                continue
            if (name, version) in self.failing:
                item.error = "broken"
                self._publish(name, version, item, ServingState.END)
            else:
                self._publish(name, version, item, ServingState.AVAILABLE)

    def _one_action(self) -> None:
        for (name, version), item in sorted(self.managed.items()):
            if not item.wanted and item.state is ServingState.AVAILABLE and self._may_unload(name):
                self._publish(name, version, item, ServingState.END)
                return
        for (name, version), item in sorted(self.managed.items(), reverse=True):
            if item.wanted and item.state is ServingState.START:
                self._publish(name, version, item, ServingState.LOADING)
                return

    def _may_unload(self, name: str) -> bool:
        mine = [item for (owner, _), item in self.managed.items() if owner == name]
        wanted = [item for item in mine if item.wanted]
        spare = sum(not item.wanted and item.state is ServingState.AVAILABLE for item in mine)
        return not wanted or any(item.state is ServingState.AVAILABLE for item in wanted) or spare > 1

    def _publish(self, name: str, version: int, item: Managed, state: ServingState) -> None:
        item.state = state
        failed = state is ServingState.END and item.error
        status = VersionStatus(state, "INTERNAL" if failed else "OK", item.error if failed else "")
        self.monitor.setdefault(name, {})[version] = status
