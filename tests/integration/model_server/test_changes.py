"""What changes while a server serves: reloads, versions, labels, and that nobody else notices."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf import text_format

from tests.support import saved_models
from tests.support.model_server_client import AVAILABLE, END, GrpcClient, eventually, failure, http, serving
from tests.support.model_server_process import model_entry, models_config_text, running_model_server

QUICK = (
    "--file_system_poll_wait_seconds=1",
    "--max_num_load_retries=0",
    "--num_load_threads=2",
    "--num_unload_threads=1",
)


@pytest.fixture
def fleet(tmp_path):
    """Return a running server with model m (1: twice, 2: three times), a client of it and the models' directory."""
    saved_models.scale(tmp_path / "m" / "1", 2.0)
    saved_models.scale(tmp_path / "m" / "2", 3.0)
    config = models_config_text(model_entry("m", tmp_path / "m", versions=(1,)))
    with (
        running_model_server(*QUICK, models_config=config, directory=tmp_path / "log") as server,
        GrpcClient(server.target) as client,
    ):
        yield server, client, tmp_path


@contextmanager
def steady_requests(target, name, threads=2):
    """Send Predict requests all the time; yield the lists of answers and of errors."""
    answers, errors, ending = [], [], threading.Event()

    def ask():
        with GrpcClient(target) as client:
            while not ending.is_set():
                begin = time.monotonic()
                try:
                    value = client.predict(name, [1.0], timeout_s=10)[0]
                except grpc.RpcError as error:
                    errors.append((error.code().name, error.details()))
                else:
                    answers.append((value, time.monotonic() - begin))

    callers = [threading.Thread(target=ask) for _ in range(threads)]
    for caller in callers:
        caller.start()
    try:
        yield answers, errors
    finally:
        ending.set()
        for caller in callers:
            caller.join(20)


def test_a_reload_replaces_the_list_and_waits_for_new_models(fleet):
    _, client, root = fleet
    saved_models.scale(root / "n" / "5", 7.0)
    client.reload(models_config_text(model_entry("m", root / "m", versions=(1,)), model_entry("n", root / "n")))
    assert client.predict("n", [1.0]) == [7.0]
    response = client.reload(models_config_text(model_entry("n", root / "n")))
    assert response.status.error_code == 0
    eventually(lambda: client.states("m") == {1: END})
    code, text = failure(lambda: client.predict("m", [1.0]))
    assert (code, text) == ("NOT_FOUND", "Servable not found for request: Latest(m)")


def test_a_reload_with_a_broken_model_says_why_and_keeps_the_others(fleet):
    _, client, root = fleet
    (root / "bad" / "1").mkdir(parents=True)
    text = models_config_text(model_entry("m", root / "m", versions=(1,)), model_entry("bad", root / "bad"))
    code, details = failure(lambda: client.reload(text))
    assert code == "UNKNOWN"
    assert details.startswith("1 model(s) did not become available: {{{name: bad version: 1} due to error: NOT_FOUND: ")
    assert client.predict("m", [1.0]) == [2.0]
    # The failed model is no longer new, so the same list is accepted; only its status tells.
    client.reload(text)
    assert client.states("bad") == {1: END}


def test_labels_move_only_to_available_versions(fleet):
    _, client, root = fleet
    both = {"versions": (1, 2)}
    client.reload(models_config_text(model_entry("m", root / "m", versions=(1,), labels={"stable": 1})))
    assert client.predict("m", [1.0], label="stable") == [2.0]
    early = models_config_text(model_entry("m", root / "m", **both, labels={"stable": 1, "canary": 2}))
    code, details = failure(lambda: client.reload(early))
    assert (code, details) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 2 of model m, which is not currently available for inference",
    )
    client.reload(models_config_text(model_entry("m", root / "m", **both, labels={"stable": 1})))
    eventually(lambda: client.states("m") == {2: AVAILABLE, 1: AVAILABLE})
    client.reload(early)
    assert client.predict("m", [1.0], label="canary") == [3.0]
    assert client.predict("m", [1.0], label="stable") == [2.0]


def test_metric_names_of_a_reload_are_answered_with_their_increase(fleet):
    _, client, root = fleet
    text = models_config_text(model_entry("m", root / "m", versions=(1,)))
    response = client.reload(text, metric_names=("/tensorflow/serving/request_count", "/no/such"))
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        ("/tensorflow/serving/request_count", 0),
        ("/no/such", 0),
    ]


def test_reloads_that_wait_for_ever_leave_inference_and_status_alone(fleet):
    _, client, root = fleet
    text = models_config_text(model_entry("m", root / "m", versions=(1,)), model_entry("ghost", root / "ghost"))
    request = serving("ReloadConfigRequest")
    text_format.Parse(text, request.config)
    waiting = [client.future("HandleReloadConfigRequest", request, 60) for _ in range(40)]
    time.sleep(1)
    assert not any(call.done() for call in waiting)
    for _ in range(20):
        assert client.predict("m", [1.0], timeout_s=5) == [2.0]
        assert client.states("m") == {1: AVAILABLE}
    saved_models.scale(root / "ghost" / "1", 9.0)
    for call in waiting:
        call.result(timeout=30)
    assert client.predict("ghost", [1.0]) == [9.0]


def test_the_file_is_applied_again_and_undoes_a_reload(tmp_path):
    saved_models.scale(tmp_path / "m" / "1", 2.0)
    saved_models.scale(tmp_path / "n" / "1", 3.0)
    both = models_config_text(model_entry("m", tmp_path / "m"), model_entry("n", tmp_path / "n"))
    with (
        running_model_server(
            *QUICK,
            "--model_config_file_poll_wait_seconds=1",
            models_config=both,
            directory=tmp_path / "log",
            rest_port=0,
        ) as server,
        GrpcClient(server.target) as client,
    ):
        client.reload(models_config_text(model_entry("m", tmp_path / "m")))
        loaded = "Successfully loaded servable version {name: n version: 1}"
        eventually(lambda: server.log.count(loaded) == 2)
        eventually(lambda: client.states("n") == {1: AVAILABLE})
        server.config_path.write_text("nonsense")
        server.wait_for_log("ERROR Failed to read ModelServerConfig file: Invalid protobuf file: ")
        assert client.predict("n", [1.0]) == [3.0]


def test_two_models_load_while_a_third_serves_without_an_error(fleet):
    server, client, root = fleet
    saved_models.large(root / "a" / "1", 40)
    saved_models.large(root / "b" / "1", 40)
    text = models_config_text(
        model_entry("m", root / "m", versions=(1,)), model_entry("a", root / "a"), model_entry("b", root / "b")
    )
    with steady_requests(server.target, "m") as (answers, errors):
        eventually(lambda: len(answers) > 20)
        client.reload(text)
        assert client.states("a") == client.states("b") == {1: AVAILABLE}
    assert errors == []
    assert {value for value, _ in answers} == {2.0}
    assert max(seconds for _, seconds in answers) < 5


def test_a_version_switch_under_load_loses_no_request(fleet):
    server, client, root = fleet
    with steady_requests(server.target, "m") as (answers, errors):
        for versions in ((1, 2), (2,), (1, 2), (1,)):
            client.reload(models_config_text(model_entry("m", root / "m", versions=versions)))
            wanted = dict.fromkeys(versions, AVAILABLE)
            eventually(
                lambda wanted=wanted: (
                    {version: state for version, state in client.states("m").items() if state != END} == wanted
                )
            )
        eventually(lambda: answers[-1][0] == 2.0)
    assert errors == []
    assert {value for value, _ in answers} == {2.0, 3.0}


def test_a_switch_over_http_loses_no_request_either(fleet):
    server, client, root = fleet
    replies, ending = [], threading.Event()

    def ask():
        while not ending.is_set():
            replies.append(http(server.rest_port, "POST", "/v1/models/m:predict", {"instances": [1.0]})[::2])

    caller = threading.Thread(target=ask)
    caller.start()
    client.reload(models_config_text(model_entry("m", root / "m", versions=(1, 2))))
    eventually(lambda: client.states("m") == {2: AVAILABLE, 1: AVAILABLE})
    client.reload(models_config_text(model_entry("m", root / "m", versions=(2,))))
    eventually(lambda: client.states("m") == {2: AVAILABLE, 1: END})
    ending.set()
    caller.join(20)
    assert {status for status, _ in replies} == {200}
    assert replies[-1][1] == b'{\n    "predictions": [3.0\n    ]\n}'
