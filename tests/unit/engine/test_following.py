from __future__ import annotations

import json

import pytest
from modelfleet.errors import InvalidInput
from modelfleet.following import FollowedDefinitions
from modelfleet.manifest import resolve

from tests.support.projected_volume import ProjectedVolume


def definition(uri="gs://b/m", **spec):
    return json.dumps({"storageUri": uri, "framework": "tensorflow", "memory": "1Gi", **spec})


@pytest.fixture
def volume(tmp_path):
    return ProjectedVolume(tmp_path / "configs")


@pytest.fixture
def told():
    return []


@pytest.fixture
def followed(volume, told):
    return FollowedDefinitions(volume.path, lambda change: told.append((change.action, change.model)))


def test_each_change_is_told_once(volume, followed, told):
    volume.project({"m1": definition(), "m2": definition()})
    assert list(followed.look().models) == ["m1", "m2"]
    followed.look()
    assert told == [("load", "m1"), ("load", "m2")]
    told.clear()
    before = followed.token()
    volume.project({"m2": definition("s3://b/m"), "m3": definition()})
    assert followed.token() != before
    manifest = followed.look()
    assert told == [("unload", "m1"), ("load", "m2"), ("load", "m3")]
    assert {name: location.uri for name, location in manifest.locations.items()} == {
        "m2": "s3://b/m",
        "m3": "gs://b/m",
    }


def test_a_definition_that_becomes_wrong_does_not_take_back_the_one_before(volume, followed, told):
    volume.project({"m1": definition()})
    good = followed.look()
    told.clear()
    for wrong in ("{", definition(framework="onnx"), definition(framework="tensorflow:v1.12"), definition(memory="x")):
        volume.project({"m1": wrong})
        manifest = followed.look()
        assert (manifest.models, manifest.locations) == (good.models, good.locations)
        assert list(manifest.refused) == ["m1"]
        desired = resolve(manifest, {"m1": (1, 2)}, "n", [], {"m1": (1,)})
        assert (desired.models["m1"].versions, desired.unresolved) == ((2,), ())
        assert desired.problems == (manifest.refused["m1"],)
    assert told == []
    volume.project({})
    assert followed.look().models == {}
    assert told == [("unload", "m1")]


def test_after_a_restart_a_wrong_definition_leaves_its_model_as_it_is(volume, followed, told):
    volume.project({"m1": definition(framework="onnx")})
    desired = resolve(followed.look(), {}, "n", [], {"m1": (1,)})
    assert (desired.models, desired.unresolved, told) == ({}, ("m1",), [])


def test_a_list_that_is_damaged_changes_nothing(volume, followed, told):
    volume.project({"models.json": json.dumps([{"modelName": "m1", "modelSpec": json.loads(definition())}])})
    good = followed.look()
    volume.project({"models.json": "[{"})
    with pytest.raises(InvalidInput, match=r"models\.json: is not JSON"):
        followed.look()
    volume.project({"models.json": json.dumps([{"modelSpec": json.loads(definition())}])})
    assert followed.look().models == good.models
    assert told == [("load", "m1")]
    volume.project({"models.json": "[]"})
    assert followed.look().models == {}
    assert told == [("load", "m1"), ("unload", "m1")]
