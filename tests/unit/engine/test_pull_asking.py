"""A puller is asked, waited for and believed; its answers are played from a list."""

from __future__ import annotations

import pytest
from modelfleet.errors import DeadlineExceeded, InvalidInput, SourceForbidden
from modelfleet.pull_asking import LOOK_TIMEOUT_S, Answer, Asking, progress_line
from modelfleet.pull_status import PullerStatus, PullState, VersionReport
from modelfleet.waiting import Clock, Deadline

A3 = ("a", 3)
FORBIDDEN = {"state": PullState.REFUSED, "code": "FORBIDDEN", "message": "may not be read", "remedy": "grant it"}


def report(state=PullState.COMPLETE, model="a", version=3, **more):
    return VersionReport(model=model, version=version, state=state, **more)


class Time:
    """A clock whose time passes by sleeping alone."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        assert seconds > 0, "a wait that does not wait"
        self.now += seconds

    @property
    def clock(self):
        return Clock(lambda: self.now, self.sleep)


class PlayedPuller:
    """Gives one status after the other, the last one for ever; a look ends with every status that says so."""

    url = "http://127.0.0.1:8001"

    def __init__(self, *statuses):
        self._statuses = [status if isinstance(status, PullerStatus) else told(*status) for status in statuses]
        self.syncs = 0

    def status(self):
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    def sync(self):
        self.syncs += 1


def told(passes, *reports, **more):
    return PullerStatus(node="n", source="/r", passes=passes, versions=reports, **more)


def ask(puller, *, missing=(A3,), attempts=3, turn=1000.0, time=None):
    time = time or Time()
    return Asking(puller, missing, attempts, time.clock).wait(Deadline(turn, time.clock))


def test_versions_on_their_way_are_waited_for_without_another_word():
    puller = PlayedPuller(
        (5, report(PullState.WAITING)), (5, report(PullState.PULLING)), (5, report(PullState.VERIFYING)), (5, report())
    )
    assert ask(puller) == Answer()
    assert puller.syncs == 0


def test_a_version_that_the_puller_has_not_seen_yet_is_asked_for():
    puller = PlayedPuller((5,), (5,), (6, report(PullState.PULLING)), (6, report()))
    assert ask(puller) == Answer()
    assert puller.syncs == 1


def test_a_version_that_was_deleted_under_a_puller_that_takes_it_for_complete_is_asked_for():
    puller = PlayedPuller((5, report()), (5, report()), (6, report(PullState.WAITING)), (6, report()))
    assert ask(puller) == Answer()
    assert puller.syncs == 1


def test_a_refusal_is_believed_after_a_look_that_began_later():
    before = report(**FORBIDDEN)
    puller = PlayedPuller((5, before), (6, before), (7, report(PullState.WAITING)), (7, report()))
    assert ask(puller) == Answer()
    stubborn = PlayedPuller((5, before), (6, before), (6, before), (7, before))
    answer = ask(stubborn)
    assert stubborn.syncs == 2
    assert answer.unfinished == ()
    error = answer.failed[A3]
    assert error.code == "FORBIDDEN"
    assert error.one_line() == "model a version 3: may not be read; grant it"


def test_a_problem_of_the_whole_model_is_that_of_its_versions():
    puller = PlayedPuller(*[(passes, report(version=0, **FORBIDDEN)) for passes in (5, 6, 7)])
    assert ask(puller).failed[A3].code == "FORBIDDEN"


def test_a_version_that_the_puller_never_wants_fails_with_the_reason():
    answer = ask(PlayedPuller((5,), (6,), (7,)))
    assert "is not wanted by the puller http://127.0.0.1:8001" in answer.failed[A3].one_line()


def test_failures_that_may_pass_are_waited_for_so_many_times():
    def failed(attempt):
        return report(PullState.RETRYING, attempt=attempt, code="UNAVAILABLE", message="503")

    recovered = PlayedPuller((5, report(PullState.PULLING)), (5, failed(1)), (5, failed(2)), (5, report()))
    assert ask(recovered) == Answer()
    lost = PlayedPuller((5, report(PullState.PULLING)), (5, failed(2)), (5, failed(3)), (6, failed(4)), (7, failed(5)))
    assert ask(lost).failed[A3].code == "UNAVAILABLE"
    late = PlayedPuller((5, failed(9)), (6, failed(9)), (6, report()))
    assert ask(late) == Answer(), "a version that had failed for long gets one more attempt"


def test_when_the_turn_is_over_what_is_on_its_way_is_told():
    puller = PlayedPuller((5, report(PullState.PULLING, bytes_done=1)))
    time = Time()
    answer = ask(puller, turn=2.0, time=time)
    assert [item.bytes_done for item in answer.unfinished] == [1]
    assert 2.0 <= time.now < 2.5


def test_a_look_is_waited_for_beyond_the_turn_but_not_for_ever():
    slow = PlayedPuller((5,), *[(5,)] * 50, (6, report()))
    assert ask(slow, turn=0.5) == Answer()
    time = Time()
    with pytest.raises(DeadlineExceeded, match="does not look"):
        ask(PlayedPuller((5,)), turn=0.5, time=time)
    assert LOOK_TIMEOUT_S <= time.now < LOOK_TIMEOUT_S + 1


def test_a_paused_puller_is_named():
    with pytest.raises(InvalidInput, match=r"paused .* POST /resume"):
        ask(PlayedPuller(told(5, report(PullState.WAITING), paused=True)))


def test_what_keeps_the_puller_from_looking_is_the_reason():
    error = SourceForbidden("gs://bucket", "may not be listed", "grant it").as_dict()
    with pytest.raises(SourceForbidden, match="gs://bucket: may not be listed"):
        ask(PlayedPuller(*[told(passes, error=error) for passes in (5, 6, 7)]))


def test_progress_is_one_line_of_amounts_names_and_troubles():
    pulling = report(PullState.PULLING, bytes_done=512 << 20, bytes_total=1 << 30, bytes_per_s=float(64 << 20))
    assert progress_line([pulling]) == ("1 version on the way, 512 MiB of 1 GiB (50 %), 64 MiB/s, about 8 s left: a 3")
    waiting = [report(PullState.WAITING, model=name) for name in "bcde"]
    assert progress_line(waiting) == "4 versions on the way: b 3, c 3, d 3 and 1 more"
    retrying = report(PullState.RETRYING, message="gs://b: answers 503", next_retry_s=4.2)
    assert progress_line([retrying]).endswith(": a 3; a 3 is tried again in 4 s: gs://b: answers 503")
