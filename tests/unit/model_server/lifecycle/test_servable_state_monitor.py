"""What ends a wait for models, and what is remembered."""

from __future__ import annotations

import threading

import pytest
from modelfleet_services.model_server.lifecycle.events import EventBus
from modelfleet_services.model_server.lifecycle.servable_state_monitor import ServableStateMonitor, require_available
from modelfleet_services.model_server.lifecycle.states import ManagerState, ServableId, ServableState
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import Background, settle

START, AVAILABLE, UNLOADING, END = ManagerState.START, ManagerState.AVAILABLE, ManagerState.UNLOADING, ManagerState.END


@pytest.fixture
def bus():
    return EventBus()


@pytest.fixture
def monitor(bus):
    return ServableStateMonitor(bus)


@pytest.fixture
def waiting(monitor):
    """Wait for models a and b on another thread."""
    reached = []
    wait = Background(lambda: reached.extend(monitor.wait_until_available_or_ended(["b", "a"])))
    wait.reached = reached
    while not monitor._waits:
        threading.Event().wait(0.001)
    yield wait
    monitor.stop()


def publish(bus, name, version, state, error=None):
    bus.publish(ServableState(ServableId(name, version), state, error))


def test_of_several_settled_versions_the_highest_counts(bus, waiting):
    publish(bus, "a", 1, AVAILABLE)
    publish(bus, "a", 2, END)
    publish(bus, "a", 3, START)
    publish(bus, "b", 1, END)
    waiting.result()
    assert [state.id for state in waiting.reached] == [("a", 2), ("b", 1)]


def test_all_models_have_to_be_settled_at_one_moment(bus, waiting):
    publish(bus, "a", 1, AVAILABLE)
    publish(bus, "a", 1, UNLOADING)
    publish(bus, "b", 1, AVAILABLE)
    settle()
    assert not waiting.done
    publish(bus, "a", 1, END)
    waiting.result()


def test_a_state_that_passes_at_once_is_not_missed(bus, waiting):
    publish(bus, "b", 1, AVAILABLE)
    publish(bus, "a", 1, END)
    publish(bus, "a", 1, START)
    waiting.result()
    assert [state.state for state in waiting.reached] == [END, AVAILABLE]


def test_what_was_settled_before_counts_and_no_models_are_no_wait(bus, monitor):
    publish(bus, "a", 1, AVAILABLE)
    assert [state.id for state in monitor.wait_until_available_or_ended(["a"])] == [("a", 1)]
    assert monitor.wait_until_available_or_ended([]) == []


def test_a_stop_releases_the_waits_of_now_and_later(monitor, waiting):
    monitor.stop()
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        waiting.result()
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        monitor.wait_until_available_or_ended(["a"])


def test_a_fresh_monitor_knows_nothing_of_before_and_listens_no_more_after(bus, monitor):
    publish(bus, "a", 1, AVAILABLE)
    with ServableStateMonitor(bus) as fresh:
        publish(bus, "a", 2, AVAILABLE)
    publish(bus, "a", 3, AVAILABLE)
    assert set(fresh.versions("a")) == {2}
    assert set(monitor.versions("a")) == {1, 2, 3}


def test_only_what_is_not_available_is_named():
    error = StatusError(Code.DATA_LOSS, "torn")
    states = [
        ServableState(ServableId("a", 1), AVAILABLE),
        ServableState(ServableId("b", 2), END),
        ServableState(ServableId("c", 3), END, error),
    ]
    require_available(states[:1], "model(s)")
    with pytest.raises(StatusError) as failure:
        require_available(states, "model(s)")
    assert failure.value.code is Code.UNKNOWN
    assert failure.value.message == (
        "2 model(s) did not become available: "
        "{{{name: b version: 2}}, {{name: c version: 3} due to error: DATA_LOSS: torn}, }"
    )
