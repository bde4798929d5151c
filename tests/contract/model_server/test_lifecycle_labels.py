"""Version labels: when they are checked, when they move, when they break."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import settle


@pytest.fixture
def two(make_lab):
    """Return a lab that serves versions 1 and 2 of m, label stable on 1."""

    def make(**options):
        lab = make_lab(num_load_threads=2, num_unload_threads=1, **options)
        lab.lay("m", 1, 2, 3)
        lab.start(lab.model("m", specific=[1, 2]))
        lab.until_serving("m", 1, 2)
        label(lab, [1, 2], stable=1)
        return lab

    return make


def label(lab, versions, **labels):
    lab.reload(lab.model("m", specific=versions, labels=labels))


def refused(lab, versions, **labels):
    with pytest.raises(StatusError) as failure:
        label(lab, versions, **labels)
    assert failure.value.code is Code.FAILED_PRECONDITION
    return failure.value.message


def not_available(version):
    return f"Request to assign label to version {version} of model m, which is not currently available for inference"


def test_labels_move_and_share_a_version(two):
    lab = two()
    label(lab, [1, 2], stable=2, canary=2)
    assert lab.served("m", label="stable") == lab.served("m", label="canary") == 2


def test_add_a_version_with_its_label_in_one_reload_fails_and_does_not_even_load(two):
    lab = two()
    assert refused(lab, [1, 2, 3], stable=1, canary=3) == not_available(3)
    settle()
    assert ("m", 3) not in lab.attempts
    assert lab.served("m", label="stable") == 1


def test_with_the_flag_a_new_label_may_precede_its_version(two):
    lab = two(allow_version_labels_for_unavailable_models=True)
    gate = lab.gate("m", 3)
    label(lab, [1, 2, 3], stable=1, canary=3)
    with pytest.raises(StatusError, match=r"NOT_FOUND: Servable not found for request: Specific\(m, 3\)"):
        lab.served("m", label="canary")
    gate.set()
    lab.until_serving("m", 1, 2, 3)
    assert lab.served("m", label="canary") == 3


def test_with_the_flag_an_existing_label_still_cannot_move_to_what_is_not_available(two):
    lab = two(allow_version_labels_for_unavailable_models=True)
    assert refused(lab, [1, 2, 3], stable=3) == not_available(3)


def test_with_the_flag_a_label_may_stay_on_a_version_that_is_gone(two):
    lab = two(allow_version_labels_for_unavailable_models=True)
    label(lab, [2], stable=1)
    lab.until_state("m", 1, "END")
    label(lab, [2], stable=1)
    with pytest.raises(StatusError, match=r"NOT_FOUND: Servable not found for request: Specific\(m, 1\)"):
        lab.served("m", label="stable")


def test_a_label_may_be_kept_while_its_version_is_dropped_and_the_next_reload_fails(two):
    lab = two()
    label(lab, [2], stable=1)
    lab.until_state("m", 1, "END")
    with pytest.raises(StatusError, match=r"Specific\(m, 1\)"):
        lab.served("m", label="stable")
    assert refused(lab, [2], stable=1) == not_available(1)


def test_a_label_that_is_not_listed_vanishes_at_once_before_unloading(two):
    lab = two()
    with lab.core.acquire(lab.spec("m", version=1)):
        label(lab, [2])
        with pytest.raises(StatusError, match="INVALID_ARGUMENT: Unrecognized servable version label: stable"):
            lab.served("m", label="stable")


def test_labels_swap_before_a_new_model_is_awaited(two):
    lab = two()
    lab.lay("other", 1)
    gate = lab.gate("other", 1)
    reload = lab.reload_in_background(lab.model("m", specific=[1, 2], labels={"stable": 2}), lab.model("other"))
    lab.until_state("other", 1, "LOADING")
    assert lab.served("m", label="stable") == 2
    gate.set()
    reload.result()


def test_a_later_failure_does_not_restore_the_labels(two):
    lab = two()
    with pytest.raises(StatusError, match="requests unsupported platform"):
        lab.reload(lab.model("m", specific=[1, 2], labels={"stable": 2}), lab.model("other", platform="other_platform"))
    assert lab.served("m", label="stable") == 2


def test_the_labels_of_all_models_are_checked_again_at_every_reload(two):
    lab = two()
    lab.lay("other", 1)
    label(lab, [2], stable=1)
    lab.until_state("m", 1, "END")
    with pytest.raises(StatusError, match="which is not currently available"):
        lab.reload(lab.model("m", specific=[2], labels={"stable": 1}), lab.model("other"))
    settle()
    assert ("other", 1) not in lab.attempts


def test_refused_labels_leave_the_old_ones_but_the_config_is_stored(two):
    lab = two()
    with pytest.raises(StatusError, match="which is not currently available"):
        lab.reload(lab.model("m", specific=[1, 2], labels={"stable": 3}), lab.model("new", platform="wrong"))
    assert lab.served("m", label="stable") == 1
    # Stored: the model that never was applied counts as known, so its platform cannot be corrected.
    lab.lay("new", 1)
    with pytest.raises(StatusError, match="Illegal to change a model's platform"):
        lab.reload(lab.model("m", specific=[1, 2]), lab.model("new"))


def test_a_label_of_a_model_nobody_listed_is_unrecognized(two):
    lab = two()
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: Unrecognized servable version label: stable"):
        lab.served("nobody", label="stable")
