"""What it costs to find that nothing is to be done: 1,000 models with 3 versions of 5 files each, all on disk.

python benchmarks/pull_noop.py     (in the development environment)

The store is filled by a pull. Then: a pull in a process of its own, as a module makes it, and looks of the running
service.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path
from statistics import median

from modelfleet import manifest_source
from modelfleet.adapters.opening import open_repository
from modelfleet.pull import converge
from modelfleet.store import Store
from pull.corpus import lay, put
from pull.emulator import emulator, free_port
from pull.measured import measure
from pull.service import service

REPEATS = 5
MODELS, VERSIONS = 1000, 3
FILES = {
    "saved_model.pb": 300,
    "variables/variables.index": 200,
    "variables/variables.data-00000-of-00001": 400,
    "assets/words.txt": 100,
    "assets/labels.txt": 100,
}
OURS = Path(__file__).resolve().parent / "pull" / "ours.py"
IDLE_S = 5.0


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
            pull = [sys.executable, str(OURS), "all", "gs://models", str(store)]
            print(
                f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {REPEATS} repeats"
            )
            filled = measure(pull, environment)
            print(f"filled the store in {filled.wall_s:.1f} s, {filled.cpu_s:.1f} s of CPU, {filled.peak_mb:.0f} MB")
            print("| a look that finds nothing to do | wall, s | CPU, s | requests |\n|---|---|---|---|")
            requests = _requests(url, store)
            pull[2] = "nothing"
            runs = [measure(pull, environment) for _ in range(REPEATS + 1)][1:]
            wall, cpu = median(run.wall_s for run in runs), median(run.cpu_s for run in runs)
            print(f"| process of its own, with its start | {wall:.2f} | {cpu:.2f} | {requests} |")
            _running(url, store, requests)


def _running(url: str, store: Path, requests: int) -> None:
    with service("gs://models", store, url, free_port()) as puller:
        puller.wait_until_ready(60)
        puller.look()
        walls, cpus = [], []
        for _ in range(REPEATS):
            before = puller.cpu_s
            walls.append(puller.look())
            cpus.append(puller.cpu_s - before)
        print(
            f"| running service, with the questions about it | {median(walls):.2f} | {median(cpus):.2f} | {requests} |"
        )
        print(f"The service then has {puller.megabytes('VmRSS'):.0f} MB, at most {puller.megabytes('VmHWM'):.0f} MB.")


def _requests(url: str, store: Path) -> int:
    """Return how many requests one look makes."""
    os.environ["STORAGE_EMULATOR_HOST"] = url
    seen: list[str] = []
    sys.addaudithook(lambda event, _: seen.append(event) if event == "http.client.send" else None)
    repository, there = open_repository("gs://models"), Store(store)
    _, report = converge(manifest_source.find({}, repository, there), repository, there, "node")
    assert not report.pulled, report
    return len(seen)


if __name__ == "__main__":
    main()
