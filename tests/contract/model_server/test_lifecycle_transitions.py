"""Version transitions: order, availability, retries, and lists that are parked."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.rpc_status import StatusError

from tests.support.lifecycle_lab import eventually, settle


@pytest.fixture
def serving(make_lab):
    """Return a maker of a lab that serves versions of model m, by policy specific."""

    def make(*versions, laid=(1, 2, 3), **options):
        lab = make_lab(**{"num_load_threads": 2, "num_unload_threads": 1, "max_num_load_retries": 0, **options})
        lab.lay("m", *laid)
        lab.start(lab.model("m", specific=versions))
        lab.until_serving("m", *versions)
        lab.events.clear()
        return lab

    return make


def want(lab, *versions):
    lab.reload(lab.model("m", specific=versions))


def told(lab):
    """Return the refusal of a request, if it is refused."""
    try:
        lab.served("m")
    except StatusError as error:
        return error.message


def test_from_1_to_2_loads_before_it_unloads(serving):
    lab = serving(1)
    want(lab, 2)
    lab.until_state("m", 1, "END")
    assert lab.events == [("load", "m", 2), ("close", "m", 1)]


def test_from_1_to_2_keeps_1_while_2_loads_and_when_it_fails(serving):
    lab = serving(1)
    gate = lab.gate("m", 2)
    lab.fail("m", 2)
    want(lab, 2)
    lab.until_state("m", 2, "LOADING")
    assert lab.served("m") == 1
    gate.set()
    lab.until_state("m", 2, "END")
    settle()
    assert lab.served("m") == 1


def test_from_1_2_to_2_3_unloads_1_before_3_loads(serving):
    lab = serving(1, 2)
    want(lab, 2, 3)
    lab.until_serving("m", 2, 3)
    assert lab.events == [("close", "m", 1), ("load", "m", 3)]


def test_from_1_2_to_3_unloads_1_first_and_2_when_3_is_ready(serving):
    lab = serving(1, 2)
    gate = lab.gate("m", 3)
    want(lab, 3)
    lab.until_state("m", 1, "END")
    lab.until_state("m", 3, "LOADING")
    settle()
    assert lab.serving("m") == {2}
    gate.set()
    lab.until_state("m", 2, "END")
    assert lab.events == [("close", "m", 1), ("load", "m", 3), ("close", "m", 2)]


def test_several_wanted_versions_load_highest_first(serving):
    lab = serving(1, num_load_threads=1, laid=(1, 2, 3, 4))
    want(lab, 1, 2, 3, 4)
    lab.until_serving("m", 1, 2, 3, 4)
    assert [version for _, version in lab.attempts[1:]] == [4, 3, 2]


def test_a_failing_version_looks_like_a_loading_one_until_retries_are_exhausted(serving):
    lab = serving(1, max_num_load_retries=3, load_retry_interval_s=0.2)
    lab.fail("m", 2)
    want(lab, 1, 2)
    eventually(lambda: lab.attempts.count(("m", 2)) >= 2, "a retry")
    report = lab.core.statuses("m", 2)[0]
    assert (report.state, report.error_code, report.error_message) == (20, 0, "")
    lab.until_state("m", 2, "END")
    report = lab.core.statuses("m", 2)[0]
    assert (report.error_code, report.error_message) == (5, "no SavedModel of m 2")
    assert lab.attempts.count(("m", 2)) == 4


def test_a_retry_may_succeed(serving):
    lab = serving(1, max_num_load_retries=2)
    lab.fail("m", 2, attempts=2)
    want(lab, 1, 2)
    lab.until_serving("m", 1, 2)
    assert lab.attempts.count(("m", 2)) == 3


def test_a_negative_interval_retries_without_a_pause(serving):
    lab = serving(1, max_num_load_retries=50, load_retry_interval_s=-1)
    lab.fail("m", 2)
    want(lab, 1, 2)
    lab.until_state("m", 2, "END")
    assert lab.attempts.count(("m", 2)) == 51


def test_a_failed_version_is_not_retried_until_it_was_unwanted(serving):
    lab = serving(1)
    lab.fail("m", 2)
    want(lab, 1, 2)
    lab.until_state("m", 2, "END")
    lab.failures.clear()
    want(lab, 1, 2)
    settle()
    assert lab.states("m")[2] == "END"
    assert lab.attempts.count(("m", 2)) == 1

    want(lab, 1)
    lab.until_forgotten("m", 2)
    want(lab, 1, 2)
    lab.until_serving("m", 1, 2)


def test_a_new_number_works_beside_a_failed_one(serving):
    lab = serving(1)
    lab.fail("m", 2)
    want(lab, 1, 2)
    lab.until_state("m", 2, "END")
    want(lab, 1, 2, 3)
    lab.until_serving("m", 1, 3)


def test_a_dropped_version_that_fails_on_is_tried_no_further(serving):
    lab = serving(1, max_num_load_retries=1000, load_retry_interval_s=0.02)
    lab.fail("m", 2)
    want(lab, 1, 2)
    eventually(lambda: lab.attempts.count(("m", 2)) >= 2, "a retry")
    want(lab, 1)
    lab.until_state("m", 2, "END")
    assert lab.core.statuses("m", 2)[0].error_message == "no SavedModel of m 2"
    count = lab.attempts.count(("m", 2))
    settle()
    assert lab.attempts.count(("m", 2)) == count < 500


def test_a_dropped_version_that_loads_after_all_ends_as_cancelled_and_is_freed(serving):
    lab = serving(1)
    gate = lab.gate("m", 2)
    want(lab, 1, 2)
    lab.until_state("m", 2, "LOADING")
    want(lab, 1)
    lab.until_dropped("m", 2)
    gate.set()
    lab.until_state("m", 2, "END")
    report = lab.core.statuses("m", 2)[0]
    assert (report.error_code, report.error_message) == (1, "Loading of servable cancelled")
    assert lab.events == [("load", "m", 2), ("close", "m", 2)]


def test_without_load_threads_a_drop_is_not_noticed_before_retries_are_exhausted(serving):
    lab = serving(1, num_load_threads=0, max_num_load_retries=20, load_retry_interval_s=0.02)
    lab.fail("m", 2)
    want(lab, 1, 2)
    eventually(lambda: lab.attempts.count(("m", 2)) >= 1, "an attempt")
    want(lab, 1)
    lab.until_state("m", 2, "END")
    assert lab.attempts.count(("m", 2)) == 21


def test_without_load_threads_one_bad_model_stops_loads_unloads_and_switches_of_every_model(make_lab):
    lab = make_lab(num_load_threads=0, max_num_load_retries=1)
    lab.lay("bad", 1, 2), lab.lay("good", 1, 2), lab.lay("gone", 1)
    lab.start(lab.model("bad", specific=[1]), lab.model("good", specific=[1]), lab.model("gone"))
    stuck = lab.gate("bad", 2)
    lab.fail("bad", 2)
    lab.reload(lab.model("bad", specific=[1, 2]), lab.model("good", specific=[1]), lab.model("gone"))
    lab.until_state("bad", 2, "LOADING")
    lab.reload(lab.model("bad", specific=[1, 2]), lab.model("good", specific=[2]))
    settle()
    assert lab.states("good") == {1: "AVAILABLE"}
    assert lab.states("gone") == {1: "AVAILABLE"}
    assert lab.served("good") == 1
    stuck.set()
    lab.until_serving("good", 2)
    lab.until_state("gone", 1, "END")


def test_with_a_load_thread_more_than_bad_models_others_go_on(make_lab):
    lab = make_lab(num_load_threads=2, max_num_load_retries=0)
    lab.lay("bad", 1, 2), lab.lay("good", 1, 2)
    lab.start(lab.model("bad", specific=[1]), lab.model("good", specific=[1]))
    stuck = lab.gate("bad", 2)
    lab.reload(lab.model("bad", specific=[1, 2]), lab.model("good", specific=[2]))
    lab.until_serving("good", 2)
    assert lab.states("bad")[2] == "LOADING"
    stuck.set()


def test_a_load_that_waits_for_a_thread_is_in_state_start(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.lay("m", 1, 2, 3)
    lab.start(lab.model("m", specific=[1]))
    gate = lab.gate("m", 3)
    lab.reload(lab.model("m", specific=[1, 2, 3]))
    lab.until_state("m", 3, "LOADING")
    settle()
    assert lab.states("m")[2] == "START"
    gate.set()
    lab.until_serving("m", 1, 2, 3)


class TestRewantTrap:
    """Version 1 serves, the list changed to {2}, and 2 fails: 1 lives on, unwanted."""

    @pytest.fixture
    def trapped(self, serving):
        lab = serving(1, laid=(1, 2, 3))
        lab.fail("m", 2)
        want(lab, 2)
        lab.until_state("m", 2, "END")
        settle()
        return lab

    def test_going_back_to_1_is_parked_for_ever_and_looks_fine(self, trapped):
        want(trapped, 1)
        settle()
        assert trapped.states("m") == {1: "AVAILABLE", 2: "END"}
        # The proof that {1} was not taken over: 2 counts as wanted still, and is not tried again when it is listed.
        trapped.failures.clear()
        want(trapped, 2)
        settle()
        assert trapped.attempts.count(("m", 2)) == 1

    def test_2_again_after_a_repair_has_no_effect(self, trapped):
        trapped.failures.clear()
        want(trapped, 2)
        settle()
        assert trapped.states("m") == {1: "AVAILABLE", 2: "END"}
        assert trapped.attempts.count(("m", 2)) == 1

    def test_1_and_3_is_parked_for_ever_so_3_never_loads(self, trapped):
        want(trapped, 1, 3)
        settle()
        assert trapped.states("m") == {1: "AVAILABLE", 2: "END"}

    def test_1_and_2_is_parked_for_ever(self, trapped):
        trapped.failures.clear()
        want(trapped, 1, 2)
        settle()
        assert trapped.attempts.count(("m", 2)) == 1
        assert trapped.serving("m") == {1}

    def test_going_back_does_not_cancel_a_retry_under_way(self, serving):
        lab = serving(1, max_num_load_retries=30, load_retry_interval_s=0.02)
        lab.fail("m", 2)
        want(lab, 2)
        eventually(lambda: lab.attempts.count(("m", 2)) >= 2, "a retry")
        want(lab, 1)
        lab.until_state("m", 2, "END")
        assert lab.attempts.count(("m", 2)) == 31

    def test_a_list_of_3_alone_gets_out(self, trapped):
        want(trapped, 1)
        settle()
        want(trapped, 3)
        trapped.until_serving("m", 3)

    def test_emptying_the_list_gets_out_with_an_outage(self, trapped):
        want(trapped)
        trapped.until_state("m", 1, "END")
        want(trapped, 1)
        trapped.until_serving("m", 1)

    def test_the_safe_pattern_keeps_the_serving_version_listed_and_can_retry(self, serving):
        lab = serving(1)
        lab.fail("m", 2)
        want(lab, 1, 2)
        lab.until_state("m", 2, "END")
        want(lab, 1)
        lab.until_forgotten("m", 2)
        lab.failures.clear()
        want(lab, 1, 2)
        lab.until_serving("m", 1, 2)
        want(lab, 2)
        lab.until_state("m", 1, "END")
        assert lab.serving("m") == {2}


class TestRequestsUnderWay:
    """A swap waits for every request that began before it."""

    def test_a_request_finishes_on_the_version_it_started_with_and_delays_the_swap(self, serving):
        lab = serving(1)
        with lab.core.acquire(lab.spec("m")) as (name, version, servable):
            want(lab, 2)
            eventually(lambda: lab.served("m") == 2, "new requests reaching 2")
            settle()
            # Reachable, but not published before the request is done; and 1 is not freed.
            assert lab.states("m") == {1: "AVAILABLE", 2: "LOADING"}
            assert (name, version, servable.closed) == ("m", 1, False)
        lab.until_state("m", 1, "END")
        assert servable.closed
        assert lab.serving("m") == {2}

    def test_one_request_of_one_model_stalls_the_others_loads_and_unloads_but_no_requests(self, make_lab):
        lab = make_lab(num_load_threads=2, num_unload_threads=2)
        for name in "abc":
            lab.lay(name, 1, 2)
        lab.start(*(lab.model(name, specific=[1]) for name in "abc"))
        with lab.core.acquire(lab.spec("a")):
            lab.reload(lab.model("a", specific=[1]), lab.model("b", specific=[2]), lab.model("c", specific=[2]))
            settle()
            assert "AVAILABLE" not in (lab.states("b").get(2), lab.states("c").get(2))
            assert lab.states("b")[1] == lab.states("c")[1] == "AVAILABLE"
            assert lab.served("c", version=1) == 1
        lab.until_serving("b", 2)
        lab.until_serving("c", 2)

    def test_an_unload_waits_for_requests_in_state_unloading_and_new_ones_are_turned_away(self, serving):
        lab = serving(1)
        with lab.core.acquire(lab.spec("m")) as (_, _, servable):
            lab.reload()
            lab.until_state("m", 1, "UNLOADING")
            eventually(lambda: told(lab) == "Servable not found for request: Latest(m)", "the version out of reach")
            settle()
            assert not servable.closed
        lab.until_state("m", 1, "END")
        assert servable.closed

    def test_stop_leaves_alone_what_a_request_still_uses(self, serving, monkeypatch):
        monkeypatch.setattr("modelfleet_services.model_server.lifecycle.server_core._STOP_S", 0.1)
        lab = serving(1)
        with lab.core.acquire(lab.spec("m")) as (_, _, servable):
            lab.core.stop()
            assert not servable.closed

    def test_stop_leaves_alone_what_a_request_still_uses_while_it_unloads(self, serving, monkeypatch):
        monkeypatch.setattr("modelfleet_services.model_server.lifecycle.server_core._STOP_S", 0.1)
        lab = serving(1)
        with lab.core.acquire(lab.spec("m")) as (_, _, servable):
            lab.reload()
            lab.until_state("m", 1, "UNLOADING")
            lab.core.stop()
            # The unload gave up its wait for the request, and with it the version.
            assert lab.core._basic._unload_executor.close(5)
            assert not servable.closed

    def test_a_load_that_ends_after_the_stop_is_freed(self, serving, monkeypatch):
        monkeypatch.setattr("modelfleet_services.model_server.lifecycle.server_core._STOP_S", 0.1)
        lab = serving(1)
        gate = lab.gate("m", 2)
        want(lab, 1, 2)
        lab.until_state("m", 2, "LOADING")
        lab.core.stop()
        gate.set()
        eventually(lambda: ("close", "m", 2) in lab.events, "the late version freed")
