"""The server as a process: starting, refusing to start, ending, ports, sockets, TLS."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest
from modelfleet.adapters.protos import message

from tests.support import saved_models
from tests.support.model_server_client import GrpcClient, eventually, failure, fill_spec, http, serving
from tests.support.model_server_process import (
    free_ports,
    model_entry,
    models_config_text,
    running_model_server,
    spawn_model_server,
)


@pytest.fixture
def model(tmp_path):
    saved_models.scale(tmp_path / "m" / "1", 2.0)
    return tmp_path / "m"


def ended(*arguments, directory, **options):
    """Start a server that is expected to refuse; return its exit status and what it wrote."""
    server = spawn_model_server(*arguments, directory=directory, **options)
    try:
        return server.process.wait(60), server.log
    finally:
        server.stop()


def test_a_single_model_named_by_flags(model):
    with (
        running_model_server("--model_name=one", f"--model_base_path={model}", rest_port=0) as server,
        GrpcClient(server.target) as client,
    ):
        assert client.predict("one", [1.0]) == [2.0]
        assert "stand-in for tensorflow_model_server" in server.log.splitlines()[0]


def test_the_first_call_of_all_may_have_no_deadline(model):
    with (
        running_model_server(f"--model_base_path={model}", rest_port=0) as server,
        GrpcClient(server.target) as client,
    ):
        assert client.predict("default", [1.0], timeout_s=None) == [2.0]


def test_the_log_is_plain_lines(model, tmp_path):
    with running_model_server(f"--model_base_path={model}", "--enable_batching", "--no_such_flag=1") as server:
        lines = server.log.splitlines()
    assert "unknown argument: --no_such_flag=1" in lines
    logged = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO|WARNING) ", line)]
    assert next(line for line in logged if "WARNING" in line).endswith(
        "--enable_batching is accepted without effect: requests are run one by one, unbatched"
    )
    usage = [line for line in lines if line.startswith(("\t--", "usage:", "Flags:", "modelfleet's", "unknown", "  "))]
    assert len(logged) + len(usage) + lines.count("") == len(lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quickly_with_status_0(model, number):
    with running_model_server(f"--model_base_path={model}") as server:
        begin = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
        assert time.monotonic() - begin < 3


def test_a_signal_ends_a_start_that_waits_for_a_model(tmp_path):
    (tmp_path / "m").mkdir()
    server = spawn_model_server(f"--model_base_path={tmp_path / 'm'}", directory=tmp_path)
    try:
        server.wait_for_log("Adding/updating models")
        server.process.terminate()
        assert server.process.wait(10) == 0
    finally:
        server.stop()


def test_the_ports_stay_closed_until_the_first_models_are_up(tmp_path):
    (tmp_path / "m").mkdir()
    server = spawn_model_server(f"--model_base_path={tmp_path / 'm'}", directory=tmp_path)
    try:
        server.wait_for_log("Adding/updating models")
        time.sleep(0.3)
        for port in (server.grpc_port, server.rest_port):
            with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
        saved_models.scale(tmp_path / "m" / "1", 2.0)
        server.wait_for_port(server.rest_port)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--port=0", "--model_base_path=/m"],
            (
                "INVALID_ARGUMENT: "
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
            ),
        ),
        (
            [],
            "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (["--model_config_file=/no/such"], "NOT_FOUND: /no/such; No such file or directory"),
        (
            ["--model_base_path=relative"],
            "INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=relative",
        ),
    ],
)
def test_a_start_that_is_refused(tmp_path, arguments, text):
    status, log = ended(*arguments, directory=tmp_path)
    assert status == 255
    assert f"Failed to start server. Error: {text}" in log.splitlines()
    assert "Traceback" not in log


def test_a_config_file_that_does_not_parse_is_named_with_the_place(tmp_path):
    status, log = ended(directory=tmp_path, models_config="model_config_list { config { nmae: 'm' } }")
    assert status == 255
    assert f"Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '{tmp_path}/models.config'" in log
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:30" in log


def test_a_model_that_cannot_load_fails_the_start(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    status, log = ended(f"--model_base_path={tmp_path / 'm'}", "--max_num_load_retries=0", directory=tmp_path)
    assert status == 255
    assert "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: " in log
    assert "Traceback" not in log


def test_a_busy_grpc_port_fails_the_start(model, tmp_path):
    with running_model_server(f"--model_base_path={model}", rest_port=0) as first:
        status, log = ended(f"--model_base_path={model}", directory=tmp_path, grpc_port=first.grpc_port, rest_port=0)
        assert status == 255
        assert "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server" in log
        with GrpcClient(first.target) as client:
            assert client.predict("default", [1.0]) == [2.0]


def test_a_busy_rest_port_leaves_grpc_alone(model):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            running_model_server(f"--rest_api_port={port}", f"--model_base_path={model}", rest_port=0) as server,
            GrpcClient(server.target) as client,
        ):
            assert client.predict("default", [1.0]) == [2.0]
            server.wait_for_log(f"ERROR Failed to start HTTP Server at localhost:{port}")


def test_the_same_port_twice_leaves_rest_out(model):
    (port,) = free_ports(1)
    with running_model_server(
        f"--rest_api_port={port}", f"--model_base_path={model}", grpc_port=port, rest_port=0
    ) as server:
        server.wait_for_log("Skipped exporting HTTP/REST API.")


def test_an_unreadable_monitoring_file_leaves_grpc_alone(model):
    (port,) = free_ports(1)
    with running_model_server(
        f"--rest_api_port={port}", "--monitoring_config_file=/no/such", f"--model_base_path={model}", rest_port=0
    ) as server:
        server.wait_for_log("Failed to start server. Error: NOT_FOUND: /no/such; No such file or directory")
        with GrpcClient(server.target) as client:
            assert client.predict("default", [1.0]) == [2.0]
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
            pass


def test_without_a_monitoring_file_there_is_no_metrics_page(model):
    with running_model_server(f"--model_base_path={model}", "--rest_api_enable_cors_support") as server:
        assert http(server.rest_port, "GET", "/monitoring/prometheus/metrics")[0] == 404
        _, headers, _ = http(server.rest_port, "GET", "/v1/models/default")
        assert headers["access-control-allow-origin"] == "*"


def test_a_unix_socket_serves_the_same_api(model, tmp_path):
    path = tmp_path / "grpc.sock"
    (port,) = free_ports(1)
    with running_model_server(
        f"--grpc_socket_path={path}", f"--model_base_path={model}", grpc_port=0, rest_port=port
    ) as server:
        with GrpcClient(f"unix:{path}") as client:
            assert client.predict("default", [1.0]) == [2.0]
        assert "0.0.0.0" not in server.log


def test_the_health_service_is_served_where_asked_for(model):
    with running_model_server("--enable_grpc_healthcheck_service", f"--model_base_path={model}", rest_port=0) as server:
        channel = grpc.insecure_channel(server.target)
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        # The wire format by hand: field 1 of the request is the service, field 1 of the response 1 for SERVING.
        assert check(b"") == b"\x08\x01"
        assert check(b"\x0a\x0cModelService") == b"\x08\x01"
        assert failure(lambda: check(b"\x0a\x02no"))[0] == "NOT_FOUND"
        channel.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return a key and a certificate of localhost, PEM."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return key.read_text(), cert.read_text()


def test_tls_with_client_certificates(model, tmp_path, certificate):
    key, cert = certificate
    ssl_config = tmp_path / "ssl.txt"
    quoted = [text.replace("\n", "\\n") for text in (key, cert, cert)]
    ssl_config.write_text(
        f'server_key: "{quoted[0]}" server_cert: "{quoted[1]}" custom_ca: "{quoted[2]}" client_verify: true'
    )
    with running_model_server(f"--ssl_config_file={ssl_config}", f"--model_base_path={model}", rest_port=0) as server:
        target = f"localhost:{server.grpc_port}"
        pem = [text.encode() for text in (cert, key, cert)]
        with GrpcClient(target, grpc.ssl_channel_credentials(*pem)) as client:
            assert client.predict("default", [1.0]) == [2.0]
        with GrpcClient(target, grpc.ssl_channel_credentials(pem[0])) as stranger:
            call = stranger.future("GetModelStatus", serving("GetModelStatusRequest"), 2)
            assert call.exception().code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_tls_file_without_a_key_fails_the_start(model, tmp_path):
    ssl_config = tmp_path / "ssl.txt"
    ssl_config.write_text("client_verify: true")
    status, log = ended(f"--ssl_config_file={ssl_config}", f"--model_base_path={model}", directory=tmp_path)
    assert status == 255
    assert f"Failed to start server. Error: INVALID_ARGUMENT: {ssl_config}: server_key and server_cert" in log


def test_batching_parameters_that_contradict_themselves_fail_the_load(model, tmp_path):
    parameters = tmp_path / "batching.txt"
    parameters.write_text("max_batch_size { value: 8 } allowed_batch_sizes: [2, 4]")
    status, log = ended(
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--max_num_load_retries=0",
        f"--model_base_path={model}",
        directory=tmp_path,
    )
    assert status == 255
    assert "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8" in log


def test_killed_and_started_again_on_the_same_ports(tmp_path):
    saved_models.scale(tmp_path / "m" / "1", 2.0)
    config = models_config_text(model_entry("m", tmp_path / "m"))
    with running_model_server(models_config=config, directory=tmp_path) as first:
        first.process.kill()
        assert first.process.wait(10) == -signal.SIGKILL
        with (
            running_model_server(
                models_config=first.config_path,
                directory=tmp_path,
                grpc_port=first.grpc_port,
                rest_port=first.rest_port,
            ) as second,
            GrpcClient(second.target) as client,
        ):
            assert client.predict("m", [1.0]) == [2.0]
            assert http(second.rest_port, "GET", "/v1/models/m")[0] == 200


def test_requests_in_progress_get_a_moment(tmp_path):
    saved_models.slow(tmp_path / "m" / "1", 0.3)
    with (
        running_model_server(f"--model_base_path={tmp_path / 'm'}", rest_port=0) as server,
        GrpcClient(server.target) as client,
    ):
        answers = []
        caller = threading.Thread(target=lambda: answers.append(client.predict("default", [1.0])))
        caller.start()
        time.sleep(0.1)
        server.process.terminate()
        caller.join(10)
        assert answers == [[1.0]]


OFFICIAL_CLIENT = """
import sys
import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.5]))
    reply = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 30, wait_for_ready=True)
    print(tf.make_ndarray(reply.outputs["y"]).tolist())
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"
    status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, 30)
    print(status.model_version_status[0].state == get_model_status_pb2.ModelVersionStatus.AVAILABLE)
"""


def test_the_official_client_is_answered(model):
    with running_model_server(f"--model_base_path={model}", rest_port=0) as server:
        result = subprocess.run(
            [sys.executable, "-c", OFFICIAL_CLIENT, server.target],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    assert (result.returncode, result.stdout.splitlines()) == (0, ["[2.0, 5.0]", "True"]), result.stderr


def test_small_models_start_within_seconds(model):
    times = []
    for _ in range(3):
        with running_model_server(f"--model_base_path={model}") as server:
            times.append(server.started_s)
    # The budget is 2 s on a quiet machine; tests run on busy ones.
    assert min(times) < 6, times


def test_a_large_model_and_its_metadata_are_served(tmp_path):
    saved_models.large(tmp_path / "big" / "1", 8)
    with (
        running_model_server(f"--model_base_path={tmp_path / 'big'}", rest_port=0) as server,
        GrpcClient(server.target) as client,
    ):
        request = serving("GetModelMetadataRequest", metadata_field=["signature_def"])
        fill_spec(request.model_spec, "default")
        data = client.call("GetModelMetadata", request).metadata["signature_def"].value
        assert "serving_default" in message("tensorflow.serving.SignatureDefMap").FromString(data).signature_def
        eventually(lambda: client.states("default") == {1: 30})
