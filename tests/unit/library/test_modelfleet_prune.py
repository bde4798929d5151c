from __future__ import annotations


def test_what_the_keep_rule_leaves_over_is_deleted_once_the_server_let_go(lab):
    lab.publish("a", 1, 2)
    lab.deploy(defaults={"versions": {"latest": 2}, "keep": 2})
    lab.publish("a", 3)
    reload_, desired = lab.deploy(defaults={"versions": {"latest": 2}, "keep": 2})
    assert reload_["prunable"] == [{"model": "a", "version": 1}]
    told = lab.serving("modelfleet_prune", desired, check=True, diff=True)
    assert (lab.store / "a" / "1").is_dir()
    done = lab.serving("modelfleet_prune", desired, diff=True)
    assert done["changed"]
    assert [(item["model"], item["version"]) for item in done["removed"]] == [("a", 1)]
    assert done["freed_bytes"] > 0
    assert (told["removed"], told["diff"]) == (done["removed"], done["diff"])
    assert sorted(path.name for path in (lab.store / "a").iterdir()) == ["2", "3"]
    assert not lab.serving("modelfleet_prune", desired)["changed"]


def test_the_previous_version_stays_for_a_rollback(lab):
    lab.publish("a", 1)
    lab.deploy()
    lab.publish("a", 2)
    _, desired = lab.deploy()
    assert not lab.serving("modelfleet_prune", desired)["changed"]


def test_without_a_server_nothing_is_deleted(nobody):
    nobody.publish("a", 1, 2, 3)
    nobody.pull(manifest={"models": {"a": {"versions": [1, 2, 3]}}})
    desired = nobody.pull(manifest={"models": {"a": {"versions": [3], "keep": 1}}})["desired"]
    assert not nobody.serving("modelfleet_prune", desired)["changed"]
    assert len(list((nobody.store / "a").iterdir())) == 3
