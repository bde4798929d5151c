"""The proxy of the fault tests does what it is told, and nothing else."""

from __future__ import annotations

import http.client
import http.server
import threading
import time

import pytest

from tests.support.faulty_proxy import Fault, FaultyProxy

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the content with ranges, and a chunked page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/chunked"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
            return
        start, end = 0, len(CONTENT)
        if asked := self.headers["Range"]:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), int(last) + 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(CONTENT[start:end])

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def upstream():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # the proxy leaves in mid-answer, as it is told to
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(upstream):
    with FaultyProxy(upstream) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    yield connection
    connection.close()


def get(client, path="/file", start=None, end=None):
    client.request("GET", path, headers={"Range": f"bytes={start}-{end - 1}"} if end else {})
    return client.getresponse()


def test_answers_pass_unchanged_on_one_connection_and_are_counted(proxy, client):
    assert get(client).read() == CONTENT
    assert get(client, start=10, end=20).read() == CONTENT[10:20]
    assert get(client, "/chunked").read() == b"firstsecond"
    client.request("HEAD", "/file")
    head = client.getresponse()
    assert (head.headers["Content-Length"], head.read()) == (str(len(CONTENT)), b"")
    client.request("POST", "/made", body=b"body")
    assert client.getresponse().read() == b"body"
    assert proxy.body_bytes("/file") == len(CONTENT) + 10
    assert [(item.method, item.status, item.sent) for item in proxy.seen("/file")] == [
        ("GET", 200, len(CONTENT)),
        ("GET", 206, 10),
        ("HEAD", 200, 0),
    ]


def test_a_body_is_cut_damaged_or_replaced_for_as_many_requests_as_told(proxy, client):
    proxy.add(Fault("/file", truncate=1000, times=1))
    proxy.add(Fault("/other", status=429, headers={"Retry-After": "7"}, body=b"slow down", skip=1))
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(client).read()
    assert cut.value.partial == CONTENT[:1000]
    client.close()
    proxy.add(Fault("/file", corrupt=5000, times=1))
    assert get(client, start=0, end=5000).read() == CONTENT[:5000]
    changed = get(client, start=4000, end=6000).read()
    assert [at for at in range(2000) if changed[at] != CONTENT[4000 + at]] == [1000]
    assert get(client, start=4000, end=6000).read() == CONTENT[4000:6000]
    assert get(client, "/other").read() == CONTENT
    answer = get(client, "/other")
    assert (answer.status, answer.headers["Retry-After"], answer.read()) == (429, "7", b"slow down")


def test_a_hang_ends_with_its_removal(proxy, client):
    hang = proxy.add(Fault("/file", hang=1000))
    silent = proxy.add(Fault("/other", hang=-1))
    answer = get(client)
    assert answer.read(1000) == CONTENT[:1000]
    threading.Timer(0.1, proxy.remove, (hang,)).start()
    began = time.monotonic()
    assert answer.read(1) == b""
    assert time.monotonic() - began > 0.05
    client.close()
    threading.Timer(0.1, proxy.remove, (silent,)).start()
    with pytest.raises(http.client.RemoteDisconnected):
        get(client, "/other")


def test_a_connection_is_reset_before_or_within_the_body(proxy, client):
    proxy.add(Fault("/file", reset=-1, times=1))
    proxy.add(Fault("/file", reset=300_000))
    with pytest.raises(ConnectionResetError):
        get(client)
    client.close()
    with pytest.raises(ConnectionResetError):
        get(client).read()


def test_a_rate_holds_for_all_requests_together_and_can_be_lifted(proxy, client):
    slow = proxy.add(Fault("/file", rate=200_000))
    began = time.monotonic()
    assert get(client, start=0, end=60_000).read() == CONTENT[:60_000]
    assert 0.25 < time.monotonic() - began < 1
    threading.Timer(0.1, proxy.remove, (slow,)).start()
    assert get(client).read() == CONTENT
    assert time.monotonic() - began < 2


def test_something_happens_before_the_server_is_asked(proxy, client):
    happened = []
    proxy.add(Fault("/file", call=lambda: happened.append(len(proxy.seen())), times=1))
    assert get(client).read() == CONTENT
    assert get(client).read() == CONTENT
    assert happened == [1]


def test_closing_ends_what_hangs(upstream):
    with FaultyProxy(upstream) as proxy:
        proxy.add(Fault(hang=10))
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        assert get(client).read(10) == CONTENT[:10]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("proxy-")]
    client.close()
