"""Run commands in turns and print the median of each: the ground of every figure in this folder."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Run:
    """One run: wall time and processor time of the command and its children, in seconds."""

    wall_s: float
    cpu_s: float


def timed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    subprocess.run(  # noqa: S603  (the project's own commands)
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def compare(commands: Mapping[str, Sequence[str]], repeats: int, environment: Mapping[str, str] | None = None) -> None:
    """Run every command once to warm up, then all of them in turns, and print a table of medians."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            run = timed(command, environment)
            if turn:
                runs[name].append(run)
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {repeats} repeats")
    print("| what | wall, s | CPU, s |\n|---|---|---|")
    for name, found in runs.items():
        wall, cpu = (statistics.median(values) for values in zip(*((r.wall_s, r.cpu_s) for r in found), strict=True))
        print(f"| {name} | {wall:.2f} | {cpu:.2f} |")
