"""One run of a program: wall time, processor time and peak memory of all its processes."""

from __future__ import annotations

import mmap
import os
import re
import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: How often memory is looked at; the end of the program is seen at once.
SAMPLE_MS = 50


@dataclass(frozen=True)
class Measured:
    """What a run cost.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: User and system time of the process and of the children it waited for.
        peak_mb: Resident memory at its highest, in units of 10^6 bytes; where there are several processes, all of
            them together with what they share counted once.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Measured:
    """Run a program to its end.

    Raises:
        RuntimeError: it failed; with the last of what it said.
    """
    with tempfile.TemporaryFile() as said:
        begin = time.monotonic()
        process = subprocess.Popen(  # noqa: S603  (the programs that are compared)
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        peak = _watch(process.pid)
        wall = time.monotonic() - begin
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{words}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, peak / 1e6)


def warm_memory(size: int) -> None:
    """Touch free memory, in bytes: a virtual machine pays for pages that it never had or gave back to its host."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        pass


def _watch(pid: int) -> int:
    """Wait for the end of a process, without collecting it; return the peak of its memory in bytes."""
    handle = os.pidfd_open(pid)
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        peak = 0
        while not ended.poll(SAMPLE_MS):
            peak = max(peak, memory(pid))
        return peak
    finally:
        os.close(handle)


def memory(pid: int) -> int:
    """Return what a process and its descendants take now in bytes; of a lone process, the most it ever took."""
    pids = _tree(pid)
    if len(pids) == 1:
        return _kilobytes(pid, "status", "VmHWM") * 1024
    return sum(_kilobytes(each, "smaps_rollup", "Pss") for each in pids) * 1024


def _tree(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        for task in _listed(Path(f"/proc/{each}/task")):
            found += [int(child) for child in _read(task / "children").split()]
    return found


def _kilobytes(pid: int, file: str, field: str) -> int:
    """Return a figure of a process; 0 once it is gone."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", _read(Path(f"/proc/{pid}/{file}")), re.MULTILINE)
    return int(found[1]) if found else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _listed(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []
