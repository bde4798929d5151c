"""Requests over a real port: what is refused, with which status, and that one request never ends the service."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from http import HTTPStatus

import pytest
from modelfleet.errors import InvalidInput, StoreBusy, StoreError
from modelfleet_services.common import health, http_server, web
from modelfleet_services.common.event_log import EventLog
from modelfleet_services.common.http_server import listen
from modelfleet_services.common.operations import Api, Operation, Reply, openapi
from modelfleet_services.common.refusals import Conflict, NotFound
from modelfleet_services.common.tokens import TokenFile
from openapi_spec_validator import validate

from tests.support.http_service import served

TOKEN = "0123456789abcdef"
BODY = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}


class Deeds:
    """What the operations of the tests do."""

    def __init__(self):
        self.let_go = threading.Event()
        self.forget()

    def forget(self):
        self.done = []
        self.failure = None

    def note(self, body):
        if self.failure:
            raise self.failure
        self.done.append(body)
        return Reply({"done": body})

    def hang(self, _body):
        self.let_go.wait(10)
        return Reply({})


def operation(method, path, run, **more):
    return Operation(
        method=method,
        path=path,
        name=path.strip("/"),
        summary=f"Does <{path}>.",
        run=run,
        answers={HTTPStatus.OK: "Done."},
        schema={"type": "object"},
        **more,
    )


def api(deeds):
    return Api(
        title="a service",
        version="1",
        operations=(
            operation("GET", "/look", deeds.note),
            operation("GET", "/hang", deeds.hang),
            operation("POST", "/do", deeds.note),
            operation("POST", "/name", deeds.note, body=BODY, errors={HTTPStatus.CONFLICT: "No."}),
        ),
        schemas={},
    )


@pytest.fixture(scope="module")
def service():
    deeds, log = Deeds(), io.StringIO()
    with served(api(deeds), log=EventLog(log)) as client:
        yield client, deeds, log
        deeds.let_go.set()


@pytest.fixture
def client(service):
    return service[0]


@pytest.fixture
def deeds(service):
    service[1].forget()
    return service[1]


@pytest.fixture
def log(service):
    service[2].seek(0)
    service[2].truncate()
    return service[2]


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    return TokenFile(path)


def problem(answer):
    error = answer.json["error"]
    assert error.keys() == {"code", "subject", "problem", "remedy"}
    assert answer.headers["content-type"] == "application/json"
    return answer.status, error["code"]


def test_operations_answer_json_that_nobody_keeps_or_frames(client):
    answer = client.get("/look")
    assert (answer.status, answer.json) == (200, {"done": {}})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


def test_head_is_answered_without_a_body(client):
    answer = client.ask("HEAD", "/look")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/nowhere", "/look/", "/look%2f", "//look", "/LOOK"])
def test_paths_that_there_are_not_are_404(client, path):
    assert problem(client.get(path)) == (404, "NOT_FOUND")


def test_other_methods_are_405_and_the_right_ones_are_named(client):
    answer = client.get("/do")
    assert problem(answer) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"
    assert problem(client.post("/look", {})) == (405, "METHOD_NOT_ALLOWED")
    assert problem(client.ask("DELETE", "/openapi.json")) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not announced as JSON"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 30000, "is not JSON"),
        ([], "is not a JSON object"),
        (None, "not announced as JSON"),
        ({}, "has no key 'name'"),
        ({"name": "a", "other": 1}, "unknown key 'other'"),
    ],
)
def test_bodies_that_are_not_what_is_asked_for_are_told(client, deeds, body, said):
    headers = {"Content-Type": "application/json"} if isinstance(body, bytes) and body else {}
    answer = client.post("/name", body, headers=headers)
    assert answer.status in {400, 415}
    assert said in answer.json["error"]["problem"]
    assert not deeds.done


def test_a_body_must_be_announced_as_json(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/name", b'{"name": "a"}', headers={"Content-Type": kind})
        assert problem(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")
    answer = client.post("/name", b'{"name": "a"}', headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert answer.status == 200


def test_where_no_body_is_asked_for_none_or_an_empty_object_will_do(client, deeds):
    assert client.post("/do").status == 200
    assert client.post("/do", {}).status == 200
    assert problem(client.post("/do", {"surplus": 1})) == (400, "INVALID")
    assert deeds.done == [{}, {}]


def test_a_large_body_is_413_whether_announced_or_in_chunks(client, deeds):
    large = b" " * (web.MAX_BODY_BYTES + 1)
    assert problem(client.post("/name", large, headers={"Content-Type": "application/json"})) == (413, "TOO_LARGE")
    with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)) as connection:
        connection.request("POST", "/name", iter([large]), {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    assert not deeds.done


def test_a_body_that_does_not_arrive_is_408(client, monkeypatch):
    monkeypatch.setattr(web, "_BODY_S", 0.2)
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(b"POST /name HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_goes_away_in_the_middle_harms_nobody(client, log):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
            connection.sendall(b"POST /name HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
    assert client.get("/look").status == 200
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (InvalidInput("it", "is wrong"), (400, "INVALID")),
        (NotFound("it", "is not here"), (404, "NOT_FOUND")),
        (Conflict("it", "is busy"), (409, "CONFLICT")),
        (StoreBusy("store", "is locked"), (409, "STORE_BUSY")),
        (StoreError("store", "is broken"), (500, "STORE_UNUSABLE")),
    ],
)
def test_errors_of_the_service_have_their_status(client, deeds, failure, expected):
    deeds.failure = failure
    assert problem(client.get("/look")) == expected


def test_a_defect_is_500_without_a_word_of_the_inside_and_the_log_has_it(client, deeds, log):
    deeds.failure = ZeroDivisionError("inside")
    answer = client.get("/look")
    assert problem(answer) == (500, "FAILED")
    assert "inside" not in answer.text
    assert "ZeroDivisionError: inside" in log.getvalue()
    deeds.failure = None
    assert client.get("/look").status == 200


def test_operations_that_hang_are_503_and_do_not_hold_up_the_others(client, monkeypatch):
    monkeypatch.setattr(web, "_OPERATION_S", 0.2)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(client.get("/hang"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [problem(answer) for answer in answers] == [(503, "TIMEOUT")] * 3
    assert client.get("/look").status == 200


def test_changes_need_the_token_and_looks_do_not(deeds, token):
    with served(api(deeds), token) as client:
        answer = client.post("/do")
        assert problem(answer) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert client.post("/do", headers={"Authorization": "Bearer wrong"}).status == 401
        assert client.get("/look").status == 200
        assert client.post("/do", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert deeds.done == [{}, {}]


def test_a_token_file_that_is_lost_is_the_fault_of_the_service_and_lets_nobody_in(deeds, token, tmp_path):
    (tmp_path / "token").unlink()
    with served(api(deeds), token) as client:
        for shown in ({}, {"Authorization": f"Bearer {TOKEN}"}):
            assert problem(client.post("/do", headers=shown)) == (503, "TOKEN_UNUSABLE")
    assert not deeds.done


def test_without_a_token_web_pages_are_kept_out(client, deeds):
    assert problem(client.post("/do", headers={"Origin": "https://elsewhere.example"})) == (403, "FORBIDDEN")
    assert problem(client.post("/do", headers={"Host": "rebound.example"})) == (403, "FORBIDDEN")
    assert not deeds.done


def test_the_description_is_valid_openapi_and_names_every_operation(client, deeds):
    described = client.get("/openapi.json").json
    validate(described)
    assert described == json.loads(json.dumps(openapi(api(deeds))))
    assert set(described["paths"]) == {"/look", "/hang", "/do", "/name"}
    name = described["paths"]["/name"]["post"]
    assert name["security"] == [{"token": []}]
    assert "409" in name["responses"]
    assert "security" not in described["paths"]["/look"]["get"]


def test_the_page_stands_alone_and_lists_every_operation(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("/look", "/hang", "/do", "/name"):
        assert path in answer.text
    assert "Does &lt;/do&gt;." in answer.text
    assert "<code>name</code>, <code>size</code> (optional)" in answer.text
    assert not re.search(r"<(script|link|img|iframe)|https?://|url\(", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]{43}='", policy)


def test_a_taken_port_is_refused_in_one_line(client):
    with pytest.raises(InvalidInput, match=f"port {client.port} of 127.0.0.1: is taken by another program"):
        listen("127.0.0.1", client.port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(InvalidInput, match="choose another --bind"):
        listen("192.0.2.1", 0)


def test_a_connection_without_requests_is_closed(deeds, monkeypatch):
    monkeypatch.setattr(http_server, "_PATIENCE_S", 0.2)
    with served(api(deeds)) as client, socket.create_connection(("127.0.0.1", client.port), timeout=10) as slow:
        begin = time.monotonic()
        slow.sendall(b"GET /look HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""
        assert time.monotonic() - begin < 5


def test_too_many_clients_are_turned_away_and_do_not_wear_it_out(client):
    with ExitStack() as stack:
        for _ in range(http_server.CLIENTS + http_server.KEPT_FREE):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=10))
        assert client.get("/look").status == 503
        for _ in range(http_server.CONNECTIONS - http_server.CLIENTS - http_server.KEPT_FREE):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=10))
        assert closed(client.port)
    end = time.monotonic() + 5
    while client.get("/look").status != 200:
        assert time.monotonic() < end


def closed(port):
    """Return whether a new connection is closed at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            return connection.recv(1) == b""
        except ConnectionResetError:
            return True


def test_one_client_does_not_take_the_place_of_all_others_and_the_machine_itself_is_always_answered(
    client, monkeypatch
):
    with ExitStack() as stack:
        monkeypatch.setattr(http_server, "is_loopback", lambda _: False)
        for _ in range(http_server.CONNECTIONS_OF_ONE):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=10))
        assert closed(client.port)
        monkeypatch.setattr(http_server, "CONNECTIONS_OF_ONE", 1000)
        for _ in range(http_server.CLIENTS - 16):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port), timeout=10))
        assert client.get("/look").status == 503
        monkeypatch.setattr(http_server, "is_loopback", lambda _: True)
        assert client.get("/look").status == 200


def test_garbage_is_refused_and_costs_nothing(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert client.get("/look").status == 200


def health_told(capsys, url):
    return health.main(["--url", url, "--timeout", "2"]), capsys.readouterr().out.splitlines()


def test_the_health_command_asks_a_server(capsys):
    reasons = [{"code": "HANGING", "subject": "thread loop", "problem": "hangs", "remedy": "restart"}]
    replies = [
        Reply({"reasons": []}),
        Reply({"reasons": reasons}, HTTPStatus.SERVICE_UNAVAILABLE),
        Reply({"error": {}}, HTTPStatus.SERVICE_UNAVAILABLE),
    ]
    described = Api(
        title="t", version="1", operations=(operation("GET", "/health", lambda _: replies.pop(0)),), schemas={}
    )
    with served(described) as client:
        url = f"http://127.0.0.1:{client.port}"
        assert health_told(capsys, f"{url}/health") == (0, ["healthy"])
        assert health_told(capsys, url) == (1, ["thread loop: hangs; restart"])
        assert health_told(capsys, url) == (1, [f"{url}: answers 503 Service Unavailable"])
    status, lines = health_told(capsys, url)
    assert status == 1
    assert "does not answer" in lines[0]
    assert health_told(capsys, "ftp://127.0.0.1/")[0] == 1
