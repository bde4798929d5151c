"""Let the puller of this node bring what is missing, and tell how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional, Protocol

from .errors import DeadlineExceeded, InvalidInput, ModelfleetError, rebuilt
from .names import subject_of
from .pull_plan import Refusal
from .pull_status import PullState, VersionReport
from .quantity import show_bytes
from .waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .desired import Desired
    from .pull_plan import Preparation, PullItem
    from .pull_status import PullerStatus

Key = tuple[str, int]
Reports = dict[Key, Optional[VersionReport]]

POLL_S = 0.1
#: How long one look of the puller at manifest, repository and store may take.
LOOK_TIMEOUT_S = 120.0
#: So many looks are asked for before it is believed that a version will not come: the first one that ends may have
#: begun before it was asked for.
LOOKS = 2
#: So often a version is asked for that the puller says to be complete, and that is not in the store.
ASKED = 2
#: As many versions are named in one line of progress.
NAMED = 3
_ON_THE_WAY = frozenset({PullState.WAITING, PullState.PULLING, PullState.VERIFYING, PullState.RETRYING})
_MOVING = frozenset({PullState.PULLING, PullState.VERIFYING})


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


class Arrived(Protocol):
    """A version that came."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """Its version."""

    @property
    def bytes(self) -> int:
        """Its size, or what was read of it."""


@dataclass(frozen=True)
class Brought:
    """How a store is after a pull, by whomever.

    Attributes:
        desired: What the node should hold.
        pulled: What came meanwhile, ordered.
        refused: What did not come, and why.
        unfinished: What is on its way still.
    """

    desired: Desired
    pulled: tuple[Arrived, ...]
    refused: tuple[Refusal, ...]
    unfinished: tuple[VersionReport, ...] = ()


def bring(puller: AskedPuller, look: Callable[[], Preparation], turn_s: float, clock: Clock | None = None) -> Brought:
    """Let a puller bring what a node lacks, and wait for it.

    Args:
        puller: Whom to ask; nobody is asked while nothing is missing.
        look: Looks at manifest, repository and store.
        turn_s: When to return although versions are on their way, in seconds; 0 means to wait for all of them.
        clock: For waits.

    Raises:
        ServerUnreachable: the puller does not answer.
        DeadlineExceeded: it answers, and does not look at its manifest and repository.
        InvalidInput: an operator paused it.
        ModelfleetError: it, or ``look``, cannot read manifest or repository.
    """
    clock = clock or Clock()
    deadline = Deadline(turn_s or float("inf"), clock)
    prepared = look()
    compared = {(item.model, item.version) for item in prepared.plan.comparisons}
    planned: dict[Key, PullItem] = {}
    asked: dict[Key, int] = {}
    failed: dict[Key, ModelfleetError] = {}
    unfinished: tuple[VersionReport, ...] = ()
    while not unfinished:
        planned.update({(item.model, item.version): item for item in prepared.plan.items})
        missing = [key for key in _items(prepared) if key not in failed]
        if not missing and not compared:
            break
        answer = Asking(puller, {*missing, *compared}, clock).wait(deadline)
        compared = set()
        failed.update(answer.failed)
        unfinished = answer.unfinished
        prepared = look()
        here = _items(prepared) - failed.keys() - {(report.model, report.version) for report in unfinished}
        for key in here.intersection(missing):
            asked[key] = asked.get(key, 0) + 1
            if asked[key] == ASKED:
                failed[key] = _elsewhere(key, puller)
    absent = _items(prepared) | {(refusal.model, refusal.version) for refusal in prepared.plan.refused}
    return Brought(
        prepared.desired,
        tuple(planned[key] for key in sorted(planned.keys() - absent)),
        (*prepared.plan.refused, *(Refusal(*key, failed[key]) for key in sorted(_items(prepared) & failed.keys()))),
        unfinished,
    )


class Asking:
    """One wait for versions that are not on disk.

    Args:
        puller: Whom to ask.
        missing: The versions.
        clock: For waits.
    """

    def __init__(self, puller: AskedPuller, missing: Collection[Key], clock: Clock) -> None:
        self._puller = puller
        self._missing = missing
        self._clock = clock

    def wait(self, deadline: Deadline) -> Answer:
        """Wait until each version is here or has failed; return with what there is when the deadline has come.

        Raises:
            ServerUnreachable: the puller does not answer.
            DeadlineExceeded: it answers, and does not look at its manifest and repository.
            InvalidInput: an operator paused it.
            ModelfleetError: it cannot read its manifest or repository.
        """
        status = self._puller.status()
        answer = None
        if all(report and report.state in _ON_THE_WAY for report in self._reports(status).values()):
            status, answer = self._settle(status.passes, deadline)
        for _ in range(LOOKS):
            if answer and not self._doubtful(status):
                break
            self._puller.sync()
            status, answer = self._settle(status.passes + 1, deadline)
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
                if status.error and not any(report.state in _MOVING for report in answer.unfinished):
                    raise rebuilt(status.error)
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

    def _doubtful(self, status: PullerStatus) -> bool:
        """Return whether a version failed by a look alone, and not by attempts that began after it was asked for."""
        reports = self._reports(status).values()
        return any(
            report is None or (report.state not in {*_ON_THE_WAY, PullState.COMPLETE} and not report.attempt)
            for report in reports
        )

    def _answer(self, status: PullerStatus) -> Answer:
        failed: dict[Key, ModelfleetError] = {}
        unfinished = []
        for key, report in self._reports(status).items():
            if report is None:
                problem, remedy = f"is not wanted by the puller {self._puller.url}", "give it the same manifest"
                failed[key] = ModelfleetError(subject_of(*key), problem, remedy)
            elif report.state in _ON_THE_WAY:
                unfinished.append(report)
            elif report.state is not PullState.COMPLETE:
                failed[key] = _failure(key, report)
        return Answer(failed, tuple(unfinished))


def _items(prepared: Preparation) -> set[Key]:
    return {(item.model, item.version) for item in prepared.plan.items}


def _failure(key: Key, report: VersionReport) -> ModelfleetError:
    if report.state is PullState.CANCELLED:
        problem, remedy = "was cancelled by an operator", "ask the puller for it with POST /sync"
        return ModelfleetError(subject_of(*key), problem, remedy)
    error = ModelfleetError(subject_of(*key), report.message, report.remedy)
    error.code = report.code or error.code
    return error


def _elsewhere(key: Key, puller: AskedPuller) -> ModelfleetError:
    problem = f"is complete for the puller {puller.url}, and not in this store"
    return ModelfleetError(subject_of(*key), problem, "give both the same store")


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
