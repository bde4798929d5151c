from __future__ import annotations

import pytest


@pytest.fixture
def probe(lab, call):
    lab.publish("a", 1, 2)
    lab.deploy(models={"a": {"versions": [1, 2], "labels": {"stable": 1}}})

    def ask(**options):
        return call("modelfleet_probe", **{"target": lab.target, "model": "a", "inputs": {"x": [2.0]}, **options})

    return ask


def test_the_newest_version_answers(probe):
    result = probe(expect={"y": [4.0]})
    assert not result["changed"]
    assert (result["outputs"], result["model_version"]) == ({"y": [4.0]}, 2)
    assert result["latency_ms"] > 0


def test_a_label_and_a_version_are_asked_for(probe):
    assert probe(label="stable")["model_version"] == 1
    assert probe(version=1)["model_version"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expect": {"y": [5.0]}}, ("y[0] is 4.0", "expected 5.0", "version 2")),
        ({"expect": {"z": [5.0]}}, ("has no output z",)),
        ({"expect": {"y": [4.0, 4.0]}}, ("y has 1 values, expected 2",)),
        ({"max_latency_ms": 0.000001}, ("more than 1e-06 ms",)),
        ({"model": "ghost"}, ("NOT_FOUND", "ghost")),
        ({"version": 9}, ("NOT_FOUND", "9")),
        ({"label": "none"}, ("Unrecognized servable version label: none",)),
        ({"inputs": {"q": [1.0]}}, ("input q", "use x")),
        ({"inputs": {"x": ["text"]}}, ("'text'", "signature")),
        ({"inputs": {"x": [[1.0], [1.0, 2.0]]}}, ("ragged",)),
        ({"signature_name": "nothing"}, ("no signature nothing", "serving_default")),
        ({"target": "127.0.0.1:1"}, ("127.0.0.1:1",)),
    ],
)
def test_what_is_not_as_expected_is_one_line(probe, options, words):
    result = probe(**options)
    assert result["failed"]
    assert "\n" not in result["msg"]
    assert all(word in result["msg"] for word in words), result["msg"]


def test_a_wider_tolerance_accepts_more(probe):
    assert not probe(expect={"y": [4.05]}, tolerance=0.1).get("failed")


def test_check_mode_without_a_server_is_skipped_and_says_so(call):
    result = call("modelfleet_probe", check=True, target="127.0.0.1:1", model="a", inputs={"x": [1.0]})
    assert result["skipped"]
    assert "127.0.0.1:1" in result["skip_reason"]


def test_version_and_label_exclude_each_other(call):
    result = call("modelfleet_probe", model="a", version=1, label="stable", inputs={})
    assert result["failed"]
    assert "mutually exclusive" in result["msg"]
