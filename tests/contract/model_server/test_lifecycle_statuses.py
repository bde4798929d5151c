"""GetModelStatus and the ways a request names a version."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.lifecycle import VersionReport
from modelfleet_services.model_server.rpc_status import StatusError


@pytest.fixture
def lab(make_lab):
    lab = make_lab(num_load_threads=1, max_num_load_retries=0)
    lab.lay("m", 1, 2, 10)
    lab.fail("m", 2)
    lab.start(lab.model("m", specific=[1, 10]))
    lab.until_serving("m", 1, 10)
    # Only now: at the start a version that ends early would end the server.
    lab.reload(lab.model("m", specific=[1, 2, 10]))
    lab.until_state("m", 2, "END")
    return lab


def test_all_versions_ever_seen_are_listed_descending_by_number(lab):
    lab.reload(lab.model("m", specific=[10]))
    lab.until_state("m", 1, "END")
    assert lab.core.statuses("m", None) == [
        VersionReport(version=10, state=30, error_code=0, error_message=""),
        VersionReport(version=2, state=50, error_code=5, error_message="no SavedModel of m 2"),
        VersionReport(version=1, state=50, error_code=0, error_message=""),
    ]


def test_one_version_may_be_asked_for(lab):
    assert [report.version for report in lab.core.statuses("m", 2)] == [2]


@pytest.mark.parametrize("name", ["other", ""])
def test_an_unknown_model(lab, name):
    with pytest.raises(StatusError, match=f"NOT_FOUND: Could not find any versions of model {name}$"):
        lab.core.statuses(name, None)


@pytest.mark.parametrize("version", [3, 0])
def test_an_unknown_version(lab, version):
    with pytest.raises(StatusError, match=f"NOT_FOUND: Could not find version {version} of model m$"):
        lab.core.statuses("m", version)


def test_removed_models_keep_their_entries_and_a_reload_overwrites_them(lab):
    lab.reload()
    lab.until_state("m", 10, "END")
    lab.until_state("m", 1, "END")
    assert lab.states("m") == {1: "END", 2: "END", 10: "END"}
    lab.failures.clear()
    lab.reload(lab.model("m", specific=[2]))
    assert lab.states("m") == {1: "END", 2: "AVAILABLE", 10: "END"}
    assert lab.core.statuses("m", 2)[0].error_message == ""


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (None, "INVALID_ARGUMENT: Missing ModelSpec"),
        ({"name": ""}, "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ({"name": "", "label": "stable"}, "INVALID_ARGUMENT: ModelSpec has no name specified."),
        ({"name": "x"}, "NOT_FOUND: Servable not found for request: Latest(x)"),
        ({"name": "m", "version": 3}, "NOT_FOUND: Servable not found for request: Specific(m, 3)"),
        ({"name": "m", "version": 2}, "NOT_FOUND: Servable not found for request: Specific(m, 2)"),
        ({"name": "m", "version": 0}, "NOT_FOUND: Servable not found for request: Specific(m, 0)"),
        ({"name": "m", "label": "gone"}, "INVALID_ARGUMENT: Unrecognized servable version label: gone"),
        ({"name": "m", "label": ""}, "INVALID_ARGUMENT: Unrecognized servable version label: "),
    ],
)
def test_what_a_request_is_told(lab, spec, error):
    with pytest.raises(StatusError) as failure, lab.core.acquire(None if spec is None else lab.spec(**spec)):
        pass
    assert str(failure.value) == error


def test_without_a_version_the_highest_that_is_available_serves(lab):
    assert lab.served("m") == 10
    assert lab.served("m", version=1) == 1


def test_during_a_rollout_unversioned_requests_jump_when_the_new_version_is_ready(lab):
    lab.lay("m", 11)
    gate = lab.gate("m", 11)
    lab.reload(lab.model("m", specific=[10, 11]))
    lab.until_state("m", 11, "LOADING")
    assert lab.served("m") == 10
    gate.set()
    lab.until_serving("m", 10, 11)
    assert lab.served("m") == 11
