"""Models that are defined as KServe defines them: a list, a file for each, a volume that Kubernetes projects."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import pytest

from tests.support.projected_volume import ProjectedVolume
from tests.support.puller_process import PullerProcess, wait_for

QUICK = ("--watch-seconds=0.1", "--resync-seconds=600", "--first-retry-seconds=0.1")


def definition(uri, **fields):
    return {"storageUri": str(uri), "framework": "tensorflow", "memory": "1Mi", **fields}


def put(directory, content=b"graph", version=None):
    place = directory / str(version) if version else directory
    place.mkdir(parents=True)
    (place / "saved_model.pb").write_bytes(content)
    return directory


@contextmanager
def puller_of(tmp_path, configs, *flags):
    with PullerProcess(tmp_path, f"-config-dir={configs}", "-num-workers=2", *QUICK, *flags) as puller:
        yield puller


def on_disk(puller):
    return {
        f"{path.parent.parent.name}/{path.parent.name}": path.read_bytes()
        for path in puller.store.glob("[!.]*/*/saved_model.pb")
    }


def settled(puller, expected):
    wait_for(lambda: on_disk(puller) == expected and puller.client.get("/ready").status == 200, 10, puller)


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs"


def test_the_list_of_kserve_is_followed(tmp_path, configs):
    first, second = put(tmp_path / "first", b"1"), put(tmp_path / "second", b"2", version="0007")

    def write(*entries):
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps(entries))
        fresh.replace(configs / "models.json")

    one = {"modelName": "one", "modelSpec": definition(first)}
    two = {"modelName": "two", "modelSpec": definition(second)}
    write(one)
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"one/1": b"1"})
        write(one, two)
        settled(puller, {"one/1": b"1", "two/7": b"2"})
        write(two)
        wait_for(lambda: {v["model"] for v in puller.client.get("/status").json["versions"]} == {"two"}, 5, puller)
        assert puller.lines("action=unload", "model=one")


def test_one_file_for_each_model_is_followed(tmp_path, configs):
    (configs / "one.json").write_text(json.dumps(definition(put(tmp_path / "first", b"1"))))
    (configs / "two").write_text(json.dumps([definition(put(tmp_path / "second", b"2"))]))
    (configs / ".hidden").write_text("not a model")
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"one/1": b"1", "two/1": b"2"})
        (configs / "one.json").unlink()
        wait_for(lambda: {v["model"] for v in puller.client.get("/status").json["versions"]} == {"two"}, 5, puller)


def test_a_projected_volume_is_followed(tmp_path, configs):
    volume = ProjectedVolume(configs)
    first, second = put(tmp_path / "first", b"1"), put(tmp_path / "second", b"2")
    volume.project({"m": json.dumps(definition(first))})
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"m/1": b"1"})
        volume.project({"m": json.dumps(definition(second))})
        settled(puller, {"m/1": b"1", "m/2": b"2"})


def test_another_source_becomes_another_version_beside_the_old_one(tmp_path, configs):
    first, second = put(tmp_path / "first", b"old"), put(tmp_path / "second", b"new")
    (configs / "m").write_text(json.dumps(definition(first)))
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"m/1": b"old"})
        for source, version in ((second, 2), (first, 1), (second, 2)):
            (configs / "m").write_text(json.dumps(definition(source)))
            wait_for(
                lambda v=version: [x["version"] for x in puller.client.get("/status").json["versions"]] == [v],
                5,
                puller,
            )
            settled(puller, {"m/1": b"old", "m/2": b"new"})
        assert len(puller.lines("step=Published")) == 2, "going back needs no download"


def test_a_wrong_entry_is_told_and_its_neighbours_come(tmp_path, configs):
    good = put(tmp_path / "good")
    entries = [
        {"modelName": "good", "modelSpec": definition(good)},
        {"modelName": "foreign", "modelSpec": definition(good, framework="sklearn")},
        {"modelName": "versioned", "modelSpec": definition(good, framework="tensorflow:v1.12")},
        {"modelName": "nowhere", "modelSpec": definition(tmp_path / "nowhere")},
        {"modelName": "huge", "modelSpec": definition(good, memory="10G")},
    ]
    (configs / "models.json").write_text(json.dumps(entries))
    with puller_of(tmp_path, configs, "--memory-budget=1Gi") as puller:
        settled_states = {"COMPLETE", "REFUSED"}
        wait_for(
            lambda: {v["state"] for v in puller.client.get("/status").json["versions"]} == settled_states, 10, puller
        )
        assert on_disk(puller) == {"good/1": b"graph"}
        versions = puller.client.get("/status").json["versions"]
        assert {v["model"]: (v["state"], v["code"]) for v in versions} == {
            "good": ("COMPLETE", ""),
            "foreign": ("REFUSED", "UNSUPPORTED"),
            "versioned": ("REFUSED", "INVALID"),
            "nowhere": ("REFUSED", "SOURCE_NOT_FOUND"),
            "huge": ("REFUSED", "NO_MEMORY"),
        }
        assert all(v["message"] and v["remedy"] for v in versions if v["state"] == "REFUSED")
        put(tmp_path / "nowhere", b"late")
        puller.client.post("/sync")
        wait_for(lambda: on_disk(puller).get("nowhere/1") == b"late", 5, puller)


def test_a_list_that_is_garbage_for_a_while_changes_nothing(tmp_path, configs):
    first = put(tmp_path / "first", b"1")
    text = json.dumps([{"modelName": "one", "modelSpec": definition(first)}])
    (configs / "models.json").write_text(text)
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"one/1": b"1"})
        (configs / "models.json").write_text(text[:-3])
        wait_for(lambda: puller.client.get("/status").json["error"], 5, puller)
        assert "models.json" in puller.client.get("/status").json["error"]["subject"]
        time.sleep(0.3)
        assert on_disk(puller) == {"one/1": b"1"}
        (configs / "models.json").write_text(text)
        wait_for(lambda: puller.client.get("/status").json["error"] is None, 5, puller)


def test_every_step_is_in_the_log_with_the_name_of_the_model(tmp_path, configs):
    (configs / "m").write_text(json.dumps(definition(put(tmp_path / "first", b"1"))))
    with puller_of(tmp_path, configs) as puller:
        settled(puller, {"m/1": b"1"})
        assert puller.lines("Worker initialized")
        steps = ("Sending event", "Need to add model", "Started job", "Should download", "Downloading", "Published")
        for step in steps:
            assert puller.lines(step, "model=m"), step
        (line,) = puller.lines("Sending event", "model=m")
        assert "action=load" in line
        assert str(tmp_path / "first") in line
        assert "framework=tensorflow" in line
        assert puller.lines("Should download", "hash=")
