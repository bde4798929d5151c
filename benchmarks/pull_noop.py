"""What it costs to find that nothing is to be done: 1,000 models with 3 versions of 5 files each, all on disk.

python benchmarks/pull_noop.py     (in the development environment)

The store is filled with copies and receipts: a pull would take minutes, since the emulator walks its whole bucket for
every version that is published. Then: a pull in a process of its own, as a module makes it, and looks of the running
service.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from unittest import mock

from modelfleet import manifest_source
from modelfleet.adapters.access import Access
from modelfleet.adapters.http_pools import Pools
from modelfleet.adapters.opening import open_repository
from modelfleet.pull import converge
from modelfleet.store import Store
from pull.corpus import lay, put
from pull.emulator import emulator, free_port
from pull.filling import fill
from pull.measured import measure
from pull.service import Service, service

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 5
#: Longer than a look takes, in seconds; what the service does meanwhile anyway is subtracted.
REST_S = 3.0
MODELS, VERSIONS = 1000, 3
FILES = {
    "saved_model.pb": 300,
    "variables/variables.index": 200,
    "variables/variables.data-00000-of-00001": 400,
    "assets/words.txt": 100,
    "assets/labels.txt": 100,
}
OURS = Path(__file__).resolve().parent / "pull" / "ours.py"


def main() -> None:
    """Fill a store, then print what looking costs."""
    with tempfile.TemporaryDirectory() as folder:
        root, store = Path(folder) / "buckets", Path(folder) / "store"
        for model in range(MODELS):
            for version in range(1, VERSIONS + 1):
                lay(root / "models" / f"model-{model:04}" / str(version), FILES)
        put(root / "models" / "fleet.json", b'{"format": 1, "defaults": {"versions": {"latest": %d}}}' % VERSIONS)
        with emulator(root) as url:
            environment = {**os.environ, "STORAGE_EMULATOR_HOST": url}
            pull = [sys.executable, str(OURS), "nothing", "gs://models", str(store)]
            print(
                f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {REPEATS} repeats"
            )
            fill(root / "models", store, url)
            print("| a look that finds nothing to do | wall, s | CPU, s | requests |\n|---|---|---|---|")
            requests = _requests(url, store)
            runs = [measure(pull, environment) for _ in range(REPEATS + 1)][1:]
            wall, cpu = median(run.wall_s for run in runs), median(run.cpu_s for run in runs)
            print(f"| a process of its own, with its start | {wall:.2f} | {cpu:.2f} | {requests} |")
            _running(url, store, requests)


def _running(url: str, store: Path, requests: int) -> None:
    with service("gs://models", store, url, free_port()) as puller:
        puller.wait_until_ready(60)
        puller.look()
        walls, cpus = [], []
        for _ in range(REPEATS):
            resting = _cpu_of(puller, lambda: (puller.ask("/status"), time.sleep(REST_S), puller.ask("/status")))
            cpus.append(_cpu_of(puller, lambda: walls.append(puller.look(REST_S))) - resting)
        print(f"| the running service | {median(walls):.2f} | {median(cpus):.2f} | {requests} |")
        print(f"The service then has {puller.megabytes('VmRSS'):.0f} MB, at most {puller.megabytes('VmHWM'):.0f} MB.")


def _cpu_of(puller: Service, act: Callable[[], object]) -> float:
    before = puller.cpu_s
    act()
    return puller.cpu_s - before


def _requests(url: str, store: Path) -> int:
    """Return how many requests one look makes."""
    repository, there = open_repository("gs://models", Access(gcs_endpoint=url)), Store(store)
    with mock.patch.object(Pools, "send", autospec=True, side_effect=Pools.send) as sent:
        _, report = converge(manifest_source.find({}, repository, there), repository, there, "node")
    repository.close()
    assert not report.pulled, report
    return sent.call_count


if __name__ == "__main__":
    main()
