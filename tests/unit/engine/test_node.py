"""The loop of a node: what is wanted gets served, step by step, and what is not needed goes."""

from __future__ import annotations

from modelfleet.manifest import Desired
from modelfleet.models_config import ModelsConfig
from modelfleet.node import observe, prune
from modelfleet.status import ServingState

from tests.support.node_rig import LIMITS, one, released_after_a_failed_load


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
    rig.server.sent.clear()
    rig.converge({"digits": one(2, labels={"stable": 2}), "words": one(1)})
    assert [sent["digits"] for sent in rig.server.sent] == [
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
    wish = released_after_a_failed_load(rig)
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
