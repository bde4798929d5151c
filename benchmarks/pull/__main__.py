"""Pull the same versions with our puller and with its peers, from one emulator, in turns.

python -m benchmarks.pull [--repeats 3] [--output FILE.json] [--work DIRECTORY] [--only NAME ...]
(in the development environment, from the project's directory)

Two workloads: 1 GiB in four shards, and 2,000 files of 20 kB. Every program is a process of its own with the same
environment and writes into a fresh directory on the file system of the source, whose pages are warm. Before the clock
starts, everything written is on disk and memory is warm. After it stopped, every byte is compared with the source.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from . import corpus, environments
from .emulator import emulator
from .measured import Measured, measure, warm_memory
from .programs import OURS, VERSION, Program, programs, variables

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKLOADS = {"shards": corpus.SHARDS, "small": corpus.SMALL_FILES}
#: More than a run takes in pages of memory, in bytes.
WARM = 2 << 30
Runs = dict[str, list[Measured]]


def main() -> int:
    """Run the comparison and print it; return the exit status."""
    parser = argparse.ArgumentParser(description="Compare our puller with its peers.")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each, after one that is not")
    parser.add_argument("--output", type=Path, help="write every run to this file as JSON")
    parser.add_argument("--work", type=Path, help="a directory on the file system to measure")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these programs, and ours")
    options = parser.parse_args()
    laid = environments.lay()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        root, out = Path(folder) / "buckets", Path(folder) / "out"
        for bucket, files in WORKLOADS.items():
            corpus.lay(root / bucket / VERSION, files)
        with emulator(root) as url:
            found = {}
            for bucket in WORKLOADS:
                compared = programs(url, root, bucket, out, laid)
                chosen = {
                    name: it for name, it in compared.items() if not options.only or name in (OURS, *options.only)
                }
                found[bucket] = compare(chosen, root / bucket / VERSION, out, options.repeats, variables(url))
                show(bucket, chosen, found[bucket])
    if options.output:
        written = {
            bucket: {name: [vars(run) for run in each] for name, each in runs.items()} for bucket, runs in found.items()
        }
        options.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


def compare(chosen: Mapping[str, Program], source: Path, out: Path, repeats: int, added: Mapping[str, str]) -> Runs:
    """Run every program in turns.

    Raises:
        RuntimeError: one failed, or did not bring what the source holds.
    """
    runs: Runs = {name: [] for name in chosen}
    for turn in range(repeats + 1):
        for name, program in chosen.items():
            out.mkdir()
            os.sync()
            warm_memory(WARM)
            run = measure(program.command, {**os.environ, **added})
            if wrong := corpus.differences(source, program.made):
                raise RuntimeError(f"{name} did not bring what the source holds: {', '.join(wrong[:3])}")
            print(f"{name}: {run.wall_s:.2f} s", file=sys.stderr)
            if turn:
                runs[name].append(run)
            _clear_away(out)
    return runs


def _clear_away(out: Path) -> None:
    """Give back the space of large files, and leave all of them under other names.

    A file system keeps off the numbers of files that were deleted a moment ago: it would look for free ones during
    the runs that follow, and longer with every run.
    """
    for path in out.rglob("*"):
        if path.is_file() and path.stat().st_size > corpus.MIB:
            os.truncate(path, 0)
    out.rename(out.with_name(f"{out.name}-{time.monotonic_ns()}"))


def show(bucket: str, chosen: Mapping[str, Program], runs: Runs) -> None:
    """Print the medians of one workload, and the medians of the ratios to our run in the same turn."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"\n{bucket}: {machine}, {len(runs[OURS])} repeats")
    print("| program | checked | on disk | wall, s | to ours | CPU, s | to ours | peak MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, each in runs.items():
        pairs = list(zip(each, runs[OURS], strict=True))
        cells = [
            name,
            "yes" if chosen[name].checked else "no",
            "yes" if chosen[name].synced else "no",
            f"{median(run.wall_s for run in each):.2f}",
            f"{median(run.wall_s / ours.wall_s for run, ours in pairs):.2f}",
            f"{median(run.cpu_s for run in each):.2f}",
            f"{median(run.cpu_s / ours.cpu_s for run, ours in pairs):.2f}",
            f"{median(run.peak_mb for run in each):.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
