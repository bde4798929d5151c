"""Random histories of a model whose source changes: its numbers never collide, and never change their meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.source_numbers import number_at, number_of, offset
from modelfleet.errors import InvalidInput

LARGEST = 2**63 - 1
uris = st.sampled_from(["gs://b/flowers", "gs://b/flowers/3", "s3://b/flowers", "https://h/m.zip", "file:///m"])
numbers = st.sets(st.integers(1, 12), min_size=1, max_size=5)
#: What a history does: another set of versions at a source, of which the newest are pulled, and some are pruned.
steps = st.lists(
    st.tuples(uris, numbers, st.integers(1, 3), st.sets(st.integers(0, 40), max_size=3), st.booleans()), max_size=12
)


def origin_of(uri, number, *, padded):
    if uri.startswith("https"):
        return uri
    return f"{uri}/{number:04}" if padded else f"{uri}/{number}"


@given(steps=steps)
def test_histories(steps):
    stored = {}
    for uri, found, latest, pruned, padded in steps:
        there = {1} if uri.startswith("https") else found
        shift = offset(uri, there, stored)
        assert shift == offset(uri, sorted(there), dict(reversed(stored.items())))
        for number in there:
            local = number + shift
            assert 0 < local <= LARGEST
            # What is on disk under the number is that version, or nothing.
            assert local not in stored or number_at(uri, stored[local]) == number
        for number in sorted(there)[-latest:]:
            before = dict(stored)
            stored.setdefault(number + shift, origin_of(uri, number, padded=padded))
            # A version that arrived leaves all others where they are.
            assert offset(uri, there, stored) == shift, before
        newest = max(there) + shift
        stored = {local: origin for local, origin in stored.items() if local == newest or local not in pruned}
        assert offset(uri, there, stored) == shift


@given(uri=uris, other=uris, found=numbers, taken=st.sets(st.integers(1, 20), max_size=5))
def test_another_source_comes_after_all_that_is_on_disk(uri, other, found, taken):
    stored = dict.fromkeys(taken, "")
    shift = offset(uri, found, stored)
    assert shift == max(taken, default=0)
    stored |= {number + shift: f"{uri}/{number}" for number in found}
    if other != uri and not any(number_at(other, origin) for origin in stored.values()):
        assert offset(other, found, stored) == max(stored)
    assert offset(uri, found, stored) == shift


@given(found=numbers, more=numbers)
def test_going_back_to_a_source_that_is_on_disk_gives_the_same_numbers(found, more):
    first = {number: f"s3://b/a/{number}" for number in found}
    shift = offset("s3://b/c", more, first)
    both = first | {number + shift: f"s3://b/c/{number}" for number in more}
    assert offset("s3://b/a", found, both) == 0
    assert offset("s3://b/c", more, both) == shift


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("0001", 1),
        ("1700000000", 1700000000),
        (str(LARGEST), LARGEST),
        *((name, 0) for name in ("0", "00", "", "-1", "+1", "1.0", "v1", "\u0661", " 1", str(LARGEST + 1), "1" * 30)),
    ],
)
def test_names_of_directories_mean_numbers(name, number):
    assert number_of(name) == number


@pytest.mark.parametrize(
    ("uri", "origin", "number"),
    [
        ("gs://b/m", "gs://b/m/7", 7),
        ("gs://b/m", "gs://b/m/0007", 7),
        ("gs://b/m", "gs://b/m", 1),
        ("gs://b/m", "gs://b/m-hf/7", 0),
        ("gs://b/m", "gs://b/m/x/7", 0),
        ("gs://b/m", "gs://b/7", 0),
        ("gs://b/m", "", 0),
        ("", "", 0),
        ("", "/7", 0),
    ],
)
def test_origins_tell_the_version_of_a_source(uri, origin, number):
    assert number_at(uri, origin) == number


def test_a_model_that_begins_anew_keeps_the_numbers_of_its_source():
    assert offset("gs://b/m", [3, 7], {}) == 0


def test_a_source_whose_old_numbers_are_taken_since_comes_after_all():
    stored = {3: "gs://b/a/3", 4: "gs://b/c/1"}
    assert offset("gs://b/a", [3], stored) == 0
    assert offset("gs://b/a", [3, 4], stored) == 4


def test_a_directory_of_versions_and_one_of_its_versions_are_the_same_bytes():
    assert offset("gs://b/m/3", [1], {3: "gs://b/m/3"}) == 2
    assert offset("gs://b/m", [3], {8: "gs://b/m/3"}) == 5
    assert offset("gs://b/m", [1, 3], {1: "gs://b/m/3"}) == 1


def test_numbers_that_cannot_be_shifted_are_refused():
    assert offset("gs://b/m", [LARGEST], {}) == 0
    with pytest.raises(InvalidInput, match="no number above 1 is left for it"):
        offset("gs://b/m", [LARGEST], {1: "gs://b/other"})
