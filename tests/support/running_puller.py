"""A puller that runs in a thread of a test, and what it says about itself."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from modelfleet import manifest
from modelfleet.pull_status import PullState
from modelfleet.puller import Puller, PullerSettings
from modelfleet.store import Store

from tests.support.pull_lab import versions_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelfleet.adapters.repository import Repository
    from modelfleet.manifest import Manifest
    from modelfleet.pull_status import PullEvent, VersionReport

#: Waits of seconds and minutes are fractions of a second here.
QUICK: dict[str, Any] = {
    "workers": 2,
    "headroom_bytes": 0,
    "resync_s": 0.2,
    "watch_s": 0.05,
    "stall_s": 0.5,
    "first_retry_s": 0.05,
    "max_retry_s": 0.2,
    "scrub_s": 0,
}


class RunningPuller:
    """A puller whose manifest the test changes while it runs.

    Attributes:
        wanted: The manifest's models; changes are seen within ``watch_s``.
        events: What it logged.
    """

    def __init__(self, repository: Repository, root: Path, wanted: dict[str, Any] | str, **settings: Any) -> None:
        self.wanted: dict[str, Any] | str = wanted
        self.events: list[PullEvent] = []
        self.root = root
        self._repository = repository
        self._stop = threading.Event()
        self.puller = Puller(
            self._look,
            Store(root),
            "node",
            PullerSettings(**{**QUICK, **settings}),
            watch=lambda: repr(self.wanted),
            log=self.events.append,
        )
        self._thread = threading.Thread(target=self.puller.run, args=(self._stop,), name="running-puller")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)
        assert not self._thread.is_alive(), "the puller does not stop"

    def _look(self) -> tuple[Manifest, Repository]:
        data = self.wanted if isinstance(self.wanted, str) else {"models": self.wanted}
        return manifest.parse(data, "manifest"), self._repository

    def report(self, model: str, version: int = 1) -> VersionReport | None:
        """Return what it says about a version; None when it says nothing."""
        found = [item for item in self.puller.status().versions if item.model == model and item.version in {version, 0}]
        return found[-1] if found else None

    def bytes_done(self, model: str) -> int:
        """Return how many bytes of a model's version 1 are here."""
        report = self.report(model)
        return report.bytes_done if report else 0

    def wait(self, condition: Callable[[], object], timeout_s: float = 10.0, interval_s: float = 0.01) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"waited {timeout_s} s in vain; status {self.puller.status()}"
            assert self._thread.is_alive(), "the puller ended"
            time.sleep(interval_s)

    def wait_for(self, model: str, state: PullState, code: str | None = None, version: int = 1) -> VersionReport:
        """Wait until a version is in a state, for a typed reason where one is given; return its report."""

        def reached() -> bool:
            report = self.report(model, version)
            return report is not None and report.state is state and code in {None, report.code}

        self.wait(reached)
        report = self.report(model, version)
        assert report
        return report

    def wait_until_complete(self, *models: str, timeout_s: float = 15.0) -> None:
        """Wait until version 1 of every model is on disk and said to be."""

        def complete() -> bool:
            present = versions_of(self.root)
            reports = {item.model: item.state for item in self.puller.status().versions}
            return all((name, 1) in present and reports.get(name) is PullState.COMPLETE for name in models)

        self.wait(complete, timeout_s, 0.05)

    def wait_for_passes(self, count: int) -> None:
        """Wait for so many further looks at manifest and repository."""
        goal = self.puller.status().passes + count
        self.wait(lambda: self.puller.status().passes >= goal)

    def steps(self, model: str) -> list[str]:
        """Return the steps that were logged for a model."""
        return [event.step for event in self.events if event.model == model]


def wants(*models: str, **versions: int) -> dict[str, Any]:
    """Return a manifest's models, all in version 1 or in the one given."""
    return {name: {"versions": [version]} for name, version in {**dict.fromkeys(models, 1), **versions}.items()}


def open_files() -> int:
    """Return how many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  (a Path for each would open more)
