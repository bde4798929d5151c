"""A puller is asked, waited for and believed; its answers are played from a list."""

from __future__ import annotations

import pytest
from modelfleet.adapters.repository import RemoteObject
from modelfleet.desired import Desired
from modelfleet.errors import DeadlineExceeded, InvalidInput, SourceForbidden, SourceIncomplete
from modelfleet.pull_asking import LOOK_TIMEOUT_S, Answer, Asking, bring, progress_line
from modelfleet.pull_plan import Kind, Preparation, PullItem, PullPlan, Refusal
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
    """Gives one status after the other, the last one for ever."""

    url = "http://127.0.0.1:8001"

    def __init__(self, *statuses):
        self._statuses = [status if isinstance(status, PullerStatus) else told(*status) for status in statuses]
        self.syncs = 0
        self.looks = 0

    def status(self):
        self.looks += 1
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    def sync(self):
        self.syncs += 1


def told(passes, *reports, **more):
    return PullerStatus(node="n", source="/r", passes=passes, versions=reports, **more)


def ask(puller, *, missing=(A3,), turn=1000.0, time=None):
    time = time or Time()
    return Asking(puller, missing, time.clock).wait(Deadline(turn, time.clock))


def test_versions_on_their_way_are_waited_for_without_another_word():
    states = (PullState.WAITING, PullState.PULLING, PullState.RETRYING, PullState.VERIFYING, PullState.COMPLETE)
    puller = PlayedPuller(*[(5, report(state)) for state in states])
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


def test_a_refusal_without_an_attempt_is_believed_after_a_second_look():
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


def test_a_refusal_after_attempts_that_were_asked_for_is_believed_at_once():
    puller = PlayedPuller((5, report(PullState.PULLING)), (5, report(**FORBIDDEN, attempt=5)))
    assert ask(puller).failed[A3].code == "FORBIDDEN"
    assert puller.syncs == 0
    old = report(**FORBIDDEN, attempt=5)
    asked = PlayedPuller((5, old), (6, report(PullState.WAITING)), (6, old))
    assert ask(asked).failed[A3].code == "FORBIDDEN"
    assert asked.syncs == 1


def test_a_problem_of_the_whole_model_is_that_of_its_versions():
    puller = PlayedPuller(*[(passes, report(version=0, **FORBIDDEN)) for passes in (5, 6, 7)])
    assert ask(puller).failed[A3].code == "FORBIDDEN"


def test_a_version_that_the_puller_never_wants_fails_with_the_reason():
    answer = ask(PlayedPuller((5,), (6,), (7,)))
    assert "is not wanted by the puller http://127.0.0.1:8001" in answer.failed[A3].one_line()


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


def test_what_keeps_the_puller_from_looking_is_the_reason_unless_bytes_arrive():
    error = SourceForbidden("gs://bucket", "may not be listed", "grant it").as_dict()
    for reports in ((), (report(PullState.WAITING),)):
        with pytest.raises(SourceForbidden, match="gs://bucket: may not be listed"):
            ask(PlayedPuller(*[told(passes, *reports, error=error) for passes in (6, 7, 8)]))
    moving = told(6, report(PullState.PULLING), error=error)
    assert ask(PlayedPuller(moving, moving, told(7, report()))) == Answer()


def item(version, kind=Kind.PULL):
    return PullItem("a", version, (RemoteObject("saved_model.pb", 7, "1"),), kind)


class PlayedLooks:
    """What looks at a node show, one after the other, the last one for ever."""

    def __init__(self, *plans):
        self._plans = list(plans)

    def __call__(self):
        plan = self._plans.pop(0) if len(self._plans) > 1 else self._plans[0]
        return Preparation(Desired({}), plan)


def plan(*versions, refused=()):
    return PullPlan(tuple(item(version) for version in versions), refused=tuple(refused))


def brought(puller, *plans, turn=0.0):
    return bring(puller, PlayedLooks(*plans), turn, Time().clock)


def test_nobody_is_asked_while_nothing_is_missing():
    puller = PlayedPuller(told(1, error={"code": "X"}))
    result = brought(puller, plan())
    assert (result.pulled, result.refused, result.unfinished) == ((), (), ())
    assert puller.looks == 0


def test_what_the_puller_brings_is_told():
    puller = PlayedPuller((1, report(PullState.PULLING)), (1, report()))
    result = brought(puller, plan(3), plan())
    assert [(pulled.version, pulled.bytes) for pulled in result.pulled] == [(3, 7)]
    assert result.refused == ()


def test_the_version_that_takes_the_place_of_an_unsound_one_is_waited_for():
    unsound = Refusal("a", 3, SourceIncomplete("model a version 3", "is incomplete"), "f")
    refused = report(**FORBIDDEN, attempt=1)
    puller = PlayedPuller((1, report(PullState.PULLING)), (1, refused), (1, refused), (2, refused, report(version=2)))
    result = brought(puller, plan(3), plan(2, refused=[unsound]), plan(refused=[unsound]))
    assert [pulled.version for pulled in result.pulled] == [2]
    assert result.refused == (unsound,)


def test_a_version_that_does_not_come_is_refused_for_the_puller_s_reason():
    puller = PlayedPuller((1, report(PullState.PULLING)), (1, report(**FORBIDDEN, attempt=5)))
    result = brought(puller, plan(3))
    assert result.pulled == ()
    assert [refusal.error.code for refusal in result.refused] == ["FORBIDDEN"]


def test_a_version_that_is_on_its_way_after_the_turn_is_neither_here_nor_refused():
    result = brought(PlayedPuller((1, report(PullState.PULLING))), plan(3), turn=1.0)
    assert (result.pulled, result.refused) == ((), ())
    assert [item.version for item in result.unfinished] == [3]


def test_a_puller_of_another_store_is_found_out():
    result = brought(PlayedPuller(*[(passes, report()) for passes in range(1, 9)]), plan(3))
    assert "not in this store" in result.refused[0].error.one_line()


def test_versions_whose_source_was_touched_are_left_to_the_puller():
    puller = PlayedPuller((1, report()), (2, report()))
    touched = PullPlan(comparisons=(item(3, Kind.COMPARE),))
    result = brought(puller, touched)
    assert puller.syncs == 1
    assert (result.pulled, result.refused) == ((), ())


def test_progress_is_one_line_of_amounts_names_and_troubles():
    pulling = report(PullState.PULLING, bytes_done=512 << 20, bytes_total=1 << 30, bytes_per_s=float(64 << 20))
    assert progress_line([pulling]) == ("1 version on the way, 512 MiB of 1 GiB (50 %), 64 MiB/s, about 8 s left: a 3")
    waiting = [report(PullState.WAITING, model=name) for name in "bcde"]
    assert progress_line(waiting) == "4 versions on the way: b 3, c 3, d 3 and 1 more"
    retrying = report(PullState.RETRYING, message="gs://b: answers 503", next_retry_s=4.2)
    assert progress_line([retrying]).endswith(": a 3; a 3 is tried again in 4 s: gs://b: answers 503")
