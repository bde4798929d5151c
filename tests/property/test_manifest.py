"""Resolving a manifest: whatever it says and whatever the repository holds, the result keeps its promises."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from modelfleet.errors import InvalidInput, NoMemory
from modelfleet.manifest import Desired, parse, resolve, track
from modelfleet.quantity import parse_bytes

#: A busy machine is no failure.
unhurried = settings(deadline=None)
names = st.sampled_from(["digits", "ranker", "a-b", "X_1"])
numbers = st.integers(1, 6)
nodes = st.sampled_from(["node-1", "node-2"])
selectors = st.one_of(
    st.integers(1, 4).map(lambda count: {"latest": count}), st.lists(numbers, min_size=1, max_size=3, unique=True)
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "versions": selectors,
        "labels": st.dictionaries(st.sampled_from(["stable", "canary"]), numbers, max_size=2),
        "keep": st.integers(1, 3),
        "memory": st.sampled_from(["1Gi", "512Mi", 2**29, "2Gi", 0]),
        "probe": st.just({"requests": "digits/probe.json"}),
    },
)
models = st.dictionaries(names, specs, max_size=4)
listings = st.dictionaries(names, st.frozensets(numbers, max_size=5), max_size=4)
refusals = st.frozensets(st.tuples(names, numbers), max_size=6)


@st.composite
def manifests(draw):
    overrides = draw(
        st.lists(
            st.fixed_dictionaries({"nodes": st.lists(nodes, min_size=1, unique=True), "models": models}), max_size=2
        )
    )
    data = {"format": 1, "revision": draw(st.integers(0, 9)), "overrides": overrides}
    data |= draw(st.fixed_dictionaries({}, optional={"models": models, "defaults": st.just({"keep": 3})}))
    used = {*data.get("models", {}), *(name for item in overrides for name in item["models"])}
    data["absent"] = draw(st.lists(names.filter(lambda name: name not in used), unique=True)) if len(used) < 4 else []
    return parse(json.dumps(data), "fleet.json")


@unhurried
@given(manifests(), listings, nodes, refusals, listings)
def test_the_result_keeps_its_promises(manifest, listing, node, refused, held):
    desired = resolve(manifest, listing, node, refused, held)
    specs_here = manifest.for_node(node, listing)

    assert not set(desired.models) & manifest.absent
    assert {*desired.models, *desired.unresolved} == set(specs_here), "no wanted model is silently lost"
    assert not set(desired.models) & set(desired.unresolved)
    for name in desired.unresolved:
        assert any(f"model {name}" == problem.subject for problem in desired.problems)
    for name, model in desired.models.items():
        spec = specs_here[name]
        assert model.versions == tuple(sorted(set(model.versions)))
        assert model.versions
        assert set(model.labels.values()) <= set(model.versions)
        assert dict(model.labels) == dict(spec.labels or {})
        free = set(model.versions) - set(model.labels.values())
        if spec.versions.pinned:
            assert set(spec.versions.pinned) <= set(model.versions)
            assert free <= set(spec.versions.pinned)
        else:
            sound = sorted(v for v in listing.get(name, ()) if (name, v) not in refused)
            assert set(sound[-spec.versions.latest :]) == set(model.versions) - (
                set(model.labels.values()) - set(sound[-spec.versions.latest :])
            )
        for version in model.versions:
            missing = version not in listing.get(name, ()) and version not in held.get(name, ())
            assert missing == any(p.subject == f"model {name} version {version}" for p in desired.problems)
    assert Desired.from_dict(json.loads(json.dumps(desired.to_dict()))).to_dict() == desired.to_dict()


@unhurried
@given(manifests(), listings, refusals, listings, st.integers(0, 6).map(lambda halves: halves * 2**29 + 1))
def test_memory_is_never_promised_twice_and_what_runs_is_never_given_up(manifest, listing, refused, held, budget):
    free = resolve(manifest, listing, "node-1", refused, held)
    desired = resolve(manifest, listing, "node-1", refused, held, budget)
    each = {n: parse_bytes(s.memory or 0, n) for n, s in manifest.for_node("node-1", listing).items()}
    too_large = {p.subject.removeprefix("model ") for p in desired.problems if isinstance(p, NoMemory)}

    assert {*desired.models, *desired.unresolved} == {*free.models, *free.unresolved}
    assert set(desired.unresolved) - set(free.unresolved) <= too_large <= set(desired.unresolved)
    assert desired.models == {name: model for name, model in free.models.items() if name not in too_large}
    assert all(each[name] for name in too_large)
    newcomers = {name for name in desired.models if each[name] and not held.get(name)}
    running = {name for name in each if held.get(name)}
    if newcomers or not running & too_large:
        admitted = sum(each[name] * len(desired.models[name].versions) for name in desired.models)
        staying = sum(each[name] for name in running & set(desired.unresolved))
        assert admitted + staying <= budget
    for name in too_large - running:
        rest = sum(each[n] * len(free.models[n].versions) for n in free.models if n != name)
        blocked = sum(each[n] * max(len(held[n]), 1) for n in running)
        assert each[name] * len(free.models[name].versions) + rest + blocked > budget
    again = resolve(manifest, listing, "node-1", refused, held, budget)
    assert desired.to_dict() == again.to_dict()


@unhurried
@given(listings, refusals, st.integers(1, 3))
def test_tracking_wants_the_newest_sound_versions_of_everything(listing, refused, count):
    desired = resolve(track({"versions": {"latest": count}}), listing, "node-1", refused)
    for name, versions in listing.items():
        sound = sorted(version for version in versions if (name, version) not in refused)
        assert (desired.models[name].versions if sound else ()) == tuple(sound[-count:])
        assert (name in desired.unresolved) == (not sound)
        last = sound[-count] if len(sound) >= count else 0
        passed = [version for version in sorted(versions - set(sound)) if version > last]
        assert desired.passed_over.get(name, ()) == tuple(passed)
    assert desired.tracked


json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=4) | st.just("digits"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["format", "models", "defaults", "versions", "latest", "labels", "overrides", "absent", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@unhurried
@given(json_data)
def test_any_data_is_a_manifest_or_an_error_that_names_its_place(data):
    refusal = None
    try:
        manifest = parse(json.dumps(data), "fleet.json")
        resolve(manifest, {"digits": [1]}, "node-1", [])
    except InvalidInput as error:
        refusal = error
    assert refusal is None or (refusal.subject.startswith("fleet.json") and refusal.remedy)
