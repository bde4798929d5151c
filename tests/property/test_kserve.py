"""Definitions: whatever the files hold and whatever is done to them, no model is lost and no two revisions mix."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from modelfleet.config_directory import read, token
from modelfleet.errors import ModelfleetError, NoMemory
from modelfleet.kserve import LIST_NAME, Change, changes, parse
from modelfleet.manifest import Desired, resolve
from modelfleet.manifest_source import from_definitions
from modelfleet.model_definition import Definition
from modelfleet.names import is_model_name
from modelfleet.quantity import parse_bytes

from tests.support.projected_volume import ProjectedVolume

SHELF = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (memory, where there is some: far quicker)
#: A busy machine is no failure.
unhurried = settings(deadline=None)
KEYS = ["modelName", "modelSpec", "storageUri", "framework", "memory", "version", "versionPolicy", "latest", "specific"]
KEYS += ["versions", "num_versions", "all", "modelname", "storage_uri", "x"]
json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["m1", "gs://b/m1", "tensorflow", "onnx", "1Gi", "1e9"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)
names = st.sampled_from(["m1", "m2", "m-3", "M_4"])
specs = st.fixed_dictionaries(
    {
        "storageUri": st.sampled_from(["gs://b/m", "s3://b/m"]),
        "framework": st.sampled_from(["tensorflow"] * 4 + ["onnx"]),
    },
    optional={
        "memory": st.sampled_from(["1Gi", "2G", 5, "x"]),
        "version": st.integers(0, 4),
        "versionPolicy": st.just({"latest": {"num_versions": 2}}),
    },
)
lists = st.lists(
    st.fixed_dictionaries({"modelName": names | st.just("a b"), "modelSpec": specs | json_data}) | json_data, max_size=6
)
revisions = st.dictionaries(names, specs, max_size=4)
file_names = st.sampled_from(["m1", "m1.json", "m2", "m.3", "README.md", LIST_NAME]) | st.text(max_size=5)


def listed(entries):
    return parse({LIST_NAME: json.dumps(entries).encode()})


@unhurried
@given(
    st.dictionaries(
        file_names, st.binary(max_size=20) | json_data.map(lambda data: json.dumps(data).encode()), max_size=4
    )
)
def test_any_files_are_definitions_or_an_error_with_a_remedy(files):
    refusal = None
    try:
        found = parse(files)
    except ModelfleetError as error:
        refusal = error
    if LIST_NAME in files and refusal is not None:
        assert refusal.subject == LIST_NAME
        assert refusal.remedy
        return
    assert refusal is None
    for place, problem in found.problems.items():
        problem.one_line().encode()
        assert problem.remedy
        assert problem.subject == (f"model {place}" if is_model_name(place) else place)
    if LIST_NAME not in files:
        models = {name.removesuffix(".json") for name in files}
        assert {*found.models, *filter(is_model_name, found.problems)} == set(filter(is_model_name, models))


@unhurried
@given(lists, st.dictionaries(names, st.lists(st.integers(1, 3), max_size=2), max_size=4))
def test_no_model_that_is_named_is_lost_and_none_is_removed_that_may_be_meant(entries, held):
    found = listed(entries)
    named = {e["modelName"] for e in entries if isinstance(e, dict) and is_model_name(e.get("modelName"))}
    assert {*found.models, *filter(is_model_name, found.problems)} == named
    assert not set(found.models) & set(found.problems)
    anonymous = any(not isinstance(e, dict) or not is_model_name(e.get("modelName")) for e in entries)
    assert found.partial == anonymous

    manifest = from_definitions(found, "definitions")
    desired = resolve(manifest, dict.fromkeys(found.models, (1, 2, 3)), "node-1", [], held)
    assert set(desired.models) == set(found.models) == set(manifest.locations)
    assert named <= {*desired.models, *desired.unresolved}
    if anonymous:
        assert {name for name, versions in held.items() if versions} <= {*desired.models, *desired.unresolved}
    assert len(desired.problems) == len(found.problems)
    assert Desired.from_dict(json.loads(json.dumps(desired.to_dict()))).to_dict() == desired.to_dict()
    tight = resolve(manifest, dict.fromkeys(found.models, (1, 2, 3)), "node-1", [], held, 2**30)
    assert {*tight.models, *tight.unresolved} == {*desired.models, *desired.unresolved}
    assert {p.code for p in tight.problems[len(desired.problems) :]} <= {NoMemory.code}


@unhurried
@given(st.lists(revisions, min_size=2, max_size=5))
def test_the_difference_of_two_revisions_is_exactly_what_changed(history):
    followed, loaded = {}, {}
    for revision in history:
        found = listed([{"modelName": name, "modelSpec": spec} for name, spec in revision.items()])
        after = found.followed(followed)
        for name in {*followed, *after, *revision}:
            if name in found.problems:
                assert after.get(name) == followed.get(name), "it stays as it is"
            else:
                assert after.get(name) == found.models.get(name)
        told = changes(followed, after)
        assert [change.model for change in told] == sorted(
            name for name in {*followed, *after} if followed.get(name) != after.get(name)
        )
        for change in told:
            if change.definition is None:
                del loaded[change.model]
            else:
                loaded[change.model] = change.definition
        assert loaded == after
        followed = after
    assert changes(followed, followed) == ()
    assert changes({}, {"m": Definition("u")}) == (Change("m", Definition("u")),)


actions = st.one_of(
    st.tuples(st.just("write"), names, st.binary(max_size=3)),
    st.tuples(st.just("over"), names, st.binary(max_size=3)),
    st.tuples(st.just("remove"), names),
    st.tuples(st.just("rename"), names, names),
)


def act(folder, action, name, value=None):
    file = folder / name
    if action == "write":
        file.write_bytes(value)
    elif action == "over":
        (folder / ".new").write_bytes(value)
        (folder / ".new").replace(file)
    elif action == "remove":
        file.unlink(missing_ok=True)
    elif file.exists():
        file.rename(folder / value)


@settings(max_examples=25, deadline=None)
@given(st.lists(actions, min_size=1, max_size=4))
def test_every_change_of_plain_files_shows_and_is_read_as_it_is(steps):
    with tempfile.TemporaryDirectory(dir=SHELF) as place:
        folder = Path(place)
        for step in steps:
            before = read(folder)
            assert token(folder) == before.token
            act(folder, *step)
            held = {path.name: path.read_bytes() for path in folder.iterdir()}
            if held != before.files:
                assert token(folder) != before.token
            assert read(folder).files == held


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(names, st.text("ab", max_size=2), max_size=3), min_size=1, max_size=5))
def test_every_exchange_of_a_volume_shows_and_is_read_as_it_is(history):
    with tempfile.TemporaryDirectory(dir=SHELF) as place:
        volume = ProjectedVolume(Path(place))
        seen = read(volume.path)
        for files in history:
            volume.project(files)
            assert token(volume.path) != seen.token
            seen = read(volume.path)
            assert seen.files == {name: text.encode() for name, text in files.items()}
            assert token(volume.path) == seen.token


@unhurried
@given(st.integers(0, 2**53), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_a_quantity_is_its_number_times_its_unit(number, unit):
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]
    text = f"{number}{unit}"
    if number * factor < 2**63:
        assert parse_bytes(text, "memory") == number * factor


@unhurried
@given(st.text("0123456789.+-eEinumkKMGTPB ", max_size=12))
def test_any_text_is_an_amount_or_a_typed_error(text):
    try:
        amount = parse_bytes(text, "memory")
    except ModelfleetError as error:
        assert error.subject == "memory"  # noqa: PT017  (an amount is as good)
    else:
        assert 0 <= amount < 2**63
