"""The HTTP server: bytes to requests, and connections that nobody waits for."""

from __future__ import annotations

import errno
import socket
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet_services.model_server.rest_http import BadRequest, HttpServer, RequestParser, Response, encode, listen

BODY = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nX-Y:  z \r\n\r\nhello"
CHUNKED = b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
PLAIN = b"GET /c?d=e HTTP/1.0\r\n\r\n"


def parse_all(*pieces):
    parser, requests = RequestParser(), []
    for piece in pieces:
        parser.feed(piece)
        while (request := parser.next()) is not None:
            requests.append(request)
    return requests


@given(st.lists(st.integers(0, len(BODY + CHUNKED + PLAIN)), max_size=8))
def test_requests_are_the_same_however_the_bytes_arrive(cuts):
    data = BODY + CHUNKED + PLAIN
    edges = [0, *sorted(cuts), len(data)]
    requests = parse_all(*(data[begin:end] for begin, end in pairwise(edges)))
    assert [(each.method, each.target, each.body, each.keep_alive) for each in requests] == [
        ("POST", "/a", b"hello", True),
        ("PUT", "/b", b"abcde", True),
        ("GET", "/c?d=e", b"", False),
    ]
    assert requests[0].headers["x-y"] == "z"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nName : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: " + b"1" * 20 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        b"GET /" + b"x" * 100_000,
    ],
)
def test_what_is_no_request(data):
    with pytest.raises(BadRequest):
        parse_all(data)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
    ],
)
def test_who_keeps_the_connection(version, connection, kept):
    line = f"Connection: {connection}\r\n" if connection else ""
    (request,) = parse_all(f"GET / HTTP/{version}\r\n{line}\r\n".encode())
    assert request.keep_alive is kept


def test_a_reply_on_the_wire():
    response = Response(status=499, body=b"{}", headers=(("A", "b"),))
    assert encode(response, keep_alive=False) == (
        b"HTTP/1.1 499 Client Closed Request\r\nContent-Type: application/json\r\nA: b\r\n"
        b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    assert encode(response, keep_alive=True, head_only=True).endswith(
        b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n"
    )


@pytest.fixture
def serve():
    """Start servers; all are stopped at the end."""
    servers = []

    def start(handle, threads=2):
        server = HttpServer(listen(0), threads, handle)
        servers.append(server)
        server.start()
        return server.port

    yield start
    for server in servers:
        server.stop()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read_reply(client):
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    while len(body) < length:
        body += client.recv(65536)
    return head.split(b"\r\n")[0], body


def echo(request):
    return Response(status=200, body=request.body)


def test_pipelined_requests_are_answered_in_order(serve):
    with connect(serve(echo)) as client:
        for number in range(3):
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n%d" % number)
        data = b""
        while data.count(b"HTTP/1.1 200 OK") < 3 or not data.endswith(b"2"):
            data += client.recv(65536)
        assert [part[-1:] for part in data.split(b"HTTP/1.1")[1:]] == [b"0", b"1", b"2"]


def test_idle_and_slow_connections_cost_no_thread(serve):
    port = serve(echo, threads=1)
    idle = [connect(port) for _ in range(20)]
    for client in idle[:10]:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
    with connect(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok")
        assert read_reply(client) == (b"HTTP/1.1 200 OK", b"ok")
    idle[0].sendall(b" done!")
    assert read_reply(idle[0]) == (b"HTTP/1.1 200 OK", b"half done!")
    for client in idle:
        client.close()


def test_no_more_requests_run_at_once_than_there_are_threads(serve):
    running, most, lock = 0, 0, threading.Lock()

    def handle(_request):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return Response(status=200)

    port = serve(handle, threads=2)
    clients = [connect(port) for _ in range(6)]
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert {read_reply(client) for client in clients} == {(b"HTTP/1.1 200 OK", b"")}
    for client in clients:
        client.close()
    assert most == 2


def test_a_client_that_asks_first_is_told_to_go_on(serve):
    with connect(serve(echo)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert read_reply(client) == (b"HTTP/1.1 200 OK", b"ok")


def test_nonsense_is_refused_and_the_connection_closed(serve):
    with connect(serve(echo)) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert read_reply(client)[0] == b"HTTP/1.1 400 Bad Request"
        assert client.recv(1) == b""


def test_large_bodies_pass_both_ways(serve):
    body = bytes(range(256)) * 40_000
    with connect(serve(echo)) as client:
        sender = threading.Thread(
            target=client.sendall, args=(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body,)
        )
        sender.start()
        assert read_reply(client) == (b"HTTP/1.1 200 OK", body)
        sender.join()


def test_a_handler_that_fails_is_a_500_and_a_log_line(serve, caplog):
    def fail(_request):
        raise ValueError("broken")

    with connect(serve(fail)) as client:
        client.sendall(b"GET /x HTTP/1.1\r\n\r\n")
        assert read_reply(client) == (b"HTTP/1.1 500 Internal Server Error", b"")
    assert "the request GET /x failed" in caplog.text


def test_an_unexpected_error_costs_one_connection_only(serve, caplog, monkeypatch):
    port, complete = serve(echo), RequestParser.next

    def next_or_fail(parser):
        request = complete(parser)
        if request is not None and request.target == "/fail":
            raise RuntimeError("broken")
        return request

    monkeypatch.setattr(RequestParser, "next", next_or_fail)
    fail = b"GET /fail HTTP/1.1\r\n\r\n"
    with connect(port) as client:
        client.sendall(fail)
        assert client.recv(1) == b""
    # The second of two requests that came together is looked at on a thread of the pool.
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n" + fail)
        assert read_reply(client)[0] == b"HTTP/1.1 200 OK"
        assert client.recv(1) == b""
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert read_reply(client)[0] == b"HTTP/1.1 200 OK"
    assert caplog.text.count("a connection failed unexpectedly and is closed") == 2


class CrowdedListener:
    """A listener whose process has no file descriptor left until it is told otherwise."""

    def __init__(self, listener):
        self.listener, self.attempts, self.crowded = listener, 0, True

    def __getattr__(self, name):
        return getattr(self.listener, name)

    def accept(self):
        self.attempts += 1
        if self.crowded:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()


def test_without_file_descriptors_clients_wait_and_the_server_does_not_spin(caplog):
    listener = CrowdedListener(listen(0))
    server = HttpServer(listener, 1, echo)
    server.start()
    try:
        with connect(server.port) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            time.sleep(0.35)
            assert 2 <= listener.attempts <= 5
            listener.crowded = False
            assert read_reply(client)[0] == b"HTTP/1.1 200 OK"
        assert caplog.text.count("Too many open files") == 1
    finally:
        server.stop()


def test_a_client_that_leaves_early_hurts_nobody(serve):
    port = serve(lambda _: Response(status=200, body=b"x" * 5_000_000))
    for _ in range(5):
        with connect(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert len(read_reply(client)[1]) == 5_000_000


def test_a_port_that_is_taken():
    with listen(0) as taken, pytest.raises(OSError, match="Address already in use"):
        listen(taken.getsockname()[1])


def test_stopping_closes_the_port(serve):
    server = HttpServer(listen(0), 1, echo)
    server.start()
    port = server.port
    server.stop()
    with pytest.raises(ConnectionRefusedError), connect(port):
        pass
