from __future__ import annotations

import pytest


def states(result):
    return {(row["model"], row["version"]): row["state"] for row in result["models"]}


def test_the_wanted_versions_are_available_afterwards_and_again_changes_nothing(lab):
    lab.publish("a", 1)
    result, desired = lab.deploy()
    assert result["changed"]
    assert states(result) == {("a", 1): "AVAILABLE"}
    again = lab.serving("modelfleet_reload", desired)
    assert not again["changed"]
    assert again["steps"] == []


def test_check_mode_tells_the_steps_that_are_then_taken(lab):
    lab.publish("a", 1, 2)
    lab.deploy(models={"a": {"versions": [1], "labels": {"stable": 1}}})
    wish = {"models": {"a": {"versions": [2], "labels": {"stable": 2}}}}
    pull = lab.pull(check=True, manifest=wish)
    told = lab.serving("modelfleet_reload", pull["desired"], check=True, diff=True, pending=pull["pulled"])
    before = lab.config_file.read_text()
    assert told["diff"]["before"] == before
    assert lab.config_file.read_text() == before
    done, _ = lab.deploy(**wish)
    assert done["steps"] == told["steps"]
    assert lab.config_file.read_text() == told["diff"]["after"]


def test_labels_lead_to_their_versions(lab):
    lab.publish("a", 1, 2)
    result, _ = lab.deploy(models={"a": {"versions": [1, 2], "labels": {"stable": 1, "canary": 2}}})
    assert {row["version"]: row["labels"] for row in result["models"]} == {1: ["stable"], 2: ["canary"]}


def test_a_version_that_does_not_load_is_set_aside_and_the_old_one_answers(lab, call):
    lab.publish("a", 1)
    lab.publish("b", 3)
    lab.deploy()
    lab.corrupt("a", 2)
    result, desired = lab.deploy()
    assert states(result) == {("a", 1): "AVAILABLE", ("a", 2): "QUARANTINED", ("b", 3): "AVAILABLE"}
    (refused,) = result["refused"]
    assert (refused["model"], refused["version"]) == ("a", 2)
    assert "LOAD_FAILED" in refused["message"]
    assert call("modelfleet_probe", target=lab.target, model="a", inputs={"x": [2.0]})["outputs"] == {"y": [2.0]}
    assert not lab.serving("modelfleet_reload", desired)["changed"]


def test_a_wish_for_nothing_is_refused(lab):
    lab.publish("a", 1)
    lab.deploy()
    empty = {"models": {}, "tracked": False}
    result = lab.serving("modelfleet_reload", empty)
    assert result["failed"]
    assert result["error"]["code"] == "GUARD_REFUSED"
    assert "allow_empty" in result["msg"]
    assert lab.serving("modelfleet_reload", empty, allow_empty=True)["changed"]


def test_no_server_is_one_line_with_the_target(nobody):
    nobody.publish("a", 1)
    result = nobody.serving("modelfleet_reload", nobody.pull()["desired"], server_timeout=1)
    assert result["failed"]
    assert result["error"]["code"] == "SERVER_UNREACHABLE"
    assert "127.0.0.1:1" in result["msg"]
    assert "\n" not in result["msg"]


def test_a_virgin_host_in_check_mode_is_told_what_would_happen(nobody):
    nobody.publish("a", 1)
    pull = nobody.pull(check=True)
    told = nobody.serving("modelfleet_reload", pull["desired"], check=True, pending=pull["pulled"])
    assert told["changed"]
    assert states(told) == {("a", 1): "AVAILABLE"}
    assert not nobody.store.exists()


@pytest.mark.parametrize("desired", [{"models": {"a": {}}}, {"models": {"a/b": {"versions": [1]}}}])
def test_a_desired_state_that_no_pull_returned_is_refused(lab, desired):
    result = lab.serving("modelfleet_reload", desired)
    assert result["failed"]
    assert result["error"]["code"] == "INVALID"


def test_another_repository_takes_over(lab, tmp_path):
    lab.publish("a", 1)
    lab.publish("b", 1)
    lab.publish("c", 1)
    lab.deploy()
    other = tmp_path / "other"
    lab.repository.rename(tmp_path / "first")
    lab.publish("d", 2)
    lab.repository.rename(other)
    pulled = lab.pull(repository=str(other))
    result = lab.serving("modelfleet_reload", pulled["desired"])
    assert {row["model"] for row in result["models"] if row["state"] == "AVAILABLE"} == {"d"}
