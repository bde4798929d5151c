"""The availability-preserving policy, case by case."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.lifecycle.policy import Action, Kind, Snapshot, next_action, next_for_model
from modelfleet_services.model_server.lifecycle.states import ServableId


def versions(text, name="m"):
    """Read ``+1r -2r +3n``: wanted or not, number, ready, new or busy (neither)."""
    return [
        Snapshot(ServableId(name, int(word[1:-1])), wanted=word[0] == "+", new=word[-1] == "n", ready=word[-1] == "r")
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("managed", "action"),
    [
        ("", None),
        ("+1r", None),
        ("+1n", "load 1"),
        ("+1n +3n +2n", "load 3"),
        ("+1b +2n", "load 2"),
        ("-1r", "unload 1"),
        ("-2r -1r", "unload 1"),
        ("-1r +2n", "load 2"),
        ("-1r +2b", None),
        ("-1r +2r", "unload 1"),
        ("-1r -2r +3n", "unload 1"),
        ("-1r -2r +3b", "unload 1"),
        ("-1r +2r +3n", "unload 1"),
        ("-1b +2n", "load 2"),
        ("-1n", None),
        ("-1n +2n", "load 2"),
    ],
)
def test_the_next_step_of_one_model(managed, action):
    found = next_for_model(versions(managed))
    assert (f"{found.kind.value} {found.id.version}" if found else None) == action


def test_any_unload_anywhere_goes_before_any_load():
    loads, unloads = versions("+9n", "a"), versions("-1r +2r", "b")
    unload = Action(Kind.UNLOAD, ServableId("b", 1))
    assert next_action([loads, unloads]) == next_action([unloads, loads]) == unload


def test_of_equal_steps_the_first_models_is_taken():
    assert next_action([[], versions("+1n", "a"), versions("+5n", "b")]) == Action(Kind.LOAD, ServableId("a", 1))


def test_nothing_to_do():
    assert next_action([]) is None
    assert next_action([versions("+1r")]) is None
