from __future__ import annotations

import pytest
from modelfleet.admission import Claim, admit
from modelfleet.errors import NoMemory

GIB = 2**30


def test_what_fits_is_admitted():
    assert admit([Claim("a", GIB, 1), Claim("b", GIB, 2), Claim("c", 0, 1)], 3 * GIB) == {}


def test_newcomers_come_by_name_and_one_that_does_not_fit_is_passed_over():
    refused = admit([Claim("c", GIB, 1), Claim("b", 4 * GIB, 1), Claim("a", GIB, 1)], 3 * GIB)
    assert list(refused) == ["b"]
    error = refused["b"]
    assert isinstance(error, NoMemory)
    assert error.subject == "model b"
    assert error.problem == (
        "announces 4 GiB of memory, and 2 GiB of this node's 3 GiB are left for it; it is not brought"
    )


def test_a_newcomer_never_takes_the_place_of_what_runs():
    claims = [Claim("a-new", 2 * GIB, 1), Claim("z-runs", 2 * GIB, 1, held=1)]
    assert list(admit(claims, 3 * GIB)) == ["a-new"]
    assert list(admit(claims, 4 * GIB)) == []


def test_what_runs_grows_before_newcomers_come_but_not_over_others_that_run():
    growing = Claim("a", GIB, 2, held=1)
    refused = admit([growing, Claim("b", GIB, 1, held=1), Claim("aa", GIB, 1)], 3 * GIB)
    assert list(refused) == ["aa"]
    refused = admit([growing, Claim("b", GIB, 1, held=1)], 2 * GIB)
    assert refused["a"].problem == (
        "announces 2 GiB of memory (2 versions of 1 GiB), and 1 GiB of this node's 2 GiB are left for it; "
        "it stays as it is"
    )


def test_one_that_announces_too_much_is_the_one_to_blame_and_still_counts():
    claims = [Claim("a-huge", 10 * GIB, 1, held=1), Claim("b", GIB, 1, held=1), Claim("c-new", GIB, 1)]
    assert list(admit(claims, 5 * GIB)) == ["a-huge", "c-new"]


def test_a_model_that_shrinks_is_counted_as_it_is():
    assert list(admit([Claim("a", GIB, 1, held=2), Claim("b", GIB, 1)], 2 * GIB)) == ["b"]


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_model_that_cannot_be_told_now_still_takes_what_it_takes(wanted):
    assert list(admit([Claim("a", GIB, wanted, held=1), Claim("b", GIB, 1)], GIB)) == ["b"]
