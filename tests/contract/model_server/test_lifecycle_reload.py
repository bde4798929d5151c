"""HandleReloadConfigRequest's work: what is refused, what is applied in which order, what is awaited."""

from __future__ import annotations

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import Background, eventually, settle


def refused(lab, *models):
    with pytest.raises(StatusError) as failure:
        lab.reload(*models)
    return failure.value.code, failure.value.message


def test_an_identical_list_is_accepted(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    lab.reload(lab.model("m"))
    assert lab.served("m") == 1


@pytest.mark.parametrize("kind", ["unset", "custom_model_config"])
def test_a_list_cannot_turn_into_anything_else_and_nothing_unloads(make_lab, kind):
    lab = make_lab()
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    config = message("tensorflow.serving.ModelServerConfig")()
    if kind != "unset":
        config.custom_model_config.SetInParent()
    with pytest.raises(StatusError) as failure:
        lab.core.reload_config(config)
    assert failure.value.code is Code.FAILED_PRECONDITION
    assert failure.value.message.startswith("Cannot transition to requested config. It is only legal to transition")
    settle()
    assert lab.serving("m") == {1}


def test_a_name_listed_twice_is_refused(make_lab):
    lab = make_lab()
    lab.start()
    assert refused(lab, lab.model("m"), lab.model("m")) == (
        Code.INVALID_ARGUMENT,
        "Illegal to list model m multiple times in config list",
    )


@pytest.mark.parametrize("base", ["", "models/m", "./m"])
def test_a_relative_base_path_is_refused(make_lab, base):
    lab = make_lab()
    lab.start()
    assert refused(lab, lab.model("m", base=base)) == (
        Code.INVALID_ARGUMENT,
        f"Expected model m to have an absolute path or URI; got base_path()={base}",
    )


def test_a_refused_list_leaves_the_current_one_in_force(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    refused(lab, lab.model("x", base="relative"))
    settle()
    assert lab.serving("m") == {1}


def test_a_wrong_platform_of_a_new_model_cannot_be_corrected_before_the_model_was_removed(make_lab):
    lab = make_lab()
    lab.start()
    lab.lay("m", 1)
    assert refused(lab, lab.model("m", platform="tensorflw")) == (
        Code.INVALID_ARGUMENT,
        "Model m requests unsupported platform tensorflw",
    )
    assert refused(lab, lab.model("m")) == (
        Code.INVALID_ARGUMENT,
        (
            "Illegal to change a model's platform. For model m platform was tensorflw and new platform requested is "
            "tensorflow"
        ),
    )
    lab.reload()
    lab.reload(lab.model("m"))
    assert lab.served("m") == 1


def test_a_new_model_without_a_platform_poisons_every_later_reload(make_lab):
    lab = make_lab()
    lab.lay("good", 1), lab.lay("m", 1)
    lab.start(lab.model("good"))
    poisoned = (
        Code.INVALID_ARGUMENT,
        (
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m"
        ),
    )
    assert refused(lab, lab.model("good"), lab.model("m", platform="")) == poisoned
    assert refused(lab, lab.model("good"), lab.model("m")) == poisoned
    assert refused(lab, lab.model("good")) == poisoned
    assert refused(lab) == poisoned
    settle()
    assert lab.serving("good") == {1}


def test_both_platform_and_the_old_type_are_refused_and_the_old_type_alone_works(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    lab.start()
    both, old, other = lab.model("both"), lab.model("m", platform=""), lab.model("other", platform="")
    both.model_type = old.model_type = 1
    other.model_type = 2
    lab.reload(old)
    assert lab.served("m") == 1
    assert "Illegal setting both" in refused(lab, old, both)[1]

    fresh = make_lab()
    fresh.start()
    assert "ModelServerConfig::model_type choice 2 not supported." in refused(fresh, other)[1]


def test_reload_waits_for_a_new_model(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.start()
    lab.lay("m", 1)
    gate = lab.gate("m", 1)
    reload = lab.reload_in_background(lab.model("m"))
    lab.until_state("m", 1, "LOADING")
    settle()
    assert not reload.done
    gate.set()
    reload.result()
    assert lab.served("m") == 1


def test_reload_returns_at_once_for_a_model_that_is_known(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.lay("m", 1, 2)
    lab.start(lab.model("m", specific=[1]))
    gate = lab.gate("m", 2)
    lab.reload(lab.model("m", specific=[1, 2]))
    assert lab.serving("m") == {1}
    gate.set()
    lab.until_serving("m", 1, 2)


def test_a_changed_base_path_keeps_the_bytes_of_numbers_already_served(make_lab, tmp_path):
    lab = make_lab(num_load_threads=1)
    lab.lay("m", 1, 2)
    elsewhere = lab.lay("elsewhere", 1, 3)
    lab.start(lab.model("m", all=True))
    lab.until_serving("m", 1, 2)
    lab.reload(lab.model("m", base=elsewhere, all=True))
    lab.until_serving("m", 1, 3)
    with lab.core.acquire(lab.spec("m", version=1)) as (_, _, old):
        assert old.path == str(tmp_path / "m" / "1")
    with lab.core.acquire(lab.spec("m", version=3)) as (_, _, new):
        assert new.path == str(elsewhere / "3")
    assert lab.attempts.count(("m", 1)) == 1


def test_two_models_may_share_a_base_path(make_lab):
    lab = make_lab()
    base = lab.lay("shared", 1)
    lab.start(lab.model("a", base=base), lab.model("b", base=base))
    assert (lab.served("a"), lab.served("b")) == (1, 1)


def test_an_empty_list_unloads_everything_and_returns_at_once(make_lab):
    lab = make_lab()
    lab.lay("a", 1), lab.lay("b", 1)
    lab.start(lab.model("a"), lab.model("b"))
    lab.reload()
    lab.until_state("a", 1, "END")
    lab.until_state("b", 1, "END")
    with pytest.raises(StatusError, match=r"NOT_FOUND: Servable not found for request: Latest\(a\)"):
        lab.served("a")


def test_with_poll_0_a_reload_with_a_new_model_hangs_and_later_reloads_queue_behind_it(make_lab):
    lab = make_lab(file_system_poll_wait_s=0)
    lab.lay("a", 1), lab.lay("b", 1)
    lab.start(lab.model("a"))
    first = lab.reload_in_background(lab.model("a"), lab.model("b"))
    eventually(lambda: (lab.core.holds_config_lock() or 0) > 0.1, "a held lock")
    second = lab.reload_in_background(lab.model("a"))
    settle()
    assert not first.done
    assert not second.done
    assert ("b", 1) not in lab.attempts
    assert lab.served("a") == 1
    lab.core.stop()
    for reload in (first, second):
        with pytest.raises(StatusError, match="UNAVAILABLE: The server is stopping"):
            reload.result()
    assert lab.core.holds_config_lock() is None


def test_with_poll_0_changes_of_known_models_never_take_effect_but_removal_does(make_lab):
    lab = make_lab(file_system_poll_wait_s=0)
    lab.lay("a", 1, 2), lab.lay("b", 1)
    lab.start(lab.model("a", specific=[1]), lab.model("b"))
    lab.reload(lab.model("a", specific=[2]))
    lab.until_state("b", 1, "END")
    settle()
    assert lab.states("a") == {1: "AVAILABLE"}


def test_with_a_negative_poll_nothing_is_ever_discovered(make_lab):
    lab = make_lab(file_system_poll_wait_s=-1)
    lab.lay("a", 1)
    start = Background(lambda: lab.start(lab.model("a")))
    settle()
    assert not start.done
    assert lab.attempts == []
    lab.core.stop()
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        start.result()


def test_a_missing_base_path_hangs_the_reload_and_later_ones_and_blocks_every_models_discovery(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.lay("a", 1)
    lab.start(lab.model("a"))
    first = lab.reload_in_background(lab.model("a"), lab.model("gone"))
    eventually(lab.core.holds_config_lock, "a held lock")
    lab.lay("a", 2)
    second = lab.reload_in_background(lab.model("a"))
    settle()
    assert not first.done
    assert not second.done
    assert lab.states("a") == {1: "AVAILABLE"}
    assert lab.states("gone") == {}

    lab.lay("gone", 1)
    first.result()
    second.result()
    lab.until_serving("a", 2)
    lab.until_state("gone", 1, "END")


def test_a_new_model_without_numeric_directories_hangs_the_reload_until_one_appears(make_lab):
    lab = make_lab()
    lab.start()
    lab.lay("m", "1.tmp", "v1")
    reload = lab.reload_in_background(lab.model("m"))
    settle()
    assert not reload.done
    (lab.root / "m" / "1.tmp").rename(lab.root / "m" / "1")
    reload.result()
    assert lab.served("m") == 1


def test_a_new_model_that_fails_is_unknown_is_not_rolled_back_and_ok_when_sent_again(make_lab):
    lab = make_lab(num_load_threads=1, max_num_load_retries=5)
    lab.lay("a", 1), lab.lay("b", 1), lab.lay("bad", 4)
    lab.start(lab.model("a"))
    lab.fail("bad", 4)
    assert refused(lab, lab.model("b"), lab.model("bad")) == (
        Code.UNKNOWN,
        (
            "1 model(s) did not become available: {{{name: bad version: 4} due to error: NOT_FOUND: "
            "no SavedModel of bad 4}, }"
        ),
    )
    assert lab.attempts.count(("bad", 4)) == 6
    lab.until_state("a", 1, "END")
    lab.until_serving("b", 1)

    lab.reload(lab.model("b"), lab.model("bad"))
    settle()
    assert lab.states("bad") == {4: "END"}
    assert lab.attempts.count(("bad", 4)) == 6


def test_every_failed_new_model_is_named_in_order(make_lab):
    lab = make_lab(num_load_threads=2, max_num_load_retries=0)
    lab.start()
    for name in ("y", "x"):
        lab.lay(name, 1)
        lab.fail(name, 1)
    code, text = refused(lab, lab.model("y"), lab.model("x"))
    assert code is Code.UNKNOWN
    assert text == (
        "2 model(s) did not become available: {{{name: x version: 1} due to error: NOT_FOUND: no SavedModel of x 1}, "
        "{{name: y version: 1} due to error: NOT_FOUND: no SavedModel of y 1}, }"
    )


def test_a_quick_good_version_hides_a_bad_sibling(make_lab):
    lab = make_lab(num_load_threads=2, max_num_load_retries=0)
    lab.start()
    lab.lay("m", 1, 2)
    lab.fail("m", 1)
    slow = lab.gate("m", 1)
    lab.reload(lab.model("m", all=True))
    slow.set()
    lab.until_state("m", 1, "END")
    assert lab.serving("m") == {2}


def test_a_bad_version_that_ends_first_fails_the_reload_although_the_good_one_loads(make_lab):
    lab = make_lab(num_load_threads=2, max_num_load_retries=0)
    lab.start()
    lab.lay("m", 1, 2)
    lab.fail("m", 2)
    good = lab.gate("m", 1)
    assert "{name: m version: 2} due to error: NOT_FOUND" in refused(lab, lab.model("m", all=True))[1]
    good.set()
    lab.until_serving("m", 1)


def test_logging_config_is_refused_after_the_models_were_applied(make_lab):
    lab = make_lab()
    lab.start()
    lab.lay("m", 1)
    model = lab.model("m")
    model.logging_config.SetInParent()
    assert refused(lab, model) == (Code.INVALID_ARGUMENT, "No request-logger-creator provided.")
    assert lab.served("m") == 1


def test_removed_and_added_again_while_it_still_unloads_its_end_is_taken_for_the_new_models(make_lab):
    lab = make_lab(num_load_threads=1, num_unload_threads=1)
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    with lab.core.acquire(lab.spec("m")):
        lab.reload()
        lab.until_state("m", 1, "UNLOADING")
        again = lab.reload_in_background(lab.model("m"))
        eventually(lambda: "m" in lab.core._source.names(), "the source looking for m again")
        assert not again.done
    with pytest.raises(StatusError) as failure:
        again.result()
    assert failure.value.code is Code.UNKNOWN
    assert failure.value.message == "1 model(s) did not become available: {{{name: m version: 1}}, }"
    lab.until_serving("m", 1)


def test_added_again_after_its_end_it_loads(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    lab.reload()
    lab.until_state("m", 1, "END")
    lab.reload(lab.model("m"))
    assert lab.served("m") == 1
    assert lab.attempts.count(("m", 1)) == 2


def test_requests_and_statuses_do_not_take_the_config_lock(make_lab):
    lab = make_lab()
    lab.lay("a", 1)
    lab.start(lab.model("a"))
    (lab.root / "b").mkdir()
    reload = lab.reload_in_background(lab.model("a"), lab.model("b"))
    eventually(lab.core.holds_config_lock, "a held lock")
    assert lab.served("a") == 1
    assert lab.states("a") == {1: "AVAILABLE"}
    assert not reload.done
