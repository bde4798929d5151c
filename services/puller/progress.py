"""Tells how far long pulls are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfleet.pull_status import PullState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelfleet.pull_status import PullerStatus, VersionReport

_PERCENT = 100


class Progress:
    """Tells about every pull that was seen at the look before as well.

    Args:
        tell: Takes the fields of one line.
    """

    def __init__(self, tell: Callable[[Mapping[str, object]], None]) -> None:
        self._tell = tell
        self._seen: frozenset[tuple[str, int, str]] = frozenset()

    def look(self, status: PullerStatus) -> None:
        """Look at what is on its way now."""
        pulling = {_key(report): report for report in status.versions if report.state is PullState.PULLING}
        for key, report in pulling.items():
            if key in self._seen:
                self._tell(described(report))
        self._seen = frozenset(pulling)


def _key(report: VersionReport) -> tuple[str, int, str]:
    """Return what one pull is known by: a pull that began anew is another one."""
    return (report.model, report.version, report.since)


def described(report: VersionReport) -> dict[str, object]:
    """Return how far a pull is: sizes in bytes, the rest of the time in seconds where it can be told."""
    left = max(0, report.bytes_total - report.bytes_done)
    fields: dict[str, object] = {
        "model": report.model,
        "version": report.version,
        "percent": _PERCENT * report.bytes_done // report.bytes_total if report.bytes_total else 0,
        "bytes_done": report.bytes_done,
        "bytes_total": report.bytes_total,
        "bytes_per_s": round(report.bytes_per_s),
    }
    if report.bytes_per_s > 0:
        fields["left_s"] = round(left / report.bytes_per_s)
    return fields
