"""Random histories of wanted lists, failures and ticks, against what must hold at every step."""

from __future__ import annotations

import contextlib
import logging
import random
import threading

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from modelfleet_services.model_server.lifecycle.aspired_versions_manager import AspiredVersionsManager
from modelfleet_services.model_server.lifecycle.basic_manager import BasicManager
from modelfleet_services.model_server.lifecycle.events import EventBus
from modelfleet_services.model_server.lifecycle.harness import HarnessState, Retrier
from modelfleet_services.model_server.lifecycle.states import ManagerState, ServableId
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import Lab

MODELS = ("a", "b")
VERSIONS = (1, 2, 3, 4)
START, LOADING, AVAILABLE, UNLOADING, END = (
    ManagerState.START,
    ManagerState.LOADING,
    ManagerState.AVAILABLE,
    ManagerState.UNLOADING,
    ManagerState.END,
)
FOLLOWS = {
    None: {START},
    # START again: dropped before its load began, which nobody is told, and wanted anew.
    START: {START, LOADING, END},
    LOADING: {AVAILABLE, END},
    AVAILABLE: {UNLOADING},
    UNLOADING: {END},
    END: {START},
}


class Version:
    def __init__(self):
        self.closed = False

    def close(self):
        assert not self.closed
        self.closed = True


class Histories(RuleBasedStateMachine):
    """Drives the manager by hand, everything inline, so that each history is one exact sequence."""

    def __init__(self):
        super().__init__()
        log = logging.getLogger("histories")
        stopping = threading.Event()
        bus = EventBus()
        self.last = {}
        bus.subscribe(self.on_event)
        self.basic = BasicManager(
            load=self.load,
            estimate=self.estimate,
            bus=bus,
            retrier=Retrier(0, 0.0, stopping, log),
            load_threads=0,
            unload_threads=0,
            stopping=stopping,
            log=log,
        )
        self.manager = AspiredVersionsManager(self.basic, tick_s=1.0, stopping=stopping, log=log)
        self.broken = set()
        self.loads = []
        self.wanted = {}
        self.served_before = {}

    def load(self, name, version, path):
        assert path == f"/{name}/{version}"
        self.loads.append(ServableId(name, version))
        if (name, version) in self.broken:
            raise StatusError(Code.NOT_FOUND, "broken")
        return Version()

    def estimate(self, path):
        _, name, version = path.split("/")
        if (name, int(version), "estimate") in self.broken:
            raise StatusError(Code.NOT_FOUND, "vanished")
        return 1

    def on_event(self, event):
        before = self.last.get(event.id)
        assert event.state in FOLLOWS[before], f"{event.id}: {before} -> {event.state}"
        self.last[event.id] = event.state

    def harnesses(self, name):
        return self.basic.managed().get(name, [])

    def serving(self, name):
        return {harness.id.version for harness in self.harnesses(name) if harness.state is HarnessState.READY}

    def reachable(self, name):
        found = set()
        for version in VERSIONS:
            with (
                contextlib.suppress(StatusError),
                self.basic.serving_map.acquire(name, version) as (_, _, servable),
            ):
                assert not servable.closed
                found.add(version)
        return found

    @rule(name=st.sampled_from(MODELS), versions=st.sets(st.sampled_from(VERSIONS)))
    def want(self, name, versions):
        self.wanted[name] = versions
        self.manager.set_wanted(name, {version: f"/{name}/{version}" for version in versions})

    @rule(name=st.sampled_from(MODELS), version=st.sampled_from(VERSIONS), estimate=st.booleans())
    def break_version(self, name, version, estimate):
        self.broken.add((name, version, "estimate") if estimate else (name, version))

    @rule()
    def repair_all(self):
        self.broken.clear()

    @rule(ticks=st.integers(1, 8))
    def tick(self, ticks):
        for _ in range(ticks):
            self.one_tick()

    def one_tick(self):
        before = {name: self.serving(name) for name in MODELS}
        failed = {
            harness.id
            for name in MODELS
            for harness in self.harnesses(name)
            if harness.state is HarnessState.ERROR and harness.wanted
        }
        loads = len(self.loads)
        self.manager.tick()

        loaded = self.loads[loads:]
        unloaded = [(name, version) for name in MODELS for version in before[name] - self.serving(name)]
        assert len(loaded) + len(unloaded) <= 1, "more than one action"
        still_wanted = {harness.id for name in MODELS for harness in self.harnesses(name) if harness.wanted}
        assert not set(loaded) & failed & still_wanted, "a failed version that stayed wanted was tried again"
        for name, version in unloaded:
            taken_over = [harness for harness in self.harnesses(name) if harness.wanted]
            assert self.serving(name) or not taken_over, f"the last version of {name}, {version}, went too early"
            assert version not in {harness.id.version for harness in taken_over}
        if loaded:
            for name in MODELS:
                lists = self.harnesses(name)
                unwanted = self.serving(name) - {harness.id.version for harness in lists if harness.wanted}
                unwanted -= {servable.version for servable in loaded if servable.name == name}
                assert len(unwanted) <= 1, "something was loaded before all that had to go was unloaded"

    @rule()
    def settled_and_sound_it_serves_what_is_wanted(self):
        """Where no list is parked and nothing wanted failed, quiet means that the wish came true."""
        for _ in range(4 * len(MODELS) * len(VERSIONS)):
            self.one_tick()
        for name in MODELS:
            parked = name in self.manager._pending
            failed = any(harness.wanted and harness.state is HarnessState.ERROR for harness in self.harnesses(name))
            if not parked and not failed:
                assert self.serving(name) == self.wanted.get(name, set())
            if parked:
                assert failed, "a list stays parked only behind a version that is kept alive for a failed one"

    @invariant()
    def requests_reach_exactly_what_is_ready_and_open(self):
        for name in MODELS:
            assert self.reachable(name) == self.serving(name)
            assert {v for v in VERSIONS if self.last.get(ServableId(name, v)) is AVAILABLE} == self.serving(name)


Histories.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHistories = Histories.TestCase


class Clients:
    """Threads that ask for random versions, hold them for a moment, and note what should not be."""

    def __init__(self, lab, count):
        self.lab = lab
        self.wrong = []
        self.done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed),)) for seed in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self.done.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, dice):
        while not self.done.wait(0.001):
            name, version = dice.choice(MODELS), dice.choice([None, *VERSIONS])
            try:
                with self.lab.core.acquire(self.lab.spec(name, version=version)) as (_, number, servable):
                    self.done.wait(dice.choice([0, 0.002]))
                    if servable.closed or (version or number) != servable.version:
                        self.wrong.append(servable)
            except StatusError as error:
                if version is None:
                    self.wrong.append(error)


def test_threads_and_requests_at_random_leave_nothing_behind(tmp_path):
    """Pools, requests that hold versions, and lists that change faster than they are taken over."""
    dice = random.Random(7)
    lab = Lab(tmp_path, num_load_threads=2, num_unload_threads=1, max_num_load_retries=1, load_retry_interval_s=0.001)
    for name in MODELS:
        lab.lay(name, *VERSIONS)
    lab.start(*(lab.model(name, specific=[1]) for name in MODELS))
    clients = Clients(lab, 4)
    for _ in range(40):
        lab.failures.clear()
        if dice.random() < 0.5:
            lab.fail(dice.choice(MODELS), dice.choice(VERSIONS[1:]), attempts=1)
        # Version 1 stays listed and sound, so that each model always has something to serve.
        lists = {name: [1, *dice.sample(VERSIONS[1:], dice.randint(0, 3))] for name in MODELS}
        lab.reload(*(lab.model(name, specific=versions) for name, versions in lists.items()))
        clients.done.wait(dice.choice([0.005, 0.02, 0.05]))
    lab.failures.clear()
    lab.reload(*(lab.model(name, specific=[1, 4]) for name in MODELS))
    for name in MODELS:
        lab.until_serving(name, 1, 4)
    clients.stop()
    assert clients.wrong == []

    lab.stop()
    loaded = [event[1:] for event in lab.events if event[0] == "load"]
    closed = [event[1:] for event in lab.events if event[0] == "close"]
    assert sorted(loaded) == sorted(closed)
    assert len(loaded) > 10
