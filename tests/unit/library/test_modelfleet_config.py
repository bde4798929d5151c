from __future__ import annotations


def test_without_a_server_the_goal_is_written_for_its_start(nobody):
    nobody.publish("a", 1, 2)
    desired = nobody.pull(manifest={"models": {"a": {"versions": [1, 2], "labels": {"stable": 1}}}})["desired"]
    result = nobody.serving("modelfleet_config", desired, diff=True)
    assert result["changed"]
    assert nobody.config_file.read_text() == result["config"] == result["diff"]["after"]
    assert "versions: 1" in result["config"]
    assert "label" not in result["config"], "no version of this node has proven yet that it loads"
    assert any("version 2" in line for line in result["changes"])
    assert not nobody.serving("modelfleet_config", desired)["changed"]


def test_check_mode_takes_a_pull_that_was_only_announced_into_account(nobody):
    nobody.publish("a", 1)
    pull = nobody.pull(check=True)
    told = nobody.serving("modelfleet_config", pull["desired"], check=True, pending=pull["pulled"])
    assert told["changed"]
    assert not nobody.config_file.exists()
    done = nobody.serving("modelfleet_config", nobody.pull()["desired"])
    assert done["config"] == told["config"]


def test_with_a_server_only_the_safe_next_step_is_written(lab):
    lab.publish("a", 1)
    _, desired = lab.deploy()
    lab.publish("a", 2)
    desired = lab.pull()["desired"]
    result = lab.serving("modelfleet_config", desired)
    assert "versions: 1" in result["config"]
    assert "versions: 2" in result["config"]


def test_a_broken_file_is_named_and_left_alone(nobody):
    nobody.publish("a", 1)
    nobody.config_file.write_text("model_config_list { config { name: ")
    result = nobody.serving("modelfleet_config", nobody.pull()["desired"])
    assert result["failed"]
    assert str(nobody.config_file) in result["msg"]
    assert "remove the file" in result["msg"]
    assert nobody.config_file.read_text() == "model_config_list { config { name: "


def test_a_model_that_is_not_on_this_node_is_not_configured(nobody):
    nobody.publish("a", 1)
    desired = nobody.pull()["desired"]
    desired["models"]["ghost"] = {"versions": [7], "labels": {}, "keep": 2}
    assert "ghost" not in nobody.serving("modelfleet_config", desired)["config"]
