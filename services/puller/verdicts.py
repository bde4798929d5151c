"""What a puller's status means: is the service well, is everything here, what is measured. Nothing but functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelfleet.errors import rebuilt
from modelfleet.pull_status import PullState

from ..common.heartbeats import Beat
from ..common.prometheus import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelfleet.errors import ModelfleetError
    from modelfleet.pull_status import PullerStatus, VersionReport

    from ..common.heartbeats import Signs
    from ..common.prometheus import Metric

#: Failures of a look that make the service useless until a person helps. A source that does not answer, and a manifest
#: that is wrong, are none: what is on disk is served on, and a restart would only lose what is on its way.
USELESS = frozenset({"FORBIDDEN", "MISSING_DEPENDENCY", "STORE_UNUSABLE"})
#: As many missing versions are named.
NAMED = 100

_PREFIX = "modelfleet_puller"


def status_data(status: PullerStatus) -> dict[str, Any]:
    """Return a status as plain JSON data."""
    shallow = {name: getattr(status, name) for name in status.__dataclass_fields__ if name != "versions"}
    return {
        **shallow,
        "error": dict(status.error) if status.error else None,
        "counters": dict(status.counters or {}),
        "versions": [report.to_dict() for report in status.versions],
    }


def unwell(
    status: PullerStatus, signs: Signs, limit_s: float, further: Iterable[ModelfleetError] = ()
) -> list[ModelfleetError]:
    """Return why the service is not well; nothing when it is.

    Args:
        status: What the engine says.
        signs: The last sign of life of each thread.
        limit_s: How long that may be, in seconds.
        further: What else is wrong.
    """
    judged = [Beat(thread, *sign, limit_s).judge() for thread, sign in sorted(signs.items())]
    reasons: list[ModelfleetError] = [hanging for hanging in judged if hanging is not None]
    reasons += further
    if status.error and status.error.get("code") in USELESS:
        reasons.append(rebuilt(status.error))
    return reasons


def missing(status: PullerStatus) -> list[VersionReport]:
    """Return what is wanted and not complete on disk."""
    return [report for report in status.versions if report.state is not PullState.COMPLETE]


def readiness(status: PullerStatus) -> dict[str, Any]:
    """Return whether everything that is wanted is here, and what is not."""
    waited_for = missing(status)
    return {
        "ready": status.passes > 0 and not status.error and not waited_for,
        "looked": status.passes > 0,
        "error": dict(status.error) if status.error else None,
        "missing": len(waited_for),
        "versions": [report.to_dict() for report in waited_for[:NAMED]],
    }


def metrics(status: PullerStatus, signs: Signs) -> list[Metric]:
    """Return what Prometheus scrapes."""
    by_state = gauge(f"{_PREFIX}_versions", "Wanted versions, and problems of whole models, by state.")
    for state in PullState:
        by_state.add(sum(report.state is state for report in status.versions), state=state.value)
    on_the_way = missing(status)
    failing = gauge(f"{_PREFIX}_failing", "1 for each version whose last attempt failed, with the reason.")
    for report in on_the_way:
        if report.code:
            failing.add(1, model=report.model, version=str(report.version), code=report.code)
    look_failed = gauge(f"{_PREFIX}_look_failed", "1 while manifest or repository cannot be read, and why.")
    look_failed.add(1 if status.error else 0, code=str(status.error.get("code", "")) if status.error else "")
    beats = gauge(f"{_PREFIX}_heartbeat_age_seconds", "How long ago each thread showed life.")
    for thread, (age_s, _) in sorted(signs.items()):
        beats.add(age_s, thread=thread)
    left = sum(max(0, report.bytes_total - report.bytes_done) for report in on_the_way)
    return [
        by_state,
        gauge(f"{_PREFIX}_oldest_pending_seconds", "Age of the oldest wanted version that is not here.").add(
            status.oldest_pending_s
        ),
        gauge(f"{_PREFIX}_pending_bytes", "What is still to come.").add(left),
        gauge(f"{_PREFIX}_bytes_per_second", "What comes now.").add(sum(report.bytes_per_s for report in on_the_way)),
        failing,
        look_failed,
        gauge(f"{_PREFIX}_paused", "1 while an operator has paused it.").add(int(status.paused)),
        gauge(f"{_PREFIX}_manifest_revision", "Revision of the manifest; 0 where nobody counts.").add(status.revision),
        counter(f"{_PREFIX}_passes_total", "Looks at manifest, repository and disk.").add(status.passes),
        gauge(f"{_PREFIX}_last_pass_seconds", "How long the last look took.").add(status.last_pass_s),
        *(
            counter(f"{_PREFIX}_{name}_total", f"{name.replace('_', ' ').capitalize()} since the start.").add(value)
            for name, value in sorted((status.counters or {}).items())
        ),
        beats,
    ]
