"""The loop of a node: a real store and file, and the contract's server in a clock that the test owns."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from modelfleet import models_config
from modelfleet.adapters.checksums import crc32c_function
from modelfleet.adapters.repository import RemoteObject
from modelfleet.errors import (
    DeadlineExceeded,
    GuardRefused,
    InvalidInput,
    ReloadLockHeld,
    ServerRefused,
    ServerUnreachable,
)
from modelfleet.manifest import Desired, DesiredModel
from modelfleet.models_config import ModelEntry, ModelsConfig
from modelfleet.node import Limits, Node, converge, observe, prune, start_failures
from modelfleet.receipts import Receipt
from modelfleet.status import ServingState, VersionStatus
from modelfleet.store import Store
from modelfleet.waiting import Clock

from tests.support.contract_model import ContractServer

if TYPE_CHECKING:
    from pathlib import Path

GRAPH = b"graph"
CHECKSUM = crc32c_function()(GRAPH, 0)
LIMITS = Limits(load_timeout_s=10, server_timeout_s=5, unload_timeout_s=3)


class Folders(dict):
    """The versions on the store's disk, as a server that polls it would find them."""

    def __init__(self, root: Path):
        super().__init__()
        self.root = root

    def get(self, name, default=None):
        folder = self.root / name
        return {int(path.name) for path in folder.iterdir() if path.name.isdigit()} if folder.is_dir() else default

    def __getitem__(self, name):
        return self.get(name)


@dataclass
class Rig:
    """One node, the server, and what happens while time passes."""

    root: Path
    time: float = 0.0
    failing: set = field(default_factory=set)
    sent: list = field(default_factory=list)
    log: Path | None = None
    while_waiting: object = None

    def __post_init__(self):
        self.store = Store(self.root / "store")
        self.server = ContractServer(Folders(self.store.root), self.failing)
        self.file = self.root / "models.config"
        reload = self.server.reload

        def recorded(config, *, timeout_s):
            self.sent.append({name: (entry.versions, dict(entry.labels)) for name, entry in config.entries.items()})
            reload(config, timeout_s=timeout_s)

        self.server.reload = recorded

    def sleep(self, seconds):
        self.time += seconds
        if self.server.up:
            self.server.tick()
        if self.while_waiting:
            self.while_waiting()

    @property
    def node(self):
        return Node(
            self.store,
            self.file,
            self.server,
            str(self.store.root),
            server_log=self.log,
            clock=Clock(now=lambda: self.time, sleep=self.sleep),
        )

    def publish(self, model, version):
        with self.store.lock(1):
            staging = self.store.stage(model, version)
            (staging.path / "saved_model.pb").write_bytes(GRAPH)
            staging.publish(Receipt("file:///r", (RemoteObject("saved_model.pb", 5, "1", CHECKSUM),), "now"))

    def converge(self, models, **options):
        with self.store.lock(1):
            return converge(self.node, Desired(models, **options), LIMITS)

    def available(self):
        return {
            name: sorted(v for v, s in versions.items() if s.available)
            for name, versions in self.server.monitor.items()
        }

    def configured(self):
        config = models_config.read(self.file)
        return {name: entry.versions for name, entry in config.entries.items()}


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    for model in ("digits", "words"):
        rig.publish(model, 1)
    return rig


def one(*versions, labels=None, keep=2):
    return DesiredModel(tuple(versions), labels or {}, keep)


def test_a_fresh_node_serves_everything_after_one_reload(rig):
    outcome = rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available() == {"digits": [1], "words": [1]}
    assert rig.server.reloads == 1
    assert len(outcome.steps) == 1
    assert rig.store.good() == {"digits": {1}, "words": {1}}


def test_a_second_run_does_nothing(rig):
    wish = {"digits": one(1), "words": one(1)}
    rig.converge(wish)
    assert rig.converge(wish).steps == ()
    assert rig.server.reloads == 1


def test_a_switch_loads_beside_moves_labels_then_drops(rig):
    rig.converge({"digits": one(1, labels={"stable": 1}), "words": one(1)})
    rig.publish("digits", 2)
    rig.sent.clear()
    rig.converge({"digits": one(2, labels={"stable": 2}), "words": one(1)})
    assert [sent["digits"] for sent in rig.sent] == [
        ((1, 2), {"stable": 1}),
        ((1, 2), {"stable": 2}),
        ((2,), {"stable": 2}),
    ]
    assert rig.available()["digits"] == [2]
    assert rig.server.monitor["digits"][1].state is ServingState.END


def test_a_failed_version_leaves_the_old_one_and_its_neighbour(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.failing.add(("digits", 2))
    wish = {"digits": one(2), "words": one(1)}
    outcome = rig.converge(wish)
    assert rig.available() == {"digits": [1], "words": [1]}
    assert rig.configured() == {"digits": (1,), "words": (1,)}
    record = rig.store.quarantined()[("digits", 2)]
    assert (record.code, record.stage) == ("LOAD_FAILED", "load")
    assert "broken" in record.message
    assert any("quarantine: digits version 2" in step for step in outcome.steps)
    assert rig.converge(wish).steps == ()


def test_a_version_whose_bytes_changed_on_disk_is_told_from_a_broken_one_and_comes_anew(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    (rig.store.root / "digits" / "2" / "saved_model.pb").write_bytes(b"gr\0ph")
    rig.failing.add(("digits", 2))
    rig.converge({"digits": one(2), "words": one(1)})
    record = rig.store.quarantined()[("digits", 2)]
    assert (record.code, record.fingerprint) == ("DAMAGED", "")
    assert record.message.startswith("saved_model.pb on this node's disk")


def test_a_new_model_that_cannot_load_is_left_out_and_the_others_serve(rig):
    rig.failing.add(("words", 1))
    rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available()["digits"] == [1]
    assert rig.configured() == {"digits": (1,)}


def test_the_only_model_failing_leaves_an_empty_file_that_a_server_starts_with(rig):
    rig.failing.add(("digits", 1))
    rig.converge({"digits": one(1)})
    assert rig.configured() == {}


def test_a_version_released_after_its_failure_is_tried_anew_not_judged_by_the_old_failure(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.failing.add(("digits", 2))
    wish = {"digits": one(2), "words": one(1)}
    rig.converge(wish)
    rig.failing.clear()
    rig.store.release("digits", 2)
    assert rig.server.monitor["digits"][2].failed
    rig.converge(wish)
    assert rig.available()["digits"] == [2]
    assert rig.store.quarantined() == {}


def test_a_released_version_that_fails_again_is_set_aside_again(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.failing.add(("digits", 2))
    wish = {"digits": one(2), "words": one(1)}
    rig.converge(wish)
    rig.store.release("digits", 2)
    rig.converge(wish)
    assert ("digits", 2) in rig.store.quarantined()
    assert rig.available()["digits"] == [1]


def test_a_server_started_with_another_list_is_told_again(rig):
    wish = {"digits": one(1), "words": one(1)}
    rig.converge(wish)
    rig.server.restart(ModelsConfig({}))
    outcome = rig.converge(wish)
    assert rig.available() == {"digits": [1], "words": [1]}
    assert outcome.steps[0].startswith("reload: ")


def test_a_lost_file_is_written_again_and_nothing_is_unloaded(rig):
    wish = {"digits": one(1), "words": one(1)}
    rig.converge(wish)
    rig.file.unlink()
    rig.converge(wish)
    assert rig.configured() == {"digits": (1,), "words": (1,)}
    assert rig.available() == {"digits": [1], "words": [1]}


def test_a_lost_file_does_not_lose_a_version_that_serves_while_the_wanted_one_is_not_here(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.file.unlink()
    rig.converge({"digits": one(7), "words": one(1)})
    assert rig.available()["digits"] == [1]


def test_a_file_of_somebody_else_is_named_and_left_alone(rig):
    rig.file.write_text('model_config_list { config { name: "x" base_path: "/x" model_platform: "tensorflow" } }')
    before = rig.file.read_text()
    with pytest.raises(InvalidInput, match=r"models\.config"):
        rig.converge({"digits": one(1)})
    assert rig.file.read_text() == before


def test_a_vanished_store_freezes_the_node(rig):
    wish = {"digits": one(1), "words": one(1)}
    rig.converge(wish)
    shutil.rmtree(rig.store.root / "digits")
    shutil.rmtree(rig.store.root / "words")
    with pytest.raises(GuardRefused, match="vanished"):
        rig.converge(wish)
    assert rig.configured() == {"digits": (1,), "words": (1,)}


def test_a_wish_for_nothing_is_refused_unless_it_is_allowed(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    with pytest.raises(GuardRefused, match="allow_empty"):
        rig.converge({})
    with rig.store.lock(1):
        converge(rig.node, Desired({}), Limits(allow_empty=True))
    assert rig.available() == {"digits": [], "words": []}


def test_most_tracked_models_disappearing_at_once_is_refused(rig):
    names = ["a", "b", "c", "d"]
    for name in names:
        rig.publish(name, 1)
    rig.converge({name: one(1) for name in names}, tracked=True)
    with pytest.raises(GuardRefused, match="disappeared"):
        rig.converge({"a": one(1)}, tracked=True)
    rig.converge({name: one(1) for name in names[:2]}, tracked=True)
    assert rig.available()["d"] == []


def test_another_repository_replaces_the_models_of_the_one_before(rig):
    names = ["a", "b", "c", "d"]
    for name in names:
        rig.publish(name, 1)
    rig.converge({name: one(1) for name in names}, tracked=True, source="file:///r")
    rig.publish("words", 2)
    rig.converge({"words": one(2)}, tracked=True, source="file:///other")
    assert rig.available() == {"a": [], "b": [], "c": [], "d": [], "words": [2]}


def test_another_repository_of_which_nothing_arrived_replaces_nothing(rig):
    rig.converge({"digits": one(1)}, tracked=True, source="file:///r")
    with pytest.raises(GuardRefused, match="on this node"):
        rig.converge({"elsewhere": one(1)}, tracked=True, source="file:///other")
    assert rig.available()["digits"] == [1]


def test_a_model_whose_versions_cannot_be_told_stays_as_it_is(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.converge({"words": one(1)}, unresolved=("digits",))
    assert rig.available() == {"digits": [1], "words": [1]}


def hanging(rig, *, loading=(), down=False):
    """Make the next reload hang: some versions load for ever, and perhaps no status is told any more."""

    def hang(config, *, timeout_s):
        for model, version in loading:
            rig.server.monitor.setdefault(model, {})[version] = VersionStatus(ServingState.LOADING)
        rig.server.up = not down
        raise ReloadLockHeld("server", f"did not return within {timeout_s} s")

    rig.server.reload = hang


def test_a_reload_that_does_not_return_is_reported_and_a_restart_is_enough(rig):
    rig.converge({"digits": one(1)})
    hanging(rig, loading=[("words", 1)])
    with pytest.raises(ReloadLockHeld):
        rig.converge({"digits": one(1), "words": one(1)})
    assert {key: record.code for key, record in rig.store.quarantined().items()} == {("words", 1): "LOAD_TIMEOUT"}
    assert rig.configured() == {"digits": (1,)}


def test_what_waited_behind_a_stuck_reload_is_not_blamed_for_it(rig):
    rig.publish("later", 1)
    rig.converge({"digits": one(1)})
    accept = rig.server.reload
    hanging(rig, loading=[("words", 1)])
    wish = {"digits": one(1), "words": one(1), "later": one(1)}
    with pytest.raises(ReloadLockHeld):
        rig.converge(wish)
    rig.server.reload = accept
    rig.server.restart(models_config.read(rig.file))
    rig.converge(wish)
    assert rig.available() == {"digits": [1], "later": [1]}


def test_a_stuck_reload_of_a_server_that_tells_nothing_condemns_nothing(rig):
    rig.converge({"digits": one(1)})
    hanging(rig, down=True)
    with pytest.raises(ReloadLockHeld):
        rig.converge({"digits": one(1), "words": one(1)})
    assert rig.store.quarantined() == {}
    assert "digits" in rig.configured()


def test_a_start_gets_only_what_has_proven_to_load(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.server.up = False
    with pytest.raises(ServerUnreachable):
        rig.converge({"digits": one(2), "words": one(1)})
    assert rig.configured()["digits"] == (1,)


def test_a_version_that_takes_the_server_down_each_time_is_set_aside(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    load = rig.server._advance_loads

    def crash():
        managed = rig.server.managed.get(("digits", 2))
        if managed is not None and managed.state is ServingState.LOADING:
            rig.server.up = False
        else:
            load()

    rig.server._advance_loads = crash
    down_since = []

    def supervisor():
        if rig.server.up:
            down_since.clear()
        else:
            down_since.append(rig.time)
            if len(down_since) > 3:
                rig.server.restart(models_config.read(rig.file))

    rig.while_waiting = supervisor
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.available() == {"digits": [1], "words": [1]}
    assert "went away" in rig.store.quarantined()[("digits", 2)].message


def test_a_lost_file_does_not_disarm_the_guard(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.file.unlink()
    with pytest.raises(GuardRefused):
        rig.converge({}, tracked=True)
    rig.converge({"words": one(1)}, unresolved=("digits",))
    assert rig.available() == {"digits": [1], "words": [1]}


def test_a_version_that_lost_its_receipt_while_it_serves_goes_on_serving(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    (rig.store.root / ".receipts/digits/1.json").unlink()
    rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available() == {"digits": [1], "words": [1]}


def test_a_file_that_was_written_but_not_sent_is_sent_before_a_failure_is_believed(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.failing.add(("digits", 2))
    wish = {"digits": one(2), "words": one(1)}
    rig.converge(wish)
    rig.failing.clear()
    rig.store.release("digits", 2)
    entries = models_config.read(rig.file)
    models_config.write(rig.file, entries.with_entry(ModelEntry("digits", f"{rig.store.root}/digits", (1, 2))))
    rig.converge(wish)
    assert rig.available()["digits"] == [2]
    assert rig.store.quarantined() == {}


def test_a_reload_that_went_astray_is_sent_again(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    accept = rig.server.reload
    calls = []

    def astray(config, *, timeout_s):
        calls.append(config)
        if len(calls) == 1:
            raise ServerUnreachable("server", "reset")
        accept(config, timeout_s=timeout_s)

    rig.server.reload = astray
    rig.converge({"digits": one(1)})
    assert len(calls) == 2
    assert rig.available() == {"digits": [1], "words": []}


def test_a_server_that_takes_no_reload_is_given_up_after_a_while(rig):
    rig.converge({"digits": one(1), "words": one(1)})

    def astray(config, *, timeout_s):
        raise ServerUnreachable("server", "reset")

    rig.server.reload = astray
    with pytest.raises(ServerUnreachable, match="took a configuration within 5 s"):
        rig.converge({"digits": one(1)})


def test_a_model_that_only_disappeared_keeps_its_last_copy_on_disk(rig):
    rig.converge({"digits": one(1), "words": one(1)}, tracked=True)
    outcome = rig.converge({"words": one(1)}, tracked=True)
    assert rig.available()["digits"] == []
    with rig.store.lock(1):
        assert prune(rig.node, outcome.observation) == []


def test_a_version_that_never_finishes_loading_is_given_up_and_the_old_one_stays(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    advance = rig.server._advance_loads
    rig.server._advance_loads = lambda: None
    rig.while_waiting = lambda: (
        setattr(rig.server, "_advance_loads", advance) if ("digits", 2) in rig.store.quarantined() else None
    )
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.store.quarantined()[("digits", 2)].code == "LOAD_TIMEOUT"
    assert rig.available()["digits"] == [1]
    assert rig.time < 2 * LIMITS.load_timeout_s


def test_a_server_that_does_not_follow_is_reported_with_a_deadline(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.server.tick = lambda: None
    with pytest.raises(DeadlineExceeded, match="does not follow"):
        rig.converge({"digits": one(2), "words": one(1)})


def test_a_refused_configuration_is_taken_back(rig):
    rig.converge({"digits": one(1)})
    good = rig.file.read_text()
    accept = rig.server.reload

    def refuse(config, *, timeout_s):
        if "words" in config.entries:
            raise ServerRefused("server", "INVALID_ARGUMENT", "no")
        accept(config, timeout_s=timeout_s)

    rig.server.reload = refuse
    with pytest.raises(ServerRefused, match="INVALID_ARGUMENT"):
        rig.converge({"digits": one(1), "words": one(1)})
    assert rig.file.read_text() == good
    assert rig.available()["digits"] == [1]


def test_a_version_that_broke_the_start_is_taken_out_so_that_the_server_comes_up(rig, tmp_path):
    rig.converge({"digits": one(1)})
    rig.failing.add(("words", 1))
    rig.log = tmp_path / "log"
    models_config.write(
        rig.file,
        ModelsConfig.of(ModelEntry(name, f"{rig.store.root}/{name}", (1,)) for name in ("digits", "words")),
    )

    def supervisor():
        if not rig.server.up:
            rig.server.restart(models_config.read(rig.file))
            if not rig.server.up:
                rig.log.write_text(
                    "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
                    "{{{name: words version: 1} due to error: NOT_FOUND: no graph}, }\n"
                )

    rig.server.up = False
    supervisor()
    assert not rig.server.up
    rig.while_waiting = supervisor
    rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available()["digits"] == [1]
    assert rig.store.quarantined()[("words", 1)].message == "NOT_FOUND: no graph"


def test_no_server_at_all_is_an_error_with_a_deadline_and_the_file_is_ready(rig):
    rig.server.up = False
    with pytest.raises(ServerUnreachable, match="5 s"):
        rig.converge({"digits": one(1)})
    assert rig.configured() == {"digits": (1,)}


def test_a_server_that_goes_away_late_gets_its_whole_time_to_come_back(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    advance = rig.server._advance_loads
    rig.server._advance_loads = lambda: None

    def supervisor():
        if 6 < rig.time < 8:
            rig.server.up = False
        elif not rig.server.up:
            rig.server._advance_loads = advance
            rig.server.restart(models_config.read(rig.file))

    rig.while_waiting = supervisor
    rig.converge({"digits": one(2), "words": one(1)})
    assert rig.available()["digits"] == [2]


def test_a_version_that_is_not_let_go_is_reported_and_left(rig):
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.server._one_action_before = rig.server._one_action
    publish = rig.server._publish
    rig.server._publish = lambda name, version, item, state: publish(
        name,
        version,
        item,
        ServingState.UNLOADING if state is ServingState.END and (name, version) == ("digits", 1) else state,
    )
    outcome = rig.converge({"digits": one(2), "words": one(1)})
    assert "digits version 1" in outcome.lingering
    assert rig.available()["digits"] == [2]
    with rig.store.lock(1):
        assert prune(rig.node, outcome.observation) == []


def test_prune_deletes_what_the_keep_rule_leaves_over_and_nothing_that_serves(rig):
    for version in (2, 3):
        rig.publish("digits", version)
    rig.converge({"digits": one(1, 2), "words": one(1)})
    outcome = rig.converge({"digits": one(2, 3), "words": one(1)})
    with rig.store.lock(1):
        assert [(model, version) for model, version, _ in prune(rig.node, outcome.observation)] == [("digits", 1)]
    assert sorted(rig.store.scan()["digits"]) == [2, 3]


def test_prune_keeps_the_previous_version_for_a_rollback_without_a_download(rig):
    rig.publish("digits", 2)
    rig.converge({"digits": one(1), "words": one(1)})
    outcome = rig.converge({"digits": one(2), "words": one(1)})
    with rig.store.lock(1):
        assert prune(rig.node, outcome.observation) == []
    back = rig.converge({"digits": one(1), "words": one(1)})
    assert rig.available()["digits"] == [1]
    assert back.lingering == ""


def test_prune_without_an_answer_from_the_server_deletes_nothing(rig):
    wish = Desired({"words": one(1)})
    rig.converge({"digits": one(1), "words": one(1)})
    rig.converge({"words": one(1)})
    rig.server.up = False
    with rig.store.lock(1):
        assert prune(rig.node, observe(rig.node, wish, LIMITS)) == []
    rig.server.up = True
    with rig.store.lock(1):
        assert [row[0] for row in prune(rig.node, observe(rig.node, wish, LIMITS))] == ["digits"]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", {}),
        ("Failed to start server. Error: INVALID_ARGUMENT: Expected model x", {}),
        (
            (
                "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
                "{{{name: a version: 1} due to error: NOT_FOUND: x}, }\n... Running gRPC ModelServer at 0.0.0.0:1 ...\n"
            ),
            {},
        ),
        (
            (
                "Failed to start server. Error: UNKNOWN: 2 servable(s) did not become available: {"
                "{{name: a version: 1} due to error: NOT_FOUND: no bundle (should have x)\nSpecified file path: /a/1}, "
                "{{name: b version: 2} due to error: OUT_OF_RANGE: y\n\t [[{{node z}}]]}, }\nnext line\n"
            ),
            {
                ("a", 1): "NOT_FOUND: no bundle (should have x)\nSpecified file path: /a/1",
                ("b", 2): "OUT_OF_RANGE: y\n\t [[{{node z}}]]",
            },
        ),
        (
            (
                "old\nFailed to start server. Error: UNKNOWN: 2 servable(s) did not become available: {"
                "{{name: a version: 1} due to error: NOT_FOUND: x, y}, "
                "{{name: b-c version: 20} due to error: INTERNAL: z}, }\n"
            ),
            {("a", 1): "NOT_FOUND: x, y", ("b-c", 20): "INTERNAL: z"},
        ),
    ],
)
def test_the_culprits_of_a_failed_start_are_read_from_the_log(log, expected):
    assert start_failures(log) == expected
