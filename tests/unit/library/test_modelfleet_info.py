from __future__ import annotations


def info(lab, **options):
    places = {"store": str(lab.store), "config_file": str(lab.config_file), "target": lab.target}
    return lab.call("modelfleet_info", **{**places, **options})


def test_a_served_node_is_ok(lab):
    lab.publish("a", 1)
    _, desired = lab.deploy(models={"a": {"versions": [1], "labels": {"stable": 1}}})
    result = info(lab, desired=desired)
    assert (result["ok"], result["server"], result["changed"]) == (True, True, False)
    assert result["table"][0].split() == ["MODEL", "VERSION", "STATE", "LABELS", "WANTED", "ON", "DISK", "CONFIGURED"]
    assert result["table"][1].split() == ["a", "1", "AVAILABLE", "stable", "yes", "yes", "yes"]


def test_without_a_desired_state_what_is_configured_counts_as_wanted(lab):
    lab.publish("a", 1)
    lab.deploy()
    result = info(lab)
    assert result["ok"]
    assert [row["wanted"] for row in result["models"]] == [True]


def test_a_refused_version_is_shown_with_its_reason(lab):
    lab.publish("a", 1)
    lab.deploy()
    lab.corrupt("a", 2)
    _, desired = lab.deploy()
    result = info(lab, desired=desired)
    assert not result["ok"]
    assert [(row["version"], row["state"]) for row in result["refused"]] == [(2, "QUARANTINED")]
    assert any(line.startswith("model a version 2: LOAD_FAILED") for line in result["table"])


def test_a_node_with_nothing_is_reported_not_refused(nobody):
    result = info(nobody)
    assert (result["ok"], result["server"], result["models"]) == (False, False, [])


def test_a_server_that_does_not_answer_is_a_fault_of_every_configured_version(nobody):
    nobody.publish("a", 1)
    desired = nobody.pull()["desired"]
    nobody.serving("modelfleet_config", desired)
    result = info(nobody, desired=desired)
    assert [row["message"] for row in result["refused"]] == ["no server answers"]


def test_the_table_shows_the_ports_of_what_is_served(lab):
    lab.publish("a", 1)
    _, desired = lab.deploy()
    header, row = info(lab, desired=desired, ports="8500/8501")["table"]
    assert header.split()[-1] == "PORTS"
    assert row.split()[-1] == "8500/8501"
