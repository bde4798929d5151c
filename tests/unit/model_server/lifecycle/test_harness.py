"""Attempts to load: how many, how long apart, and what is said about them."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from modelfleet_services.model_server.lifecycle.harness import Harness, HarnessState, Retrier
from modelfleet_services.model_server.lifecycle.states import ServableId
from modelfleet_services.model_server.rpc_status import Code, StatusError

LOG = logging.getLogger("harness")


class Failing:
    def __init__(self, failures, then=None):
        self.failures, self.calls, self.then = failures, 0, then

    def __call__(self, *_):
        self.calls += 1
        if self.then and self.calls == self.failures:
            self.then()
        if self.calls <= self.failures:
            raise StatusError(Code.NOT_FOUND, f"attempt {self.calls}")
        return self

    def close(self):
        raise OSError("cannot be freed")


def retrier(retries=3, interval_s=0.0, stopping=None):
    return Retrier(retries, interval_s, stopping or threading.Event(), LOG)


def test_the_last_error_counts_and_every_attempt_is_logged(caplog):
    attempt = Failing(99)
    with caplog.at_level(logging.INFO), pytest.raises(StatusError, match="NOT_FOUND: attempt 3"):
        retrier(2).run("Loading servable: {name: m version: 1}", attempt, lambda: False)
    assert caplog.messages == [
        "Loading servable: {name: m version: 1} failed: NOT_FOUND: attempt 1",
        "Retrying of Loading servable: {name: m version: 1} retry: 1",
        "Loading servable: {name: m version: 1} failed: NOT_FOUND: attempt 2",
        "Retrying of Loading servable: {name: m version: 1} retry: 2",
        "Loading servable: {name: m version: 1} failed: NOT_FOUND: attempt 3",
        "Retrying of Loading servable: {name: m version: 1} exhausted max_num_retries: 2",
    ]


def test_a_pause_already_begun_is_slept_out_and_followed_by_one_more_attempt():
    attempt = Failing(99)
    started = time.monotonic()
    cancelled = iter([False, True])
    with pytest.raises(StatusError, match="attempt 2"):
        retrier(5, 0.05).run("x", attempt, lambda: next(cancelled))
    assert attempt.calls == 2
    assert time.monotonic() - started >= 0.05


def test_a_stop_ends_a_pause_and_the_attempts():
    stopping = threading.Event()
    attempt = Failing(1, then=stopping.set)
    with pytest.raises(StatusError, match="attempt 1"):
        retrier(5, 60.0, stopping).run("x", attempt, lambda: False)
    assert attempt.calls == 1


def test_a_loader_that_breaks_its_promise_counts_as_a_failed_attempt():
    harness = Harness(ServableId("m", 1), "/m/1")

    def load(*_):
        raise KeyError("boom")

    with pytest.raises(StatusError, match="INTERNAL: KeyError: 'boom'"):
        harness.load(load, retrier(1), LOG)


def test_a_version_that_fails_to_close_is_freed_all_the_same(caplog):
    harness = Harness(ServableId("m", 1), "/m/1")
    harness.load(Failing(0), retrier(), LOG)
    assert harness.state is HarnessState.READY
    harness.free(LOG)
    assert harness.servable is None
    assert "Servable version {name: m version: 1} failed to close" in caplog.messages
