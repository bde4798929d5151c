"""What would take models away from users is refused."""

from __future__ import annotations

import shutil

import pytest
from modelfleet.errors import (
    GuardRefused,
    InvalidInput,
)
from modelfleet.manifest import Desired
from modelfleet.node import Limits, converge, prune

from tests.support.node_rig import one


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


def test_a_model_that_only_disappeared_keeps_its_last_copy_on_disk(rig):
    rig.converge({"digits": one(1), "words": one(1)}, tracked=True)
    outcome = rig.converge({"words": one(1)}, tracked=True)
    assert rig.available()["digits"] == []
    with rig.store.lock(1):
        assert prune(rig.node, outcome.observation) == []
