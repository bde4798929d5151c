"""Requests hold what they got; swaps wait for them."""

from __future__ import annotations

import threading

import pytest
from modelfleet_services.model_server.lifecycle.serving_map import ServingMap
from modelfleet_services.model_server.lifecycle.states import ServableId
from modelfleet_services.model_server.rpc_status import StatusError

DEADLINE_S = 5


@pytest.fixture
def served():
    served = ServingMap()
    assert served.replace({ServableId("m", 10): "ten", ServableId("m", 9): "nine", ServableId("n", 1): "one"})
    return served


def test_the_highest_number_is_the_latest(served):
    with served.acquire("m", None) as ten, served.acquire("m", 9) as nine:
        assert ten == ("m", 10, "ten")
        assert nine == ("m", 9, "nine")


def test_a_swap_waits_for_every_request_of_the_old_table_and_for_no_later_one(served):
    swapped = threading.Event()
    old, other = served.acquire("m", 10), served.acquire("n", 1)
    old.__enter__()
    other.__enter__()
    swap = threading.Thread(target=lambda: served.replace({ServableId("m", 11): "eleven"}) and swapped.set())
    swap.start()
    while True:
        with served.acquire("m", None) as (_, version, _):
            if version == 11:
                break
    later = served.acquire("m", 11)
    later.__enter__()
    old.__exit__(None, None, None)
    assert not swapped.wait(0.05)
    other.__exit__(None, None, None)
    assert swapped.wait(DEADLINE_S)
    later.__exit__(None, None, None)
    swap.join()


def test_a_request_that_fails_lets_go(served):
    with pytest.raises(ZeroDivisionError), served.acquire("m", None):
        _ = 1 / 0
    assert served.replace({})


def test_an_unserved_version_holds_nothing(served):
    with pytest.raises(StatusError, match=r"Specific\(m, 3\)"), served.acquire("m", 3):
        pass
    assert served.replace({})


def test_abandoned_waits_end_and_say_so(served):
    with served.acquire("m", None):
        served.abandon_waits()
        assert not served.replace({})
        assert not served.clear(0.01)
    assert served.clear(DEADLINE_S)
