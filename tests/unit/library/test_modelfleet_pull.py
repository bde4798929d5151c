from __future__ import annotations

import json

import pytest


def test_the_latest_version_of_every_model_is_brought(lab):
    lab.publish("a", 1, 2)
    lab.publish("b", 1)
    result = lab.pull()
    assert result["changed"]
    assert [(item["model"], item["version"]) for item in result["pulled"]] == [("a", 2), ("b", 1)]
    assert result["bytes"] == sum(item["bytes"] for item in result["pulled"]) > 0
    assert result["desired"]["models"]["a"] == {"versions": [2], "labels": {}, "keep": 2}
    assert (lab.store / "a" / "2" / "saved_model.pb").read_bytes() == (lab.scales / "2/saved_model.pb").read_bytes()


def test_a_second_pull_changes_nothing(lab):
    lab.publish("a", 1)
    lab.pull()
    again = lab.pull()
    assert not again["changed"]
    assert again["pulled"] == []


def test_check_mode_tells_what_would_come_and_touches_nothing(lab):
    lab.publish("a", 1)
    told = lab.pull(check=True, diff=True)
    assert told["changed"]
    assert [(item["model"], item["version"]) for item in told["pulled"]] == [("a", 1)]
    assert told["diff"]["after"] == "a/1\n"
    assert not lab.store.exists()
    done = lab.pull(diff=True)
    assert done["pulled"] == told["pulled"]
    assert done["diff"]["after"] == told["diff"]["after"]


def test_an_incomplete_version_is_refused_with_reason_and_cure_and_the_one_below_comes(lab):
    lab.publish("a", 1)
    (lab.repository / "a" / "2").mkdir()
    (lab.repository / "a" / "2" / "notes.txt").write_text("no graph")
    result = lab.pull()
    assert [(item["model"], item["version"]) for item in result["pulled"]] == [("a", 1)]
    (refused,) = result["refused"]
    assert (refused["model"], refused["version"], refused["code"]) == ("a", 2, "INCOMPLETE")
    assert "saved_model.pb" in refused["message"]
    assert refused["remedy"]
    again = lab.pull()
    assert not again["changed"]
    assert [item["version"] for item in again["refused"]] == [2]


def test_fleet_json_of_the_repository_is_followed(lab):
    lab.publish("a", 1, 2)
    lab.publish("b", 1)
    manifest = {"format": 1, "models": {"a": {"versions": [1], "labels": {"stable": 1}}}}
    (lab.repository / "fleet.json").write_text(json.dumps(manifest))
    result = lab.pull()
    assert result["desired"]["models"] == {"a": {"versions": [1], "labels": {"stable": 1}, "keep": 2}}
    assert not result["desired"]["tracked"]


def test_an_inventory_with_models_wins_over_fleet_json(lab):
    lab.publish("a", 1, 2)
    (lab.repository / "fleet.json").write_text('{"models": {"a": {"versions": [1]}}}')
    result = lab.pull(manifest={"models": {"a": {"versions": [2]}}})
    assert result["desired"]["models"]["a"]["versions"] == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repository": "/does/not/exist"}, ("/does/not/exist",)),
        ({"headroom": "lots"}, ("headroom", "1Gi")),
        ({"manifest": {"models": {"a": {"versions": [0]}}}}, ("models.a", "0")),
        ({"manifest": {"models": {"a b": {}}}}, ("a b", "letters, digits")),
        ({"manifest": {"model": {}}}, ("model", "known keys")),
        ({"repository": "ftp://bucket"}, ("ftp://bucket", "gs://")),
        (
            {"repository": "gs://bucket", "access": {"gcs_endpoint": "http://127.0.0.1:1", "anonymous": True}},
            ("gs://bucket",),
        ),
        ({"access": {"s3_path_style": True}, "bandwidth": "fast"}, ("bandwidth", "1Gi")),
        ({"puller": {"url": "https://there"}}, ("puller https://there", "http://127.0.0.1:8001")),
    ],
)
def test_bad_input_is_one_line_that_names_the_thing_and_the_cure(lab, options, words):
    lab.publish("a", 1)
    result = lab.pull(**options)
    assert result["failed"]
    assert "\n" not in result["msg"]
    assert all(word in result["msg"] for word in words), result["msg"]
    assert result["error"]["code"]
    assert not lab.store.exists()


def test_more_than_the_disk_has_is_refused_before_the_first_byte(lab):
    lab.publish("a", 1)
    result = lab.pull(headroom="100000Ti")
    assert [item["code"] for item in result["refused"]] == ["NO_SPACE"]
    assert not result["changed"]
    assert not (lab.store / "a").exists()


@pytest.mark.parametrize("stray", ["v2", "007", "0", "-1", "1.5"])
def test_a_version_that_is_not_a_positive_integer_is_named_and_its_neighbours_come(lab, stray):
    lab.publish("a", 1)
    lab.publish("b", 1)
    (lab.repository / "a" / "1").rename(lab.repository / "a" / stray)
    result = lab.pull()
    assert [(item["model"], item["version"]) for item in result["pulled"]] == [("b", 1)]
    assert any(repr(stray) in item["line"] and "1, 2, 3" in item["line"] for item in result["refused"]), result


def test_a_model_whose_name_cannot_be_served_is_named_and_its_neighbours_come(lab):
    lab.publish("a", 1)
    lab.publish("my model", 1)
    result = lab.pull()
    assert [(item["model"], item["version"]) for item in result["pulled"]] == [("a", 1)]
    (refused,) = result["refused"]
    assert "my model" in refused["line"]
    assert "rename" in refused["line"]


def test_a_directory_without_a_model_in_it_is_nobodys_version(lab):
    lab.publish("a", 1)
    (lab.repository / "a" / "notes").mkdir()
    assert lab.pull()["refused"] == []


def test_a_manifest_that_was_followed_and_is_gone_is_not_taken_for_a_wish_for_everything(lab):
    lab.publish("a", 1, 2)
    lab.publish("secret", 1)
    fleet = lab.repository / "fleet.json"
    fleet.write_text(json.dumps({"models": {"a": {"versions": [1]}}}))
    lab.pull()
    fleet.unlink()
    for check in (True, False):
        refused = lab.pull(check=check)
        assert refused["error"]["code"] == "GUARD_REFUSED"
        assert "allow_tracking" in refused["msg"]
    allowed = lab.pull(allow_tracking=True)
    assert sorted(allowed["desired"]["models"]) == ["a", "secret"]
    assert not lab.pull().get("failed"), "tracking, once allowed, stays allowed"
