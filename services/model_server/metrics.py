"""The counters and histograms of the server, and their page in Prometheus's text format."""

from __future__ import annotations

import bisect
import re
import threading
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX = "/tensorflow/serving/"
#: Microseconds: each bound is 1.8 times the one before.
_LATENCY_BOUNDS = tuple(10 * 1.8**power for power in range(33))
_COUNT_BOUNDS = tuple(float(2**power) for power in range(20))


def _metric_name(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", ":", name)


def _label_value(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@dataclass
class _Series:
    """The points of one histogram series: one count a bucket, the last one unbounded."""

    counts: list[int]
    total: float = 0.0


@dataclass
class Counter:
    """A number that only grows, for each combination of label values."""

    name: str
    labels: tuple[str, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _values: dict[tuple[str, ...], int] = field(default_factory=dict, repr=False)

    def add(self, *values: str, count: int = 1) -> None:
        """Count ``count`` more for these label values."""
        with self._lock:
            self._values[values] = self._values.get(values, 0) + count

    def first_value(self) -> int:
        """Return the value of the first point; 0 without any."""
        with self._lock:
            return next(iter(self._values.values()), 0)

    def lines(self) -> list[str]:
        """Return the metric as lines of the page."""
        name = _metric_name(self.name)
        with self._lock:
            points = list(self._values.items())
        result = [f"# TYPE {name} counter"]
        result.extend(f"{name}{{{_labels(self.labels, values)}}} {value}" for values, value in points)
        return result


@dataclass
class Histogram:
    """A distribution over fixed bounds, for each combination of label values."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _series: dict[tuple[str, ...], _Series] = field(default_factory=dict, repr=False)

    def observe(self, value: float, *values: str) -> None:
        """Add one observation for these label values."""
        index = bisect.bisect_right(self.bounds, value)
        with self._lock:
            series = self._series.setdefault(values, _Series([0] * (len(self.bounds) + 1)))
            series.counts[index] += 1
            series.total += value

    def first_value(self) -> int:
        """Return 0: a distribution has no single number."""
        return 0

    def lines(self) -> list[str]:
        """Return the metric as lines of the page."""
        name = _metric_name(self.name)
        with self._lock:
            points = [(values, list(series.counts), series.total) for values, series in self._series.items()]
        result = [f"# TYPE {name} histogram"]
        limits = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        for values, counts, total in points:
            labels = _labels(self.labels, values)
            cumulative = list(accumulate(counts))
            result.extend(
                f'{name}_bucket{{{labels},le="{limit}"}} {count}'
                for limit, count in zip(limits, cumulative, strict=True)
            )
            result.append(f"{name}_sum{{{labels}}} {total:g}")
            result.append(f"{name}_count{{{labels}}} {cumulative[-1]}")
        return result


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_label_value(value)}"' for name, value in zip(names, values, strict=True))


class ServerMetrics:
    """Every metric of the server."""

    def __init__(self) -> None:
        self.request_count = Counter(_PREFIX + "request_count", ("model_name", "status"))
        self.request_latency = Histogram(
            _PREFIX + "request_latency", ("model_name", "API", "entrypoint"), _LATENCY_BOUNDS
        )
        self.runtime_latency = Histogram(_PREFIX + "runtime_latency", ("model_name", "API", "runtime"), _LATENCY_BOUNDS)
        self.request_example_counts = Histogram(_PREFIX + "request_example_counts", ("model",), _COUNT_BOUNDS)
        self.request_example_count_total = Counter(_PREFIX + "request_example_count_total", ("model",))
        self._by_name: dict[str, Counter | Histogram] = {
            metric.name: metric
            for metric in (
                self.request_count,
                self.request_example_count_total,
                self.request_example_counts,
                self.request_latency,
                self.runtime_latency,
            )
        }

    def first_value(self, name: str) -> int:
        """Return the first point of the metric of that name; 0 for an unknown one."""
        metric = self._by_name.get(name)
        return metric.first_value() if metric else 0

    def page(self) -> str:
        """Return the page of all metrics, in the order of their names."""
        return "\n".join(line for name in sorted(self._by_name) for line in self._by_name[name].lines()) + "\n"
