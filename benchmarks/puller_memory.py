"""What the running puller takes: memory at rest and with a pull of 4 GiB, threads and files over 200 small pulls.

python benchmarks/puller_memory.py     (in the development environment; 4 GiB of disk)

It has 1,000 models already. The large one comes in four shards of zeros, which the emulator holds sparse.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path

from pull.corpus import MIB, lay
from pull.emulator import emulator, free_port
from pull.filling import fill
from pull.service import Service, service

MODELS, PULLS, TOGETHER = 1000, 200, 10
SMALL = {"saved_model.pb": 300, "variables/variables.index": 200, "variables/variables.data-00000-of-00001": 400}
LARGE = {
    "saved_model.pb": 100_000,
    "variables/variables.index": 10_000,
    **{f"variables/variables.data-{shard:05}-of-00004": 1024 * MIB for shard in range(4)},
}
#: How long the service is left alone before it is looked at, in seconds.
REST_S = 5.0


def main() -> None:
    """Let the service pull, and print what it takes."""
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print("| the puller's service | resident, MB | most so far, MB | threads | open files |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        root, store, ready = Path(folder) / "buckets", Path(folder) / "store", Path(folder) / "ready"
        lay(ready / "large" / "1", LARGE, sparse=True)
        for number in range(MODELS):
            lay(root / "models" / f"model-{number:04}" / "1", SMALL)
        for number in range(PULLS):
            lay(ready / f"more-{number:04}" / "1", SMALL)
        with emulator(root) as url:
            fill(root / "models", store, url)
            with service("gs://models", store, url, free_port()) as puller:
                _measure(puller, ready, root)


def _measure(puller: Service, ready: Path, root: Path) -> None:
    puller.wait_until_ready(60)
    _tell(f"idle, {MODELS:,} models", puller)
    began = time.monotonic()
    _bring(puller, ready, root, "large")
    _tell(f"after a pull of 4 GiB in {time.monotonic() - began:.0f} s", puller)
    for begin in range(0, PULLS, TOGETHER):
        _bring(puller, ready, root, *(f"more-{number:04}" for number in range(begin, begin + TOGETHER)))
    _tell(f"after {PULLS} more pulls", puller)


def _bring(puller: Service, ready: Path, root: Path, *models: str) -> None:
    for model in models:
        (ready / model).rename(root / "models" / model)
    puller.look()
    puller.wait_until_ready(300)


def _tell(when: str, puller: Service) -> None:
    time.sleep(REST_S)
    cells = [when, f"{puller.megabytes('VmRSS'):.0f}", f"{puller.megabytes('VmHWM'):.0f}"]
    print(f"| {' | '.join(cells)} | {puller.threads} | {puller.descriptors} |", flush=True)


if __name__ == "__main__":
    main()
