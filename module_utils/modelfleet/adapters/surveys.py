"""Ask many hosts at once, so that one that is slow or hangs holds up nobody but itself."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Generic, TypeVar

from ..errors import ModelfleetError, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_T = TypeVar("_T")
#: How many questions are asked at once, and how many of them to one host.
WORKERS, WORKERS_OF_HOST = 16, 8
#: How long a host may answer none of its questions, in seconds.
PATIENCE_S = 15.0


@dataclass(frozen=True)
class Question(Generic[_T]):
    """Something to ask a host; ``ask`` raises what goes wrong."""

    subject: str
    host: str
    ask: Callable[[], _T]


@dataclass
class _Lane(Generic[_T]):
    """The questions to one host.

    Until one is answered only one is asked at a time: a host that is down costs one thread, not all of them.

    Attributes:
        waiting: What is still to be asked.
        asked: What is being asked.
        answers: Whether the last question was answered.
        since: When something was answered last, or else asked first, in seconds of the monotonic clock.
        failure: Why the last question was not answered.
        closed: Whether nobody waits for answers any more.
    """

    waiting: deque[tuple[str, Question[_T]]] = field(default_factory=deque)
    asked: dict[str, Question[_T]] = field(default_factory=dict)
    answers: bool = False
    since: float = 0.0
    failure: SourceUnavailable | None = None
    closed: bool = False


class Surveyor:
    """Asks, and remembers which hosts still owe an answer to an earlier question; for one thread at a time."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._owing: dict[str, int] = {}

    def survey(self, questions: Mapping[str, Question[_T]]) -> dict[str, _T | ModelfleetError]:
        """Return the answer to every question, or why there is none.

        A host that answers nothing for a while is given up, and not asked again before what it was asked has ended.
        """
        results: dict[str, _T | ModelfleetError] = {}
        lanes: dict[str, _Lane[_T]] = {}
        # In another order each time, so that the same few that fail are not always before all others.
        for name, question in random.sample(list(questions.items()), len(questions)):
            lanes.setdefault(question.host, _Lane()).waiting.append((name, question))
        with self._changed:
            for host, lane in lanes.items():
                if host in self._owing:
                    self._give_up(host, lane, results)
            while len(results) < len(questions):
                self._start(lanes, results)
                for host, lane in lanes.items():
                    if lane.asked and time.monotonic() - lane.since >= self._patience_s:
                        self._give_up(host, lane, results)
                if len(results) < len(questions):
                    self._changed.wait(self._until_patience_ends(lanes))
        return results

    def _start(self, lanes: Mapping[str, _Lane[_T]], results: dict[str, _T | ModelfleetError]) -> None:
        """Ask as much as may be asked now, in turns."""
        busy = sum(len(lane.asked) for lane in lanes.values())
        began = True
        while began and busy < WORKERS:
            began = False
            for lane in lanes.values():
                if lane.waiting and len(lane.asked) < (WORKERS_OF_HOST if lane.answers else 1) and busy < WORKERS:
                    name, question = lane.waiting.popleft()
                    if not lane.since or (lane.answers and not lane.asked):
                        lane.since = time.monotonic()
                    lane.asked[name] = question
                    busy, began = busy + 1, True
                    # A thread that hangs in a request must not keep the program from ending.
                    threading.Thread(
                        target=self._ask, args=(name, question, lane, results), name="survey", daemon=True
                    ).start()

    def _ask(
        self,
        name: str,
        question: Question[_T],
        lane: _Lane[_T],
        results: dict[str, _T | ModelfleetError],
    ) -> None:
        result: _T | ModelfleetError
        try:
            result = question.ask()
        except ModelfleetError as error:
            result = error
        except Exception as error:  # noqa: BLE001  (a defect becomes the answer: nobody else would see it)
            result = ModelfleetError(question.subject, f"met a defect of this program: {error!r}")
        with self._changed:
            if lane.closed:
                self._owing[question.host] -= 1
                if not self._owing[question.host]:
                    del self._owing[question.host]
            else:
                del lane.asked[name]
                lane.failure = result if isinstance(result, SourceUnavailable) else None
                lane.answers = lane.failure is None
                lane.since = time.monotonic() if lane.answers else lane.since
                results[name] = result
            self._changed.notify_all()

    def _give_up(self, host: str, lane: _Lane[_T], results: dict[str, _T | ModelfleetError]) -> None:
        lane.closed = True
        if lane.asked:
            self._owing[host] = self._owing.get(host, 0) + len(lane.asked)
        problem = lane.failure.problem if lane.failure else f"{host} has not answered for {self._patience_s:g} s"
        for name, question in (*lane.asked.items(), *lane.waiting):
            results[name] = SourceUnavailable(question.subject, problem, "it is tried again")
        lane.asked = {}
        lane.waiting.clear()

    def _until_patience_ends(self, lanes: Mapping[str, _Lane[_T]]) -> float:
        ends = [lane.since + self._patience_s for lane in lanes.values() if lane.asked]
        return max(0.0, min(ends, default=time.monotonic()) - time.monotonic())
