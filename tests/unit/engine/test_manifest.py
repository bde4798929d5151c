from __future__ import annotations

import json

import pytest
from modelfleet.errors import InvalidInput, NoMemory, ServerRefused, SourceEmpty, SourceNotFound, rebuilt
from modelfleet.manifest import Desired, DesiredModel, Manifest, Spec, Versions, parse, resolve, track

EXAMPLE = {
    "format": 1,
    "revision": 42,
    "defaults": {"versions": {"latest": 1}, "keep": 2},
    "models": {
        "digits": {
            "versions": [3],
            "labels": {"stable": 3},
            "memory": "1Gi",
            "probe": {"requests": "digits/probe.json", "p99_ms": 50},
        },
        "ranker": None,
    },
    "overrides": [
        {"nodes": ["node-1"], "models": {"digits": {"versions": [3, 4], "labels": {"stable": 3, "canary": 4}}}},
        {"nodes": ["node-1"], "models": {"scratch": {"versions": {"latest": 2}, "keep": 5}}},
    ],
    "absent": ["retired_model"],
}
LISTING = {"digits": (1, 2, 3, 4), "ranker": (7, 9), "scratch": (1, 2, 3), "unlisted": (1,)}


def test_the_example_means_what_it_says():
    manifest = parse(json.dumps(EXAMPLE), "fleet.json")
    assert manifest.revision == 42
    assert manifest.models["digits"] == Spec(
        Versions(pinned=(3,)), {"stable": 3}, None, "1Gi", {"requests": "digits/probe.json", "p99_ms": 50}
    )
    elsewhere = resolve(manifest, LISTING, "node-2", [])
    assert elsewhere == Desired(
        models={"digits": DesiredModel((3,), {"stable": 3}, 2), "ranker": DesiredModel((9,), {}, 2)},
        absent=("retired_model",),
    )
    here = resolve(manifest, LISTING, "node-1", [])
    assert here.models["digits"] == DesiredModel((3, 4), {"canary": 4, "stable": 3}, 2)
    assert here.models["scratch"] == DesiredModel((2, 3), {}, 5)


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        ("{", "fleet.json", "not JSON"),
        ('{"absent": [], "absent": []}', "fleet.json", "'absent' is given twice"),
        ("[]", "fleet.json", "not a mapping"),
        ("null", "fleet.json", "says nothing"),
        ('{"revision": NaN}', "fleet.json", "NaN"),
        ("[" * 100_000, "fleet.json", "not JSON"),
        ({"modls": {}}, "fleet.json", "unknown key 'modls'"),
        ({"format": 2}, "fleet.json: format", "is 2"),
        ({"revision": -1}, "fleet.json: revision", "is -1"),
        ({"defaults": {"labels": {}}}, "fleet.json: defaults", "unknown key 'labels'"),
        ({"defaults": {"keep": 0}}, "fleet.json: defaults.keep", "is 0"),
        ({"defaults": {"versions": {"newest": 1}}}, "fleet.json: defaults.versions", "unknown key 'newest'"),
        ({"defaults": {"versions": {}}}, "fleet.json: defaults.versions.latest", "is None"),
        ({"models": []}, "fleet.json: models", "not a mapping"),
        ({"models": {"a b": {}}}, "fleet.json: models: model name 'a b'", "letters"),
        ({"models": {"a": {"version": 1}}}, "fleet.json: models.a", "known keys are versions, labels, keep"),
        ({"models": {"a": {"versions": 3}}}, "fleet.json: models.a.versions", "not a list"),
        ({"models": {"a": {"versions": []}}}, "fleet.json: models.a.versions", "no version"),
        ({"models": {"a": {"versions": [True]}}}, "fleet.json: models.a.versions: version True", "whole number"),
        ({"models": {"a": {"versions": [2**63]}}}, "fleet.json: models.a.versions", "2**63"),
        ({"models": {"a": {"versions": ["01"]}}}, "fleet.json: models.a.versions", "zeros"),
        ({"models": {"a": {"versions": {"latest": True}}}}, "fleet.json: models.a.versions.latest", "True"),
        ({"models": {"a": {"labels": ["stable"]}}}, "fleet.json: models.a.labels", "mapping of labels"),
        ({"models": {"a": {"labels": {"x:y": 1}}}}, "fleet.json: models.a.labels: label 'x:y'", "letters"),
        ({"models": {"a": {"labels": {"stable": "new"}}}}, "fleet.json: models.a.labels.stable", "whole number"),
        ({"models": {"a": {"memory": 1.5}}}, "fleet.json: models.a.memory", "neither"),
        ({"models": {"a": {"memory": "much"}}}, "fleet.json: models.a.memory", "'much' is not an amount of bytes"),
        ({"models": {"a": {"memory": -1}}}, "fleet.json: models.a.memory", "not an amount"),
        ({"models": {"a": {"memory": "512m"}}}, "fleet.json: models.a.memory", "less than one byte"),
        ({"models": {"a": {"probe": "x"}}}, "fleet.json: models.a.probe", "not a mapping"),
        ({"overrides": [{"models": {}}]}, "fleet.json: overrides[0].nodes", "names of nodes"),
        ({"overrides": [{"nodes": [1]}]}, "fleet.json: overrides[0].nodes", "names of nodes"),
        ({"overrides": {"nodes": []}}, "fleet.json: overrides", "not a list"),
        ({"overrides": [{"nodes": ["n"], "models": {"a": {"x": 1}}}]}, "fleet.json: overrides[0].models.a", "key 'x'"),
        ({"absent": "a"}, "fleet.json: absent", "not a list"),
        ({"absent": ["a/b"]}, "fleet.json: absent: model name", "letters"),
        ({"models": {"a": {}}, "absent": ["a"]}, "fleet.json: absent", "model a, which the manifest also wants"),
    ],
)
def test_a_wrong_manifest_names_the_place(data, place, words):
    with pytest.raises(InvalidInput) as caught:
        parse(data, "fleet.json")
    assert caught.value.subject.startswith(place)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_versions_may_be_texts_as_inventories_give_them():
    manifest = parse({"models": {"a": {"versions": ["2", 1], "labels": {"stable": "2"}}}}, "inventory")
    assert resolve(manifest, {"a": (1, 2)}, "n", []).models["a"] == DesiredModel((1, 2), {"stable": 2}, 2)


def test_no_models_means_track_and_no_model_means_none():
    assert parse({}, "x").tracked
    assert track().defaults == Spec(Versions(latest=1), None, 2)
    assert list(resolve(track(), LISTING, "n", []).models) == sorted(LISTING)
    none = resolve(parse({"models": {}}, "x"), LISTING, "n", [])
    assert (none.tracked, none.models, none.problems) == (False, {}, ())


def test_an_empty_repository_is_a_problem_where_it_is_tracked():
    desired = resolve(track(), {}, "n", [])
    assert [type(problem) for problem in desired.problems] == [SourceEmpty]


def test_a_tracked_model_can_be_absent():
    desired = resolve(parse({"absent": ["digits"]}, "x"), LISTING, "n", [])
    assert "digits" not in desired.models
    assert (desired.absent, desired.unresolved) == (("digits",), ())


def test_what_cannot_be_honoured_is_named_and_neighbours_go_on():
    manifest = parse({"models": {"gone": {}, "hollow": {}, "pinned": {"versions": [8]}, "digits": {}}}, "x")
    listing = {**LISTING, "hollow": (), "pinned": (1, 2), "odd name": (1,)}
    desired = resolve(manifest, listing, "n", [])
    assert {problem.subject: type(problem) for problem in desired.problems} == {
        "model gone": SourceNotFound,
        "model hollow": SourceEmpty,
        "model pinned version 8": SourceNotFound,
    }
    assert desired.unresolved == ("gone", "hollow")
    assert {name: model.versions for name, model in desired.models.items()} == {"digits": (4,), "pinned": (8,)}
    assert "versions there: 1, 2" in str(desired.problems[-1])
    tracked = resolve(track(), {"odd name": (1,), "a": (0, 1)}, "n", [])
    assert [problem.code for problem in tracked.problems] == ["INVALID", "INVALID"]
    assert list(tracked.models) == ["a"]


def test_a_version_set_aside_is_passed_over_unless_it_is_pinned_or_labelled():
    refused = [("digits", 4), ("digits", 3)]
    desired = resolve(track(), {"digits": (1, 2, 3, 4)}, "n", refused)
    assert (desired.models["digits"].versions, desired.passed_over) == ((2,), {"digits": (3, 4)})
    pinned = parse({"models": {"digits": {"versions": [4]}}}, "x")
    assert resolve(pinned, LISTING, "n", refused).models["digits"].versions == (4,)
    labelled = parse({"models": {"digits": {"labels": {"canary": 4}}}}, "x")
    assert resolve(labelled, LISTING, "n", refused).models["digits"].versions == (2, 4)


def test_a_refused_entry_leaves_its_model_as_it_is():
    error = InvalidInput("model a", "has no storageUri", "give it one")
    stray = InvalidInput("file 'b c'", "names no model", "rename it")
    manifest = Manifest("definitions", models={"digits": Spec()}, refused={"a": error, "file 'b c'": stray})
    desired = resolve(manifest, LISTING, "n", [], {"a": [1], "old": [1]})
    assert (list(desired.models), desired.unresolved, desired.problems) == (["digits"], ("a",), (error, stray))
    assert Desired.from_dict(desired.to_dict()).unresolved == ("a",)


def test_an_earlier_entry_of_a_refused_one_holds_on():
    error = InvalidInput("model digits", "has no storageUri", "give it one")
    manifest = Manifest("definitions", models={"digits": Spec()}, refused={"digits": error}, partial=True)
    desired = resolve(manifest, LISTING, "n", [], {"digits": [3]})
    assert (list(desired.models), desired.unresolved, desired.problems) == (["digits"], (), (error,))


def test_an_entry_without_a_name_leaves_everything_as_it_is_that_is_not_named():
    error = InvalidInput("models.json[0]", "has no modelName", "name it")
    manifest = Manifest(
        "definitions",
        models={"digits": Spec()},
        refused={"models.json[0]": error},
        partial=True,
        absent=frozenset({"retired"}),
    )
    held = {"digits": [4], "old": [1], "hollow": [], "retired": [1]}
    desired = resolve(manifest, LISTING, "n", [], held)
    assert (list(desired.models), desired.unresolved, desired.problems) == (["digits"], ("old",), (error,))


def test_memory_is_checked_where_there_is_a_budget():
    manifest = parse({"models": {"digits": {"memory": "1Gi"}, "ranker": {"memory": "3Gi"}, "scratch": {}}}, "x")
    assert resolve(manifest, LISTING, "n", []).problems == ()
    desired = resolve(manifest, LISTING, "n", [], memory_budget=3 * 2**30)
    assert (list(desired.models), desired.unresolved) == (["digits", "scratch"], ("ranker",))
    (error,) = desired.problems
    assert isinstance(error, NoMemory)
    assert "model ranker: announces 3 GiB of memory, and 2 GiB of this node's 3 GiB are left for it" in str(error)
    runs = resolve(manifest, LISTING, "n", [], {"ranker": [7]}, memory_budget=3 * 2**30)
    assert (list(runs.models), runs.unresolved) == (["ranker", "scratch"], ("digits",))


def test_every_version_of_a_model_needs_its_memory():
    manifest = parse({"models": {"digits": {"versions": [1], "labels": {"canary": 2}, "memory": "1Gi"}}}, "x")
    assert resolve(manifest, LISTING, "n", [], memory_budget=2 * 2**30).unresolved == ()
    desired = resolve(manifest, LISTING, "n", [], {"digits": [1, 2]}, memory_budget=2 * 2**30 - 1)
    assert desired.unresolved == ("digits",)
    assert "2 GiB of memory (2 versions of 1 GiB)" in str(desired.problems[0])
    held = resolve(manifest, LISTING, "n", [], {"digits": [1]}, memory_budget=2**30)
    assert "it stays as it is" in str(held.problems[0])


def test_memory_of_a_node_can_be_overridden():
    data = {
        "models": {"digits": {"memory": "1Gi"}},
        "overrides": [{"nodes": ["small"], "models": {"digits": {"memory": "1Mi"}}}],
    }
    manifest = parse(data, "x")
    assert resolve(manifest, LISTING, "small", [], memory_budget=2**20).unresolved == ()
    assert resolve(manifest, LISTING, "large", [], memory_budget=2**20).unresolved == ("digits",)


@pytest.mark.parametrize("data", [{}, {"models": []}, {"models": {"a": {}}}, {"models": {"a": {"versions": [0]}}}])
def test_only_a_desired_state_is_taken_for_one(data):
    with pytest.raises(InvalidInput):
        Desired.from_dict(data)


def test_errors_survive_the_way_through_data():
    error = rebuilt(SourceEmpty("model a", "has no version", "publish one").as_dict())
    assert (type(error), str(error)) == (SourceEmpty, "model a: has no version; publish one")
    refused = rebuilt(ServerRefused("model a", "NOT_FOUND", "no such file").as_dict())
    assert (refused.code, str(refused)) == ("SERVER_REFUSED", "model a: NOT_FOUND: no such file")
    assert rebuilt({"code": "NEW", "subject": "s", "problem": "p"}).as_dict()["code"] == "NEW"
