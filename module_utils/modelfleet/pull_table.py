"""What a puller tells of each version: a row that follows from the last look, what is on its way, and what failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import VersionOverwritten
from .jobs import now
from .names import subject_of
from .pull_status import PullState, VersionReport

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .attempts import Attempts
    from .errors import ModelfleetError
    from .manifest import Desired
    from .pool import View
    from .pull_plan import Key, Preparation


class PullTable:
    """The rows of all versions. Whoever has one guards it with a lock of its own.

    Attributes:
        rows: One report for each wanted version, and one for each problem.
        complete: Size in bytes of what is complete on disk.
        refusals: Why versions are not planned.
        cancelled: What an operator gave up.
        pending_since: Since when wanted versions are not complete, by the puller's clock.
    """

    def __init__(self, attempts: Attempts, retries: int) -> None:
        self._attempts = attempts
        self._retries = retries
        self._prepared: Preparation | None = None
        self.rows: dict[Key, VersionReport] = {}
        self.complete: dict[Key, int] = {}
        self.refusals: dict[Key, ModelfleetError] = {}
        self.cancelled: set[Key] = set()
        self.pending_since: dict[Key, float] = {}

    def take_over(self, prepared: Preparation, complete: dict[Key, int]) -> dict[Key, ModelfleetError]:
        """Take over what a look showed; return the refusals that are new, or have a new reason."""
        wanted = wanted_by(prepared.desired)
        self.cancelled &= wanted
        self._prepared, self.complete = prepared, complete
        told = {problem.subject: problem for problem in prepared.desired.problems}
        earlier = {key: error.code for key, error in self.refusals.items()}
        self.refusals = {key: told[subject_of(*key)] for key in wanted if subject_of(*key) in told}
        self.refusals.update({(item.model, item.version): item.error for item in prepared.plan.refused})
        return {key: error for key, error in self.refusals.items() if earlier.get(key) != error.code}

    def refresh(self, keys: Collection[Key] | None, views: Mapping[Key, View], now_s: float, next_look: float) -> None:
        """Bring rows up to date.

        Args:
            keys: Which; None means all.
            views: What is on its way.
            now_s: The time by the puller's clock.
            next_look: When the next look comes, by the same clock.
        """
        if self._prepared is None:
            return
        if keys is None:
            keys = wanted_by(self._prepared.desired)
            fresh = {key: self._report(key, views.get(key), now_s, next_look) for key in keys}
            self.rows = {**fresh, **self._problems(fresh)}
            self.pending_since = {key: at for key, at in self.pending_since.items() if key in fresh}
        for key in list(keys):
            if key in self.rows and key[1]:
                self.rows[key] = self._report(key, views.get(key), now_s, next_look)
                if self.rows[key].state is PullState.COMPLETE:
                    self.pending_since.pop(key, None)
                else:
                    self.pending_since.setdefault(key, now_s)

    def _report(self, key: Key, view: View | None, now_s: float, next_look: float) -> VersionReport:
        """Return how one version is."""
        failure = self._attempts.of(key)
        count = failure.count if failure else 0
        error = (view.error if view else None) or (failure.error if failure else None)
        report = VersionReport(*key, state=PullState.WAITING, attempt=count)
        if view is not None:
            report = replace(
                report,
                state=_state_of(view),
                attempt=count + 1,
                next_retry_s=view.retry_in_s or None,
                bytes_done=view.done,
                bytes_total=view.total,
                bytes_per_s=view.read / view.age_s if view.age_s > 0 else 0.0,
            )
        elif key in self.cancelled:
            error = None
            report = replace(report, state=PullState.CANCELLED)
        elif key in self.complete:
            size = self.complete[key]
            report = replace(report, state=PullState.COMPLETE, attempt=0, bytes_done=size, bytes_total=size)
            # It is here and serves; that its source became another one is for a person to know all the same.
            known = (error, self.refusals.get(key))
            error = next((problem for problem in known if isinstance(problem, VersionOverwritten)), None)
        elif failure:
            again = failure.error.retryable and failure.count <= self._retries
            state = PullState.RETRYING if again else PullState.REFUSED
            report = replace(report, state=state, next_retry_s=max(0.0, failure.not_before - now_s))
        else:
            error = self.refusals.get(key)
            if error:
                report = replace(report, state=PullState.REFUSED, next_retry_s=max(0.0, next_look - now_s))
        if error:
            report = replace(report, code=error.code, message=error.problem, remedy=error.remedy)
        earlier = self.rows.get(key)
        since = earlier.since if earlier and earlier.state is report.state else now()
        return replace(report, since=since)

    def _problems(self, known: Mapping[Key, VersionReport]) -> dict[Key, VersionReport]:
        """Return what is wrong with models as a whole, and with versions that are not wanted for that reason."""
        if self._prepared is None:
            return {}
        found: dict[Key, VersionReport] = {}
        told = {subject_of(*key) for key in known}
        for refusal in self._prepared.plan.refused:
            key = (refusal.model, refusal.version)
            if key not in known:
                found[key] = _refused(key, refusal.error, self.rows.get(key))
        for problem in self._prepared.desired.problems:
            name = problem.subject.removeprefix("model ")
            if problem.subject not in told:
                found[name, 0] = _refused((name, 0), problem, self.rows.get((name, 0)))
        return found


def wanted_by(desired: Desired) -> set[Key]:
    """Return every version that a node should hold."""
    return {(name, version) for name, model in desired.models.items() for version in model.versions}


def _state_of(view: View) -> PullState:
    if view.verifying:
        return PullState.VERIFYING
    if view.retry_in_s and not view.active:
        return PullState.RETRYING
    return PullState.PULLING if view.active or view.done else PullState.WAITING


def _refused(key: Key, error: ModelfleetError, earlier: VersionReport | None) -> VersionReport:
    since = earlier.since if earlier else now()
    return VersionReport(
        *key, PullState.REFUSED, code=error.code, message=error.problem, remedy=error.remedy, since=since
    )
