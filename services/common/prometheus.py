"""Metrics in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_STAT_UTIME, _STAT_THREADS, _STAT_START = 11, 17, 19
_RESIDENT = 1


@dataclass
class Metric:
    """One metric with its samples.

    Attributes:
        name: In full, with the unit; a counter's ends in ``_total``.
        kind: ``gauge`` or ``counter``.
        help: One line.
        samples: Labels and value of each.
    """

    name: str
    kind: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> Metric:
        """Add a sample, and return the metric."""
        self.samples.append((labels, value))
        return self


def gauge(name: str, explanation: str) -> Metric:
    """Return a metric that goes up and down."""
    return Metric(name, "gauge", explanation)


def counter(name: str, explanation: str) -> Metric:
    """Return a metric that only grows while the process lives."""
    return Metric(name, "counter", explanation)


def render(metrics: Iterable[Metric]) -> str:
    """Return the text that a scraper reads; a metric without a sample still has its explanation."""
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {_escaped(metric.help)}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            shown = ",".join(f'{key}="{_escaped(text, quotes=True)}"' for key, text in labels.items())
            lines.append(f"{metric.name}{{{shown}}} {_number(value)}" if shown else f"{metric.name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def of_this_process() -> list[Metric]:
    """Return what the kernel says about this process, under the names that every exporter uses."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    resident_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[_RESIDENT])
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    busy_s = (int(fields[_STAT_UTIME]) + int(fields[_STAT_UTIME + 1])) / ticks
    started_at = time.time() - since_boot_s + int(fields[_STAT_START]) / ticks
    return [
        counter("process_cpu_seconds_total", "Processor time of this process.").add(busy_s),
        gauge("process_resident_memory_bytes", "Memory of this process.").add(
            resident_pages * os.sysconf("SC_PAGE_SIZE")
        ),
        gauge("process_open_fds", "Open file descriptors of this process.").add(descriptors),
        gauge("process_threads", "Threads of this process.").add(int(fields[_STAT_THREADS])),
        gauge("process_start_time_seconds", "When this process started, in seconds since the epoch.").add(
            round(started_at, 2)
        ),
    ]
