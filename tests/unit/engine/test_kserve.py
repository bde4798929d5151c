from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from modelfleet.errors import InvalidInput, SourceUnavailable, UnsupportedFramework
from modelfleet.kserve import LIST_NAME, Change, Definitions, changes, parse
from modelfleet.model_definition import FRAMEWORKS, Definition
from modelfleet.specs import Versions

#: As KServe's controller writes it into the config map.
LISTED = b"""[
  {
    "modelName": "model1",
    "modelSpec": {
      "storageUri": "s3://example-bucket/path/to/model1",
      "framework": "tensorflow",
      "memory": "1G"
    }
  },
  {
    "modelName": "model2",
    "modelSpec": {
      "storageUri": "gs://example-bucket/path/to/model2",
      "framework": "tensorflow",
      "memory": "1Gi"
    }
  }
]
"""
DOCUMENT = Path(__file__).parents[3] / "docs/model-definitions.md"
GOOD = {"storageUri": "gs://bucket/m", "framework": "tensorflow", "memory": "1Gi"}
M = Definition("gs://bucket/m", memory_bytes=2**30)


def listed(*entries):
    return parse({LIST_NAME: json.dumps(entries).encode()})


def entry(name="m", **spec):
    return {"modelName": name, "modelSpec": {**GOOD, **spec}}


def problem(definitions, name="m"):
    assert name not in definitions.models
    return definitions.problems[name]


def test_the_list_of_kserve_is_read():
    assert parse({LIST_NAME: LISTED}) == Definitions(
        {
            "model1": Definition("s3://example-bucket/path/to/model1", memory_bytes=10**9),
            "model2": Definition("gs://example-bucket/path/to/model2", memory_bytes=2**30),
        }
    )


def test_one_file_for_each_model_is_read_whatever_its_suffix():
    as_mapping, as_list = json.dumps(GOOD).encode(), json.dumps([GOOD]).encode()
    found = parse({"model_name1.json": as_mapping, "m2": as_list, "m-3": b"\xef\xbb\xbf" + as_mapping})
    assert found == Definitions({"m-3": M, "m2": M, "model_name1": M})


@pytest.mark.parametrize("files", [{}, {LIST_NAME: b"[]"}])
def test_no_definition_is_no_model(files):
    assert parse(files) == Definitions()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"null", "is not a list"),
        (b'{"modelName": "m"}', "is not a list"),
        (b"\xff\xfe[]", "is not UTF-8"),
        (b'[{"modelName": "a", "modelName": "b"}]', "'modelName' is given twice"),
        (b"[" * 100_000, "is not JSON"),
        (b"[NaN]", "NaN"),
    ],
)
def test_a_list_that_is_none_is_refused_as_a_whole(content, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        parse({LIST_NAME: content, "m2": b"{}"})
    assert caught.value.subject == LIST_NAME
    assert caught.value.remedy


def test_a_list_of_more_models_than_a_node_has_is_refused_as_a_whole():
    assert len(parse({LIST_NAME: b"[1" + b",1" * 9_999 + b"]"}).problems) == 10_000
    with pytest.raises(InvalidInput, match="lists 10001 models"):
        parse({LIST_NAME: b"[1" + b",1" * 10_000 + b"]"})


def test_a_list_that_cannot_be_read_is_refused_as_a_whole():
    with pytest.raises(SourceUnavailable, match=r"models\.json: is larger than 5 bytes; "):
        parse({"m2": b"{}"}, {LIST_NAME: "is larger than 5 bytes"})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[{}, {}]", b"null", b'"gs://bucket/m"', b"[[]]"])
def test_a_file_that_defines_nothing_is_the_problem_of_its_model_alone(content):
    found = parse({"m": content, "good.json": json.dumps(GOOD).encode()})
    assert found.models == {"good": M}
    assert not found.partial
    error = problem(found)
    assert (type(error), error.subject) == (InvalidInput, "model m")
    assert error.remedy


def test_a_file_that_cannot_be_read_is_the_problem_of_its_model_alone():
    found = parse({"good": json.dumps(GOOD).encode()}, {"m.json": "cannot be read: Permission denied"})
    assert found.models == {"good": M}
    assert str(problem(found)).startswith("model m: has a definition that cannot be read: Permission denied; ")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"storageUri": None}, "has no storageUri"),
        ({"storageUri": ""}, "has no storageUri"),
        ({"storageUri": 3}, "has no storageUri"),
        ({"storageUri": " gs://b/m"}, "blanks around its storageUri"),
        ({"storageUri": "gs://b/\nm"}, "control characters"),
        ({"storageUri": "gs://b/\ud800"}, "control characters"),
        ({"framework": None}, "has no framework"),
        ({"framework": "tensorflow:v1.12"}, "unknown framework 'tensorflow:v1.12'"),
        ({"framework": "Tensorflow"}, "unknown framework 'Tensorflow'"),
        ({"framework": ["tensorflow"]}, "unknown framework ['tensorflow']"),
        ({"framework": "x" * 10_000}, "unknown framework 'xxx"),
        ({"memory": "1 gig"}, "wrong memory: '1 gig' is not an amount"),
        ({"memory": "512m"}, "wrong memory: '512m' is less than one byte"),
        ({"memory": "-1Gi"}, "wrong memory"),
        ({"memory": True}, "has the memory True"),
        ({"memory": {"limit": 1}}, "has the memory {'limit': 1}"),
        ({"version": 0}, "version: version 0 is not a whole number"),
        ({"version": "latest"}, "version: version 'latest' is not"),
        ({"version": True}, "version: version True is not"),
        ({"version": 1, "versionPolicy": {"latest": {}}}, "both version and versionPolicy"),
        ({"versionPolicy": {"all": {}}}, "wants all versions at once"),
        ({"versionPolicy": {}}, "versionPolicy does not hold exactly one key"),
        ({"versionPolicy": "latest"}, "versionPolicy is not a mapping"),
        ({"versionPolicy": {"newest": {}}}, "versionPolicy has the unknown key 'newest'"),
        ({"versionPolicy": {"latest": {"num_versions": 0}}}, "versionPolicy.latest.num_versions is 0"),
        ({"versionPolicy": {"latest": {"count": 2}}}, "versionPolicy.latest has the unknown key 'count'"),
        ({"versionPolicy": {"specific": {}}}, "versionPolicy.specific.versions lists no version"),
        ({"versionPolicy": {"specific": {"versions": 3}}}, "versionPolicy.specific.versions is not a list"),
        ({"versionPolicy": {"specific": {"versions": [1, -1]}}}, "versionPolicy.specific.versions: version -1"),
        ({"storage_uri": "gs://b/m"}, "unknown key 'storage_uri'; write storageUri"),
        ({"Memory": "2Gi"}, "unknown key 'Memory'; write memory"),
        ({"framwork": "sklearn"}, "unknown key 'framwork'; write framework"),
        ({"versions": [3]}, "unknown key 'versions'; write version"),
        ({"version_policy": {}}, "unknown key 'version_policy'; write versionPolicy"),
    ],
)
def test_a_wrong_field_is_named_and_is_the_problem_of_its_model_alone(spec, words):
    found = listed(entry(**spec), entry("neighbour"))
    assert found.models == {"neighbour": M}
    assert not found.partial
    error = problem(found)
    assert (type(error), error.subject) == (InvalidInput, "model m")
    assert words in str(error)
    assert error.remedy
    assert len(str(error)) < 400
    error.one_line().encode()


@pytest.mark.parametrize("spec", [None, "https://me:s3cret@host/m", [GOOD], ["https://me:s3cret@host/m"]])
def test_a_model_without_a_specification_is_refused(spec):
    told = str(problem(listed({"modelName": "m", "modelSpec": spec})))
    assert "is defined by" in told
    assert "s3cret" not in told


def test_the_allowed_frameworks_are_named():
    remedy = problem(listed(entry(framework="tensorflow:v1.12"))).remedy
    assert all(name in remedy for name in FRAMEWORKS)


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name != "tensorflow"])
def test_a_framework_that_the_fleet_does_not_serve_is_told_apart_from_an_unknown_one(framework):
    error = problem(listed(entry(framework=framework)))
    assert isinstance(error, UnsupportedFramework)
    assert f"has the framework {framework}, and this fleet serves tensorflow" in str(error)


def test_memory_that_is_not_announced_counts_as_nothing():
    spec = {key: value for key, value in GOOD.items() if key != "memory"}
    assert listed({"modelName": "m", "modelSpec": spec}).models["m"].memory_bytes == 0


@pytest.mark.parametrize(
    ("spec", "versions"),
    [
        ({}, Versions(latest=1)),
        ({"version": None, "versionPolicy": None}, Versions(latest=1)),
        ({"version": 3}, Versions(pinned=(3,))),
        ({"version": "3"}, Versions(pinned=(3,))),
        ({"versionPolicy": {"latest": {}}}, Versions(latest=1)),
        ({"versionPolicy": {"latest": {"num_versions": 2}}}, Versions(latest=2)),
        ({"versionPolicy": {"specific": {"versions": [4, 2, "4"]}}}, Versions(pinned=(2, 4))),
    ],
)
def test_versions_are_chosen_in_the_content(spec, versions):
    assert listed(entry(**spec)).models["m"].versions == versions


def test_keys_that_nobody_knows_yet_are_ignored():
    spec = {"storage": {"key": "x"}, "runtime": "y", "protocolVersion": "v2", "runtimeVersion": "2.1"}
    assert listed({**entry(**spec), "modelLabels": {}}) == Definitions({"m": M})


def test_a_model_that_is_defined_twice_must_be_defined_alike():
    assert listed(entry(), entry("n"), entry()) == Definitions({"m": M, "n": M})
    found = listed(entry(), entry("n"), entry(memory="2Gi"))
    assert list(found.models) == ["n"]
    assert "is defined differently by models.json[0] and models.json[2]" in str(problem(found))
    found = listed(entry(memory="x"), entry())
    assert "is defined differently" in str(problem(found))
    found = listed(entry(memory="x"), entry(memory="x"))
    assert "wrong memory" in str(problem(found))
    content = json.dumps(GOOD).encode()
    assert parse({"m": content, "m.json": content}) == Definitions({"m": M})
    found = parse({"m": content, "m.json": b"{}"})
    assert "is defined differently by file 'm' and file 'm.json'" in str(problem(found))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"modelSpec": GOOD}, "has no modelName"),
        ({"modelname": "a", "modelSpec": GOOD}, "unknown key 'modelname'; write modelName"),
        ({"modelName": "a b", "modelSpec": GOOD}, "names the model 'a b', and"),
        ({"modelName": "", "modelSpec": GOOD}, "names the model ''"),
        ({"modelName": 3, "modelSpec": GOOD}, "names the model 3"),
        ({"modelName": "../etc", "modelSpec": GOOD}, "names the model '../etc'"),
        ("https://me:s3cret@host/m", "is a text, not a model"),
        (["https://me:s3cret@host/m"], "is a list of 1, not a model"),
        (None, "is None, not a model"),
    ],
)
def test_an_entry_that_names_no_model_keeps_every_other_model_from_being_taken_for_removed(wrong, words):
    found = listed(wrong, entry())
    assert (found.models, found.partial) == ({"m": M}, True)
    error = problem(found, f"{LIST_NAME}[0]")
    assert words in str(error)
    assert "s3cret" not in str(error)
    assert error.remedy
    kept = found.followed({"m": Definition("old"), "unnamed": Definition("old")})
    assert kept == {"m": M, "unnamed": Definition("old")}


def test_a_misspelt_specification_is_a_problem_of_the_model_that_is_named():
    found = listed({"modelName": "m", "model_spec": GOOD})
    assert not found.partial
    assert "unknown key 'model_spec'; write modelSpec" in str(problem(found))


def test_files_that_name_no_model_are_problems_and_nothing_more():
    found = parse({"README.md": b"hello", "m.json~": b"{}", "m": json.dumps(GOOD).encode(), "\udcff": b""})
    assert (found.models, found.partial) == ({"m": M}, False)
    assert sorted(found.problems) == ["file 'README.md'", "file '\\udcff'", "file 'm.json~'"]
    for error in found.problems.values():
        error.one_line().encode()


def test_nothing_counts_beside_the_list():
    content = json.dumps(GOOD).encode()
    found = parse({LIST_NAME: json.dumps([entry()]).encode(), "m": b"{}", "n.json": content}, {"x": "is odd"})
    assert (found.models, found.partial) == ({"m": M}, False)
    assert sorted(found.problems) == ["file 'm'", "file 'n.json'", "file 'x'"]
    assert "does not count beside models.json" in str(found.problems["file 'n.json'"])


def test_changes_are_told_as_load_and_unload_with_what_is_to_be_loaded():
    before = {"gone": M, "moved": M, "same": M}
    moved = Definition("s3://elsewhere/m")
    told = changes(before, {"moved": moved, "new": M, "same": M})
    assert told == (Change("gone", None), Change("moved", moved), Change("new", M))
    assert [change.action for change in told] == ["unload", "load", "load"]


def test_each_field_may_change_but_not_to_what_is_refused():
    before = listed(entry()).followed({})
    for spec in ({"storageUri": "s3://other/m"}, {"memory": "2Gi"}, {"version": 2}):
        after = listed(entry(**spec))
        assert changes(before, after.followed(before)) == (Change("m", after.models["m"]),)
    for spec, field in (
        ({"framework": "onnx"}, "framework"),
        ({"memory": "much"}, "memory"),
        ({"version": 0}, "version"),
    ):
        after = listed(entry(**spec))
        assert field in problem(after).problem
        assert after.followed(before) == before
    assert changes(before, listed().followed(before)) == (Change("m", None),)


def test_a_uri_that_may_carry_a_password_is_not_shown():
    found = listed(entry(storageUri="https://user:hush@example.org/m.zip?sig=hush", memory="1e"))
    assert "hush" not in repr(found)
    assert "hush" not in repr(listed(entry(storageUri="https://user:hush@example.org/m.zip")))
    assert "hush" not in str(problem(listed(entry(storageUri=" https://user:hush@example.org/m.zip"))))


def test_the_document_shows_what_is_read():
    text = DOCUMENT.read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert list(parse({LIST_NAME: example.encode()}).models) == ["model1", "model2"]
    shown = dict(re.findall(r"^\$ cat /mnt/configs/(\S+)\n(.*)$", text, re.MULTILINE))
    found = parse({name: content.encode() for name, content in shown.items()})
    assert (sorted(found.models), found.problems) == (["m1", "model_name1"], {})
    (frameworks,) = re.findall(r"^\| `framework` .*? one of (.*), without", text, re.MULTILINE)
    assert re.findall(r"`(\w+)`", frameworks) == list(FRAMEWORKS)
    for policy in re.findall(r'`(\{"(?:latest|specific)".*?\}\})`', text):
        assert listed(entry(versionPolicy=json.loads(policy))).problems == {}
    for amount in re.findall(r"as in Kubernetes: (.*)\.", text)[0].split(", "):
        assert listed(entry(memory=amount.strip("`"))).models["m"].memory_bytes > 10**8
