"""An engine of a puller that says what a test lets it say, and remembers what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfleet.pull_status import PullerStatus, PullState, VersionReport

if TYPE_CHECKING:
    import threading

    from modelfleet_services.common.heartbeats import Sign


class PlayedEngine:
    """Attributes are what it says; ``told`` is what it was told."""

    def __init__(self, *versions: VersionReport) -> None:
        self.now = PullerStatus(node="node-1", source="gs://bucket/models", passes=1, versions=versions, counters={})
        self.signs: dict[str, Sign] = {"loop": (0.5, "waiting"), "worker-1": (1.0, "idle")}
        self.told: list[object] = []

    def run(self, stop: threading.Event) -> None:
        stop.wait()

    def sync(self) -> None:
        self.told.append("sync")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def cancel(self, model: str, version: int | None = None) -> tuple[tuple[str, int], ...]:
        self.told.append((model, version))
        return tuple(
            (report.model, report.version)
            for report in self.now.versions
            if report.model == model
            and version in {None, report.version}
            and report.state not in {PullState.COMPLETE, PullState.CANCELLED}
        )

    def status(self) -> PullerStatus:
        return self.now

    def heartbeats(self) -> dict[str, Sign]:
        return self.signs
