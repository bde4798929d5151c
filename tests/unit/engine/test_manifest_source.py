from __future__ import annotations

import json
import os

import pytest
from modelfleet import manifest_source
from modelfleet.adapters.files import FilesRepository
from modelfleet.errors import InvalidInput, SourceForbidden, SourceNotFound, SourceUnavailable
from modelfleet.kserve import LIST_NAME, parse
from modelfleet.locations import Location
from modelfleet.manifest import Spec, Versions, resolve
from modelfleet.store import Store

GIVEN = {"models": {"digits": {"versions": [3], "memory": "1Gi"}}, "defaults": {"keep": 3}}


def definitions(*entries):
    return parse({LIST_NAME: json.dumps(entries).encode()})


def entry(name, **spec):
    return {"modelName": name, "modelSpec": {"storageUri": f"gs://b/{name}", "framework": "tensorflow", **spec}}


def test_a_file_says_what_an_inventory_would(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(GIVEN))
    (tmp_path / "repository").mkdir()
    repository, store = FilesRepository(tmp_path / "repository"), Store(tmp_path / "store")
    found = manifest_source.find(manifest_source.from_file(file), repository, store)
    assert found == manifest_source.find(GIVEN, repository, store)
    assert found.models["digits"].versions == Versions(pinned=(3,))


def test_a_file_without_models_leaves_them_to_the_repository(tmp_path):
    file = tmp_path / "manifest.json"
    file.write_text('{"defaults": {"keep": 5}}')
    (tmp_path / "repository").mkdir()
    found = manifest_source.find(
        manifest_source.from_file(file), FilesRepository(tmp_path / "repository"), Store(tmp_path / "store")
    )
    assert (found.tracked, found.defaults.keep) == (True, 5)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", ""),
        (b"{", ""),
        (b"null", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"modles": {}}', ""),
        (b'{"models": {"a": {"memory": "x"}}}', ": models.a.memory"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_its_place(tmp_path, content, place):
    file = tmp_path / "manifest.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        manifest_source.from_file(file)
    assert caught.value.subject == f"{file}{place}"
    assert caught.value.remedy


def test_a_file_that_is_not_there_or_cannot_be_read_is_told_apart(tmp_path, monkeypatch):
    with pytest.raises(SourceNotFound, match="does not exist; write it; nothing changes"):
        manifest_source.from_file(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    for no_file in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SourceUnavailable, match="cannot be read: it is no regular file"):
            manifest_source.from_file(no_file)

    def refuse(*_args):
        raise PermissionError

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(SourceForbidden, match="may not be read"):
        manifest_source.from_file(tmp_path / "manifest.json")


def test_definitions_become_a_manifest_with_a_location_for_each_model():
    found = manifest_source.from_definitions(
        definitions(
            entry("one", memory="1Gi"),
            entry("pinned", version=7),
            entry("two", versionPolicy={"latest": {"num_versions": 2}}),
            entry("chosen", versionPolicy={"specific": {"versions": [4, 2]}}),
            entry("wrong", framework="onnx"),
        ),
        "/mnt/configs",
    )
    assert (found.source, found.tracked, found.partial) == ("/mnt/configs", False, False)
    assert found.models == {
        "one": Spec(Versions(latest=1), memory=2**30),
        "pinned": Spec(Versions(latest=1)),
        "two": Spec(Versions(latest=2)),
        "chosen": Spec(Versions(latest=2)),
    }
    assert found.locations == {
        "one": Location("gs://b/one"),
        "pinned": Location("gs://b/pinned", (7,)),
        "two": Location("gs://b/two"),
        "chosen": Location("gs://b/chosen", (2, 4)),
    }
    desired = resolve(found, {"one": (1,), "pinned": (8,), "two": (1, 2, 3), "chosen": (12, 14)}, "n", [])
    assert {name: model.versions for name, model in desired.models.items()} == {
        "chosen": (12, 14),
        "one": (1,),
        "pinned": (8,),
        "two": (2, 3),
    }
    assert desired.unresolved == ("wrong",)
    assert [problem.code for problem in desired.problems] == ["UNSUPPORTED"]


def test_no_definition_wants_no_model_and_an_unnamed_one_removes_none():
    held = {"old": [1]}
    none = resolve(manifest_source.from_definitions(definitions(), "d"), {}, "n", [], held)
    assert (none.models, none.unresolved, none.tracked, none.problems) == ({}, (), False, ())
    unnamed = resolve(manifest_source.from_definitions(definitions({}), "d"), {}, "n", [], held)
    assert (unnamed.models, unnamed.unresolved) == ({}, ("old",))
