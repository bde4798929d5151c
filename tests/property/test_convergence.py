"""Random histories of wishes, failures and restarts: the planner never loses a model and always arrives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from modelfleet import convergence
from modelfleet.convergence import Configure, Freeze, Observation, Quarantine, Send, Sent, Settled
from modelfleet.errors import ServerRefused
from modelfleet.manifest import Desired, DesiredModel

from tests.support.contract_model import ContractServer

if TYPE_CHECKING:
    from modelfleet.models_config import ModelsConfig

MODELS = ("alpha", "beta")
VERSIONS = (1, 2, 3, 4)
LABELS = ("stable", "canary")


class Fleet(RuleBasedStateMachine):
    """One node: its disk, file and server, and the planner stepping whenever it is its turn."""

    @initialize()
    def begin(self) -> None:
        self.disk: dict[str, set[int]] = {name: {1} for name in MODELS}
        self.failing: set[tuple[str, int]] = set()
        self.server = ContractServer(self.disk, self.failing)
        self.config: ModelsConfig | None = None
        self.quarantined: dict[tuple[str, int], str] = {}
        self.good: dict[str, set[int]] = {name: set() for name in MODELS}
        self.sent: Sent | None = None
        self.acknowledged: ModelsConfig | None = None
        self.desired = {name: DesiredModel((1,)) for name in MODELS}
        self.served_before: dict[str, bool] = dict.fromkeys(MODELS, False)
        self.steps_in_a_row = 0

    def observe(self) -> Observation:
        labels = {(name, label) for name in MODELS for label in LABELS}
        return Observation(
            base_path="/store",
            desired=Desired(self.desired),
            disk={name: frozenset(versions) for name, versions in self.disk.items()},
            quarantined=self.quarantined,
            config=self.config,
            serving=self.server.statuses(MODELS) if self.server.up else None,
            labels=self.server.labels(labels) if self.server.up else {},
            sent=self.sent,
            acknowledged=self.config is not None and self.acknowledged == self.config,
            good={name: frozenset(versions) for name, versions in self.good.items()},
        )

    # -- the world changes ---------------------------------------------------------------------------------------------
    @rule(name=st.sampled_from(MODELS), version=st.sampled_from(VERSIONS), broken=st.booleans())
    def a_version_arrives(self, name: str, version: int, *, broken: bool) -> None:
        if version in self.disk[name]:
            return
        self.disk[name].add(version)
        if broken:
            self.failing.add((name, version))

    @rule(
        name=st.sampled_from(MODELS),
        versions=st.sets(st.sampled_from(VERSIONS), min_size=1, max_size=3),
        label=st.one_of(st.none(), st.sampled_from(LABELS)),
        data=st.data(),
    )
    def the_wish_changes(self, name: str, versions: set[int], label: str | None, data: st.DataObject) -> None:
        ordered = tuple(sorted(versions))
        labels = {label: data.draw(st.sampled_from(ordered))} if label else {}
        self.desired = {**self.desired, name: DesiredModel(ordered, labels)}
        self.sent = None

    @rule()
    def the_server_restarts(self) -> None:
        if self.config is not None:
            self.server.restart(self.config)
            self.sent = None
            self.served_before = dict.fromkeys(MODELS, False)

    @rule()
    def the_file_is_lost(self) -> None:
        self.config = None
        self.sent = None

    @rule()
    def the_planner_is_killed_between_file_and_reload(self) -> None:
        action = convergence.next_action(self.observe())
        if isinstance(action, Configure):
            self.config = action.config
        self.sent = None

    @precondition(lambda self: self.config is not None)
    @rule()
    def the_planner_restarts(self) -> None:
        self.sent = None

    @rule(ticks=st.integers(1, 4))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            if self.server.up:
                self.server.tick()
                self.no_wanted_model_is_lost()

    # -- the planner acts ----------------------------------------------------------------------------------------------
    @rule()
    def the_planner_steps(self) -> None:
        self.step()

    def step(self) -> convergence.Action:
        o = self.observe()
        if o.serving:
            for name, versions in o.serving.items():
                self.good[name] |= {v for v, s in versions.items() if s.available}
                if self.sent and not any(status.failed for status in versions.values()):
                    kept = frozenset(key for key in self.sent.failed_before if key[0] != name)
                    self.sent = replace(self.sent, failed_before=kept)
        action = convergence.next_action(o)
        assert not isinstance(action, Freeze), action
        if isinstance(action, Quarantine):
            self.quarantined.update(action.failures)
        elif isinstance(action, (Configure, Send)):
            self.config = action.config
            if self.server.up:
                failed = {(name, v) for name, items in (o.serving or {}).items() for v, s in items.items() if s.failed}
                self.sent = Sent(action.config, frozenset())
                # A version that once failed is configured again only after somebody lifted its quarantine, which
                # no rule here does: so nothing old can be mistaken for new.
                assert not {(n, v) for n, e in action.config.entries.items() for v in e.versions} & (
                    failed - {key for key in failed if key not in self.quarantined}
                )
                self.reload(action.config)
        elif not self.server.up:
            culprit = next(
                (
                    (name, v)
                    for name, entry in (self.config.entries if self.config else {}).items()
                    for v in entry.versions
                    if (name, v) in self.failing
                ),
                None,
            )
            if culprit is not None:
                self.quarantined[culprit] = "broke the start"
            # The supervisor starts it again, with whatever the file says now.
            self.server.restart(self.observe_offline())
            assert self.server.up or culprit
        else:
            self.server.tick()
        for name, version in convergence.prunable(self.observe()):
            self.check_prunable(name, version)
        return action

    def reload(self, config: ModelsConfig) -> None:
        try:
            self.server.reload(config, timeout_s=1)
        except ServerRefused as error:
            if error.grpc_code != "UNKNOWN":
                raise
        self.acknowledged = config

    def observe_offline(self) -> ModelsConfig:
        self.config = convergence.next_config(replace(self.observe(), serving=None))
        return self.config

    def check_prunable(self, name: str, version: int) -> None:
        assert self.config is not None
        assert version not in self.config.versions(name)
        status = self.server.monitor.get(name, {}).get(version)
        assert status is None or status.gone
        sound = {v for v in self.disk[name] if (name, v) not in self.quarantined}
        assert sound - {version} or version not in sound

    # -- what must always hold -----------------------------------------------------------------------------------------
    @invariant()
    def no_wanted_model_is_lost(self) -> None:
        if not hasattr(self, "server") or not self.server.up:
            return
        for name in MODELS:
            serves = any(status.available for status in self.server.monitor.get(name, {}).values())
            assert serves or not self.served_before[name], f"{name} was served and is not any more"
            self.served_before[name] = serves

    @invariant()
    def labels_lead_to_available_versions(self) -> None:
        if not hasattr(self, "server") or not self.server.up:
            return
        for name, labels in self.server.label_map.items():
            for version in labels.values():
                status = self.server.monitor.get(name, {}).get(version)
                # Right after a restart a label may be ahead of the load of the version it was at.
                assert status is not None
                assert status.available or status.in_transition or not self.served_before[name]

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        for _ in range(200):
            action = self.step()
            self.no_wanted_model_is_lost()
            if isinstance(action, Settled):
                break
        else:
            raise AssertionError(f"never settled: {action}")
        for name, model in self.desired.items():
            fit = {v for v in model.versions if v in self.disk[name] and (name, v) not in self.quarantined}
            assert all(self.server.available(name, v) for v in fit)
            if fit == set(model.versions):
                labels = self.server.label_map.get(name, {})
                assert labels == dict(model.labels)
                served = {v for v, s in self.server.monitor[name].items() if s.available}
                assert served == fit


Fleet.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFleet = Fleet.TestCase
