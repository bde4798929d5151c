"""Let the puller of this node bring what is missing, and tell how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional, Protocol

from .errors import DeadlineExceeded, InvalidInput, ModelfleetError, rebuilt
from .names import subject_of
from .pull_status import PullState, VersionReport
from .quantity import show_bytes
from .waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .pull_status import PullerStatus

Key = tuple[str, int]
Reports = dict[Key, Optional[VersionReport]]

POLL_S = 0.1
#: How long one look of the puller at manifest, repository and store may take.
LOOK_TIMEOUT_S = 120.0
#: So many looks are asked for before a failure is believed: the first may have begun before it was asked for.
LOOKS = 2
#: As many versions are named in one line of progress.
NAMED = 3
_ON_THE_WAY = frozenset({PullState.WAITING, PullState.PULLING, PullState.VERIFYING})


class AskedPuller(Protocol):
    """A puller, as far as it is asked here."""

    @property
    def url(self) -> str:
        """Where it is, for messages."""

    def status(self) -> PullerStatus:
        """Return what it says about itself."""

    def sync(self) -> None:
        """Let it look now, and try what failed again."""


@dataclass(frozen=True)
class Answer:
    """What became of versions that a puller was asked for; those in neither attribute are here.

    Attributes:
        failed: Why those will not come without a change by a person, or not soon.
        unfinished: Those on their way.
    """

    failed: Mapping[Key, ModelfleetError] = field(default_factory=dict)
    unfinished: tuple[VersionReport, ...] = ()


class Asking:
    """One wait for versions that are not on disk.

    Args:
        puller: Whom to ask.
        missing: The versions.
        attempts: A version that failed this often, and at least once more than before, counts as failed; the puller
            itself goes on trying.
        clock: For waits.
    """

    def __init__(
        self, puller: AskedPuller, missing: Collection[Key], attempts: int, clock: Clock | None = None
    ) -> None:
        self._puller = puller
        self._missing = missing
        self._attempts = attempts
        self._clock = clock or Clock()
        self._patience: dict[Key, int] = {}

    def wait(self, deadline: Deadline) -> Answer:
        """Wait until each version is here or has failed; return with what there is when the deadline has come.

        Raises:
            ServerUnreachable: the puller does not answer.
            DeadlineExceeded: it answers, and does not look at its manifest and repository.
            InvalidInput: an operator paused it.
            ModelfleetError: it cannot read its manifest or repository.
        """
        status = self._puller.status()
        reports = self._reports(status)
        self._patience = {
            key: max(self._attempts, report.attempt + 1 if report and report.state is PullState.RETRYING else 0)
            for key, report in reports.items()
        }
        answer: Answer | None = None
        if all(report and report.state in _ON_THE_WAY for report in reports.values()):
            status, answer = self._settle(status.passes, deadline)
        for _ in range(LOOKS):
            if answer and (not answer.failed or deadline.expired):
                break
            self._puller.sync()
            status, answer = self._settle(status.passes + 1, deadline)
        if answer and answer.failed and status.error:
            raise rebuilt(status.error)
        return answer or Answer()

    def _settle(self, passes: int, deadline: Deadline) -> tuple[PullerStatus, Answer]:
        """Wait until the puller has looked so often, however long that takes, and then for the versions."""
        looking = Deadline(LOOK_TIMEOUT_S, self._clock)
        while True:
            status = self._puller.status()
            if status.paused:
                problem, remedy = "is paused by an operator", "let it go on with POST /resume"
                raise InvalidInput(f"puller {self._puller.url}", problem, remedy)
            if status.passes >= passes:
                answer = self._answer(status)
                if not answer.unfinished or deadline.expired:
                    return status, answer
            elif looking.expired:
                problem, remedy = f"does not look for {LOOK_TIMEOUT_S:.0f} s", "read its status and its log"
                raise DeadlineExceeded(f"puller {self._puller.url}", problem, remedy)
            self._clock.sleep(POLL_S)

    def _reports(self, status: PullerStatus) -> Reports:
        """Return what is said about each version; about its model as a whole where nothing else is."""
        told: Reports = {(report.model, report.version): report for report in status.versions}
        return {key: told.get(key) or told.get((key[0], 0)) for key in self._missing}

    def _answer(self, status: PullerStatus) -> Answer:
        failed: dict[Key, ModelfleetError] = {}
        unfinished = []
        for key, report in self._reports(status).items():
            if report is None:
                problem, remedy = f"is not wanted by the puller {self._puller.url}", "give it the same manifest"
                failed[key] = ModelfleetError(subject_of(*key), problem, remedy)
            elif report.state in _ON_THE_WAY or self._may_recover(key, report):
                unfinished.append(report)
            elif report.state is not PullState.COMPLETE:
                failed[key] = _failure(report)
        return Answer(failed, tuple(unfinished))

    def _may_recover(self, key: Key, report: VersionReport) -> bool:
        return report.state is PullState.RETRYING and report.attempt < self._patience[key]


def _failure(report: VersionReport) -> ModelfleetError:
    if report.state is PullState.CANCELLED:
        problem, remedy = "was cancelled by an operator", "ask the puller for it with POST /sync"
        return ModelfleetError(subject_of(report.model, report.version), problem, remedy)
    error = ModelfleetError(subject_of(report.model, report.version), report.message, report.remedy)
    error.code = report.code or error.code
    return error


def progress_line(unfinished: Sequence[VersionReport]) -> str:
    """Return how far versions on their way are, for people; the first few are named."""
    done, total = (sum(getattr(report, name) for report in unfinished) for name in ("bytes_done", "bytes_total"))
    rate = sum(report.bytes_per_s for report in unfinished)
    parts = [f"{len(unfinished)} version{'s' * (len(unfinished) != 1)} on the way"]
    if total:
        parts.append(f"{show_bytes(done)} of {show_bytes(total)} ({100 * done // total} %)")
    if rate:
        parts += [f"{show_bytes(round(rate))}/s", f"about {max(0, total - done) / rate:.0f} s left"]
    names = [f"{report.model} {report.version}" for report in unfinished[:NAMED]]
    more = len(unfinished) - len(names)
    line = f"{', '.join(parts)}: {', '.join(names)}{f' and {more} more' if more else ''}"
    troubles = [report for report in unfinished if report.state is PullState.RETRYING]
    return "; ".join([line, *(f"{_again(report)}: {report.message}" for report in troubles[:NAMED])])


def _again(report: VersionReport) -> str:
    when = "soon" if report.next_retry_s is None else f"in {report.next_retry_s:.0f} s"
    return f"{report.model} {report.version} is tried again {when}"
