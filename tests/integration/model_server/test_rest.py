"""The HTTP API of a real server process with real models."""

from __future__ import annotations

import base64
import gzip
import json
import socket

import pytest

from tests.support.model_server_client import http, http_connection


@pytest.fixture
def port(shared_server):
    return shared_server.server.rest_port


def post(port, path, body, **headers):
    status, reply_headers, data = http(port, "POST", path, body, headers)
    assert reply_headers["content-type"] == "application/json"
    return status, json.loads(data)


def get(port, path):
    status, _, data = http(port, "GET", path)
    return status, json.loads(data)


def test_rows_and_columns(port):
    assert post(port, "/v1/models/hp2:predict", {"instances": [1.0, 2.0, 5.0]}) == (
        200,
        {"predictions": [2.5, 3.0, 4.5]},
    )
    assert post(port, "/v1/models/hp2:predict", {"inputs": [1.0, 2.0]}) == (200, {"outputs": [2.5, 3.0]})
    assert post(port, "/v1/models/hp2:predict", {"inputs": {"x": 1.0}}) == (200, {"outputs": 2.5})


def test_several_outputs_are_objects(port):
    body = {"instances": [{"x": 1.0, "bias": 2.0}, {"x": 3.0, "bias": 4.0}]}
    assert post(port, "/v1/models/defaults:predict", body) == (
        200,
        {"predictions": [{"difference": -1.0, "total": 3.0}, {"difference": -1.0, "total": 7.0}]},
    )
    assert post(port, "/v1/models/defaults:predict", {"inputs": {"x": [1.0], "bias": [2.0]}}) == (
        200,
        {"outputs": {"difference": [-1.0], "total": [3.0]}},
    )


@pytest.mark.parametrize(
    ("path", "factor"),
    [
        ("/v1/models/scale", 3.0),
        ("/v1/models/scale/versions/1", 2.0),
        ("/v1/models/scale/labels/stable", 2.0),
        ("/V1/Models/scale", 3.0),
        ("/v1/models/%73cale", 3.0),
    ],
)
def test_the_path_chooses_the_version(port, path, factor):
    assert post(port, f"{path}:predict", {"instances": [1]}) == (200, {"predictions": [factor]})


def test_classify_and_regress(port):
    body = {"signature_name": "classify_with_labels", "examples": [{"x": 2.0}, {"x": 4.0}]}
    assert post(port, "/v1/models/hp2:classify", body) == (
        200,
        {"results": [[["positive", 3.0], ["negative", -3.0]], [["positive", 4.0], ["negative", -4.0]]]},
    )
    body = {"signature_name": "regress_x_to_y", "context": {"x": 6.0}, "examples": [{}, {"x": [4.0]}]}
    assert post(port, "/v1/models/hp2:regress", body) == (200, {"results": [5.0, 4.0]})


def test_bytes_travel_as_base64(port):
    data = bytes(range(256))
    body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
    status, _, reply = http(port, "POST", "/v1/models/echo:predict", body)
    assert status == 200
    # An output whose name does not end in _bytes is written raw, whatever it holds.
    assert data[0x80:] in reply


def test_strings_come_back_as_they_went(port):
    words = ["plain", 'quote " and \\', "tab\t", "umlaut ü", "\U0001f600"]
    assert post(port, "/v1/models/echo:predict", {"instances": words}) == (200, {"predictions": words})


def test_not_a_number_is_written_as_such(port):
    assert http(port, "POST", "/v1/models/scale:predict", b'{"instances": [NaN, -Infinity, 1e39e]}')[0] == 400
    status, _, body = http(port, "POST", "/v1/models/scale:predict", b'{"instances": [NaN, -Infinity, Infinity]}')
    assert (status, body) == (200, b'{\n    "predictions": [NaN, -Infinity, Infinity\n    ]\n}')


def test_the_layout_of_a_reply(port):
    _, _, body = http(port, "POST", "/v1/models/scale:predict", {"inputs": [1.0, 2.0]})
    assert body == b'{\n    "outputs": [\n        3.0,\n        6.0\n    ]\n}'


def test_a_gzip_body_is_inflated_and_replies_are_not_packed(port):
    body = gzip.compress(b'{"instances": [1.0]}')
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    status, reply_headers, data = http(port, "POST", "/v1/models/scale:predict", body, headers)
    assert (status, json.loads(data)) == (200, {"predictions": [3.0]})
    assert "content-encoding" not in reply_headers


def test_a_damaged_gzip_body_is_an_empty_one(port):
    body = gzip.compress(b'{"instances": [1.0]}')[:-6]
    status, _, data = http(port, "POST", "/v1/models/scale:predict", body, {"Content-Encoding": "gzip"})
    assert (status, json.loads(data)) == (400, {"error": "JSON Parse error: The document is empty"})


def test_status_and_metadata(port):
    assert get(port, "/v1/models/hp2") == (
        200,
        {
            "model_version_status": [
                {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            ]
        },
    )
    assert [entry["version"] for entry in get(port, "/v1/models/scale")[1]["model_version_status"]] == ["2", "1"]
    assert [entry["version"] for entry in get(port, "/v1/models/scale/versions/1")[1]["model_version_status"]] == ["1"]
    status, body = get(port, "/v1/models/scale/labels/stable/metadata")
    assert (status, body["model_spec"]) == (200, {"name": "scale", "version": "1", "signature_name": ""})
    assert body["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"] == {
        "name": "x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }
    assert body["metadata"]["signature_def"]["signature_def"]["serving_default"]["defaults"] == {}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v1/models/no:predict", {"instances": [1.0]}, 404, "Servable not found for request: Latest(no)"),
        (
            "POST",
            "/v1/models/hp2:predict",
            {"signature_name": "no", "instances": [1.0]},
            400,
            'Serving signature name: "no" not found in signature def',
        ),
        ("POST", "/v1/models/hp2:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("POST", "/v1/models/hp2:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("POST", "/v1/models/hp2:PREDICT", {}, 400, "Malformed request: POST /v1/models/hp2:PREDICT"),
        ("PUT", "/v1/models/hp2", {}, 400, "Malformed request: PUT /v1/models/hp2"),
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/no", None, 404, "Could not find any versions of model no"),
        ("GET", "/v1/models/hp2?x=1", None, 404, "Could not find any versions of model hp2?x=1"),
        (
            "POST",
            "/v1/models/half:predict",
            {"instances": [1.0]},
            400,
            (
                "Failed to process element: 0 of 'instances' list."
                " Error: UNIMPLEMENTED: Conversion of JSON Value: 1.0 to type: half"
            ),
        ),
        (
            "POST",
            "/v1/models/half:predict",
            {"inputs": [1.0]},
            501,
            "Conversion of JSON Value: 1.0 to type: half",
        ),
    ],
)
def test_what_is_refused(port, method, path, body, status, text):
    got, headers, data = http(port, method, path, body)
    assert (got, json.loads(data)) == (status, {"error": text})
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models/%ff", None, 404),
        ("POST", "/v1/models/%ff:predict", {"instances": [1.0]}, 404),
        ("POST", "/v1/models/scale/labels/%ff:predict", {"instances": [1.0]}, 400),
        ("POST", "/v1/models/hp2:predict", b'{"signature_name": "\xff", "instances": [1.0]}', 400),
        ("POST", "/v1/models/hp2:predict", b'{"signature_name": "\\ud800", "instances": [1.0]}', 400),
        ("POST", "/v1/models/hp2:classify", b'{"examples": [{"\xff": 1.0}]}', 400),
        ("POST", "/v1/models/scale:predict", b'{"instances": [{"\xff": 1.0}]}', 400),
        ("POST", "/v1/models/scale:predict", b'{"instances": [1e400]}', 400),
    ],
)
def test_odd_requests_are_answered_with_an_error_text(port, method, path, body, status):
    got, _, data = http(port, method, path, body)
    assert (got, list(json.loads(data))) == (status, ["error"])


def test_an_overflowing_version_has_no_body(port):
    assert http(port, "GET", "/v1/models/hp2/versions/99999999999999999999")[::2] == (400, b"")


def test_outside_the_api_there_is_a_plain_404(port):
    status, headers, body = http(port, "GET", "/")
    assert (status, headers["content-type"]) == (404, "text/html")
    assert b"404 Not Found" in body


@pytest.mark.parametrize(("origin", "status"), [("https://example.org", 200), ("example.org", 400)])
def test_options_looks_at_the_origin(port, origin, status):
    got, headers, _ = http(port, "OPTIONS", "/v1/models/hp2", headers={"Origin": origin})
    assert got == status
    assert "access-control-allow-origin" not in headers


def test_a_slow_model_exceeds_the_servers_own_timeout(port):
    status, body = post(port, "/v1/models/slow:predict", {"instances": [1.0]})
    assert (status, "error" in body) == (504, True)


def test_one_connection_serves_many_requests(port):
    connection = http_connection(port)
    connection.connect()
    local = connection.sock.getsockname()
    for number in range(5):
        connection.request("POST", "/v1/models/scale:predict", json.dumps({"instances": [number]}))
        assert json.loads(connection.getresponse().read()) == {"predictions": [3.0 * number]}
        assert connection.sock.getsockname() == local
    connection.close()


def test_ipv6_is_answered_too(port):
    with socket.create_connection(("::1", port), timeout=10) as client:
        client.sendall(b"GET /v1/models/hp2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_metrics_page_counts_calls_by_model_and_status(shared_server, port):
    shared_server.client.predict("scale", [1.0])
    http(port, "GET", "/v1/models/never-heard-of")
    status, headers, body = http(port, "GET", "/monitoring/prometheus/metrics")
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/plain")
    assert "# TYPE :tensorflow:serving:request_count counter\n" in page
    assert ':tensorflow:serving:request_count{model_name="never-heard-of",status="NOT_FOUND"} ' in page
    assert ':tensorflow:serving:request_latency_count{model_name="scale",API="Predict",entrypoint="GRPC"} ' in page
    assert (
        ':tensorflow:serving:runtime_latency_bucket{model_name="scale",API="Predict",runtime="TF1",le="+Inf"} ' in page
    )
    assert "# HELP" not in page


def test_a_query_on_the_metrics_path_is_refused(port):
    status, _, body = http(port, "GET", "/monitoring/prometheus/metrics?name=x")
    assert (status, body) == (
        400,
        b"Unexpected path: /monitoring/prometheus/metrics?name=x. Should be /monitoring/prometheus/metrics",
    )
