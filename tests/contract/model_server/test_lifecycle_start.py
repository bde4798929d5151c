"""Start-up: what opens a server, what keeps it shut, what refuses it."""

from __future__ import annotations

import logging

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.lifecycle_lab import Background, eventually, settle


def test_start_blocks_until_every_model_is_available(make_lab):
    lab = make_lab()
    lab.lay("a", 1), lab.lay("b", 1)
    gate = lab.gate("b", 1)
    start = Background(lambda: lab.start(lab.model("a"), lab.model("b")))
    lab.until_serving("a", 1)
    settle()
    assert not start.done
    gate.set()
    start.result()
    assert lab.served("b") == 1


def test_initial_loads_run_together_although_there_are_no_load_threads(make_lab):
    lab = make_lab(num_load_threads=0)
    gates = []
    for name in ("a", "b", "c"):
        lab.lay(name, 1)
        gates.append(lab.gate(name, 1))
    start = Background(lambda: lab.start(*map(lab.model, "abc")))
    eventually(lambda: len(lab.attempts) == 3, "three loads at once")
    for gate in gates:
        gate.set()
    start.result()


def test_start_waits_for_loads_that_still_retry_when_the_model_is_available(make_lab):
    lab = make_lab()
    lab.lay("m", 1, 2)
    slow, quick = lab.gate("m", 1), lab.gate("m", 2)
    start = Background(lambda: lab.start(lab.model("m", all=True)))
    eventually(lambda: len(lab.attempts) == 2, "both loads")
    quick.set()
    lab.until_serving("m", 2)
    settle()
    assert not start.done
    slow.set()
    start.result()
    assert lab.serving("m") == {1, 2}


def test_a_failed_newest_version_fails_the_start_with_the_loaders_words(make_lab):
    lab = make_lab(max_num_load_retries=2)
    lab.lay("good", 1), lab.lay("bad", 7)
    lab.fail("bad", 7)
    with pytest.raises(StatusError) as failure:
        lab.start(lab.model("good"), lab.model("bad"))
    assert failure.value.code is Code.UNKNOWN
    assert failure.value.message == (
        "1 servable(s) did not become available: "
        "{{{name: bad version: 7} due to error: NOT_FOUND: no SavedModel of bad 7}, }"
    )
    assert lab.attempts.count(("bad", 7)) == 3


def test_start_waits_for_ever_for_a_model_without_a_version(make_lab):
    lab = make_lab()
    (lab.root / "m").mkdir()
    start = Background(lambda: lab.start(lab.model("m")))
    settle()
    assert not start.done
    lab.lay("m", 3)
    start.result()
    assert lab.served("m") == 3


def test_one_missing_base_path_keeps_every_model_from_loading_at_start(make_lab, caplog):
    lab = make_lab()
    lab.lay("a", 1)
    with caplog.at_level(logging.ERROR):
        start = Background(lambda: lab.start(lab.model("a"), lab.model("gone")))
        settle()
    assert not start.done
    assert lab.attempts == []
    gone = lab.root / "gone"
    assert (
        f"FileSystemStoragePathSource encountered a filesystem access error: Could not find base path {gone} for "
        f"servable gone with error NOT_FOUND: {gone} not found"
    ) in caplog.messages
    lab.lay("gone", 1)
    start.result()
    assert lab.served("a") == 1


def test_a_cloud_uri_is_a_base_path_that_cannot_be_found(make_lab, caplog):
    lab = make_lab()
    with caplog.at_level(logging.ERROR):
        start = Background(lambda: lab.start(lab.model("m", base="gs://bucket/m")))
        settle()
    assert not start.done
    assert any("Could not find base path gs://bucket/m for servable m with error" in text for text in caplog.messages)
    lab.core.stop()
    with pytest.raises(StatusError, match="UNAVAILABLE: The server is stopping"):
        start.result()


def test_an_empty_list_starts_a_server_with_no_models(make_lab):
    lab = make_lab()
    lab.start()
    with pytest.raises(StatusError, match=r"NOT_FOUND: Could not find any versions of model m"):
        lab.core.statuses("m", None)


def test_an_unset_config_starts_empty_and_the_first_list_then_counts_as_initial(make_lab):
    lab = make_lab(max_num_load_retries=0)
    lab.core.start(message("tensorflow.serving.ModelServerConfig")())
    with pytest.raises(StatusError, match=r"UNAVAILABLE: Model labels does not init yet\.stable"):
        lab.served("m", label="stable")
    for name in ("m", "n", "good"):
        lab.lay(name, 1)
    lab.fail("m", 1), lab.fail("n", 1)
    # While it fails the next list is a first one again.
    for name in ("m", "n"):
        with pytest.raises(
            StatusError, match=rf"UNKNOWN: 1 servable\(s\) did not become available: .*{name} version: 1"
        ):
            lab.reload(lab.model(name))
    lab.reload(lab.model("good"))
    assert lab.served("good") == 1


def test_labels_cannot_be_used_at_start_without_the_flag(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    with pytest.raises(StatusError) as failure:
        lab.start(lab.model("m", labels={"stable": 1}))
    assert failure.value.code is Code.FAILED_PRECONDITION
    assert failure.value.message == (
        "Request to assign label to version 1 of model m, which is not currently available for inference"
    )
    assert lab.attempts == []


def test_labels_can_be_used_at_start_with_the_flag(make_lab):
    lab = make_lab(allow_version_labels_for_unavailable_models=True)
    lab.lay("m", 1, 2)
    lab.start(lab.model("m", specific=[1, 2], labels={"stable": 1}))
    lab.until_serving("m", 1, 2)
    assert lab.served("m", label="stable") == 1
    assert lab.served("m") == 2


def test_logging_config_makes_the_start_fail_after_the_models_loaded(make_lab):
    lab = make_lab()
    lab.lay("m", 1)
    config = lab.model("m")
    config.logging_config.SetInParent()
    with pytest.raises(StatusError, match=r"INVALID_ARGUMENT: No request-logger-creator provided\."):
        lab.start(config)
    assert lab.attempts == [("m", 1)]


def test_a_custom_config_is_refused(make_lab):
    lab = make_lab()
    config = message("tensorflow.serving.ModelServerConfig")()
    config.custom_model_config.SetInParent()
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: custom_model_config is not supported"):
        lab.core.start(config)


def test_stop_releases_a_start_that_waits_and_frees_what_is_loaded(make_lab):
    lab = make_lab()
    lab.lay("a", 1)
    (lab.root / "b").mkdir()
    start = Background(lambda: lab.start(lab.model("a"), lab.model("b")))
    lab.until_serving("a", 1)
    lab.core.stop()
    with pytest.raises(StatusError, match="UNAVAILABLE"):
        start.result()
    assert ("close", "a", 1) in lab.events
    with pytest.raises(StatusError, match=r"Servable not found for request: Latest\(a\)"):
        lab.served("a")


def test_a_core_that_never_started_can_be_stopped_and_starts_no_more(make_lab):
    lab = make_lab()
    lab.core.stop()
    with pytest.raises(StatusError, match="UNAVAILABLE: The server is stopping"):
        lab.reload()
