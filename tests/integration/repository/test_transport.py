"""The HTTP client against real servers: what it keeps, what it repeats, what it never does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from modelfleet.adapters import transport as transport_module
from modelfleet.adapters.access import Access
from modelfleet.adapters.transport import Request, Transport
from modelfleet.errors import (
    InvalidInput,
    SourceChanged,
    SourceForbidden,
    SourceNotFound,
    SourceUnavailable,
)
from modelfleet.waiting import Clock

from tests.support.gcs_server import free_port
from tests.support.tiny_http_server import CONTENT, Reply, TinyServer, drained, ranged


@pytest.fixture
def clock():
    """Return a clock that only its own sleeps move, and what they were."""
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    return Clock(lambda: now[0], sleep), slept


@pytest.fixture
def timed(clock):
    found = Transport(Access(connect_timeout_s=5, read_timeout_s=5), clock=clock[0], dice=lambda: 1.0)
    yield found
    found.close()


def test_connections_are_kept(transport):
    with TinyServer(ranged()) as server:
        for _ in range(3):
            assert transport.request(Request("x", server.url)).body == CONTENT
            assert drained(transport.stream(Request("x", server.url))) == CONTENT
            assert drained(transport.stream(Request("x", server.url), 5, 100)) == CONTENT[5:105]
            assert transport.request(Request("x", f"{server.url}/x", "HEAD")).body == b""
        assert len({asked.port for asked in server.asked}) == 1


def test_a_connection_is_kept_by_those_who_do_not_ask_for_the_end(transport):
    buffer = memoryview(bytearray(100))
    with TinyServer(ranged()) as server:
        for _ in range(3):
            with transport.stream(Request("x", server.url), 5, 100) as body:
                assert body.readinto(buffer) == 100
        assert len({asked.port for asked in server.asked}) == 1

        with transport.stream(Request("x", server.url), 5, 101) as body:
            assert body.readinto(buffer) == 100
        with transport.stream(Request("x", server.url), 5, 100) as body:
            assert body.readinto(buffer) == 100
        assert len({asked.port for asked in server.asked}) == 2


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("size", [1, 999, 65536, 1 << 20])
def test_bodies_arrive_whole_with_any_buffer(transport, chunks, size):
    with TinyServer(ranged(chunks=chunks)) as server:
        small = CONTENT if size > 1 else CONTENT[:300]
        server.reply = ranged(small, chunks=chunks)
        assert drained(transport.stream(Request("x", server.url)), size) == small
        assert drained(transport.stream(Request("x", server.url), total=len(small)), size) == small
        assert drained(transport.stream(Request("x", server.url), 7), size) == small[7:]
        assert drained(transport.stream(Request("x", server.url), 7, 100, total=len(small)), size) == small[7:107]
        assert "range" not in server.asked[1].headers
        assert server.asked[3].headers["range"] == "bytes=7-106"
        assert len({asked.port for asked in server.asked}) == 1


def test_a_body_without_a_length_ends_with_its_connection(transport):
    with TinyServer(lambda _: Reply(200, CONTENT, {"Connection": "close"})) as server:
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
        assert drained(transport.stream(Request("x", server.url), total=len(CONTENT))) == CONTENT
        with pytest.raises(SourceUnavailable, match=f"ended after {len(CONTENT)} of {len(CONTENT) + 1} bytes"):
            drained(transport.stream(Request("x", server.url), length=len(CONTENT) + 1))


def test_an_empty_body_is_one(transport):
    with TinyServer(ranged(b"")) as server:
        assert drained(transport.stream(Request("x", server.url), total=0)) == b""
        assert drained(transport.stream(Request("x", server.url), 0, 0)) == b""
        assert all("range" not in asked.headers for asked in server.asked)


def test_what_is_not_read_to_its_end_is_not_used_again(transport):
    buffer = memoryview(bytearray(100))
    with TinyServer(ranged()) as server:
        for _ in range(2):
            with transport.stream(Request("x", server.url)) as body:
                assert body.readinto(buffer) == 100
        with transport.stream(Request("x", server.url), length=100) as body:
            assert body.readinto(buffer) == 100
            assert body.readinto(buffer) == 0
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
        ports = [asked.port for asked in server.asked]
        assert len(set(ports)) == 3
        assert ports[2] == ports[3]


def test_nothing_is_sent_before_something_is_asked_for(transport):
    with TinyServer(ranged()) as server:
        with transport.stream(Request("x", server.url)):
            pass
        assert server.asked == []
        with transport.stream(Request("x", server.url), 10) as body:
            assert body.status == 206
            assert body.headers["CONTENT-RANGE"] == f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}"
        assert len(server.asked) == 1


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("cut", [0, 1, 100_000])
def test_a_truncated_body_is_never_taken_for_whole(transport, chunks, cut):
    with TinyServer(ranged(chunks=chunks, close_after=cut)) as server:
        for start in (0, 3):
            with pytest.raises(SourceUnavailable):
                drained(transport.stream(Request("x", server.url), start))
        with pytest.raises(SourceUnavailable):
            transport.once(Request("x", server.url))


@pytest.mark.parametrize(
    ("status", "part", "body"),
    [
        (200, None, CONTENT),
        (206, f"bytes 0-99/{len(CONTENT)}", CONTENT[:100]),
        (206, f"bytes 11-110/{len(CONTENT)}", CONTENT[11:111]),
        (206, f"bytes 10-108/{len(CONTENT)}", CONTENT[10:109]),
        (206, "bytes 10-109", CONTENT[10:110]),
        (206, None, CONTENT[10:110]),
    ],
)
def test_another_part_than_the_wanted_one_is_refused(transport, status, part, body):
    headers = {"Content-Range": part} if part else {}
    with (
        TinyServer(lambda _: Reply(status, body, headers)) as server,
        pytest.raises(SourceUnavailable, match="the part from byte 10 of 100 bytes came"),
    ):
        drained(transport.stream(Request("x", server.url), 10, 100))


def test_a_part_from_the_beginning_may_come_from_a_whole(transport):
    with TinyServer(lambda _: Reply(200, CONTENT)) as server:
        assert drained(transport.stream(Request("x", server.url), 0, 100)) == CONTENT[:100]


def test_another_size_than_the_listed_one_is_a_change(transport):
    with TinyServer(ranged()) as server:
        with pytest.raises(SourceChanged, match=f"has {len(CONTENT)} bytes instead of 5"):
            drained(transport.stream(Request("x", server.url), total=5))
        with pytest.raises(SourceChanged, match=f"has {len(CONTENT)} bytes instead of 500"):
            drained(transport.stream(Request("x", server.url), 5, 10, total=500))


@pytest.mark.parametrize("hang_after", [-1, 0, 50_000])
@pytest.mark.parametrize("chunks", [False, True])
def test_a_read_that_hangs_is_broken_off_from_another_thread(hang_after, chunks):
    transport = Transport(Access(read_timeout_s=60))
    with TinyServer(ranged(chunks=chunks, hang_after=hang_after)) as server:
        body = transport.stream(Request("x", server.url))
        threading.Timer(0.3, body.abort).start()
        begun = time.monotonic()
        with pytest.raises(SourceUnavailable, match="reading it was given up"):
            drained(body)
        assert 0.2 < time.monotonic() - begun < 1.3
        with pytest.raises(SourceUnavailable, match="reading it was given up"):
            body.readinto(memoryview(bytearray(10)))
        server.reply = ranged()
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
    transport.close()


def test_an_abort_does_no_harm_before_and_after(transport):
    with TinyServer(ranged()) as server:
        early = transport.stream(Request("x", server.url))
        early.abort()
        with pytest.raises(SourceUnavailable):
            drained(early)
        assert server.asked == []
        late = transport.stream(Request("x", server.url))
        assert drained(late) == CONTENT
        late.abort()
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
        assert len({asked.port for asked in server.asked}) == 1


def test_a_server_that_sends_nothing_is_not_waited_for_for_ever():
    transport = Transport(Access(read_timeout_s=0.2))
    for hang_after in (-1, 1000):
        with (
            TinyServer(ranged(hang_after=hang_after)) as server,
            pytest.raises(SourceUnavailable, match="stopped answering: nothing came for too long"),
        ):
            drained(transport.stream(Request("x", server.url)), 1 << 20)
    transport.close()


def test_what_comes_slowly_is_handed_on_before_the_buffer_is_full(transport):
    buffer = memoryview(bytearray(1 << 20))
    with TinyServer(lambda _: Reply(200, CONTENT, pause_s=0.1)) as server:
        with transport.stream(Request("x", server.url)) as body:
            begun = time.monotonic()
            count = body.readinto(buffer)
            assert 0.9 < time.monotonic() - begun < 2.5
        assert 3000 <= count <= 30_000
        assert buffer[:count] == CONTENT[:count]


def test_a_kept_connection_that_the_server_closed_is_no_failure(transport):
    """The server closes in the very moment of the request, which cannot be seen beforehand."""
    with TinyServer(ranged()) as server:
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
        closing = iter([Reply(close_after=-1)])
        whole = ranged()
        server.reply = lambda asked: next(closing, None) or whole(asked)
        assert drained(transport.stream(Request("x", server.url))) == CONTENT
        assert len(server.asked) == 3
        server.drop_connections()
        assert drained(transport.stream(Request("x", server.url))) == CONTENT


def test_a_new_connection_that_the_server_closes_is_a_failure(transport):
    with TinyServer(lambda _: Reply(close_after=-1)) as server:
        with pytest.raises(SourceUnavailable, match="broke the connection"):
            drained(transport.stream(Request("x", server.url)))
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(timed, clock, status):
    replies = iter([Reply(status), Reply(status), Reply(200, b"at last")])
    with TinyServer(lambda _: next(replies)) as server:
        assert timed.request(Request("x", server.url)).body == b"at last"
    assert clock[1] == [0.5, 1.0]


def test_trying_again_ends(timed, clock):
    with TinyServer(lambda _: Reply(503, b"not\nnow")) as server:
        with pytest.raises(SourceUnavailable, match=r"answers 503 Service Unavailable \(not\); it is tried again"):
            timed.request(Request("x", server.url))
        assert len(server.asked) == 4
        with pytest.raises(SourceUnavailable):
            timed.request(Request("x", server.url, "POST"))
        assert len(server.asked) == 5
    assert clock[1] == [0.5, 1.0, 2.0]


def test_a_server_says_how_long_to_wait(timed, clock):
    replies = iter([Reply(429, b"", {"Retry-After": "7"}), Reply(200)])
    with TinyServer(lambda _: next(replies)) as server:
        assert timed.request(Request("x", server.url)).status == 200
        assert clock[1] == [7.0]
        server.reply = lambda _: Reply(503, b"", {"Retry-After": "3600"})
        with pytest.raises(SourceUnavailable) as caught:
            timed.request(Request("x", server.url))
        assert caught.value.retry_after_s == 3600
        when = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
        server.reply = lambda _: Reply(503, b"", {"Retry-After": when})
        with pytest.raises(SourceUnavailable) as caught:
            drained(timed.stream(Request("x", server.url)))
        assert 490 < caught.value.retry_after_s <= 500
        server.reply = lambda _: Reply(503, b"", {"Retry-After": "soon"})
        with pytest.raises(SourceUnavailable) as caught:
            drained(timed.stream(Request("x", server.url)))
        assert caught.value.retry_after_s == 0
    assert clock[1] == [7.0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SourceForbidden),
        (401, SourceForbidden),
        (403, SourceForbidden),
        (404, SourceNotFound),
        (410, SourceNotFound),
        (412, SourceChanged),
        (416, SourceChanged),
        (418, SourceForbidden),
        (599, SourceUnavailable),
    ],
)
def test_a_status_has_a_meaning(transport, status, kind):
    with TinyServer(lambda _: Reply(status, b"<Error><Message>in its words</Message></Error>")) as server:
        url = f"{server.url}/path?signature=hidden"
        with pytest.raises(kind, match=rf"^x: localhost:\d+ answers {status} ?[\w' -]*\(in its words\); ") as caught:
            drained(transport.stream(Request("x", url)))
        assert "hidden" not in caught.value.one_line()
        assert len(server.asked) == 1


def test_a_caller_may_know_better_what_an_answer_means(transport):
    def refused(answer):
        return SourceChanged("x", answer.body.decode()) if answer.status == 404 else None

    with TinyServer(lambda _: Reply(404, b"known")) as server:
        with pytest.raises(SourceChanged, match="known"):
            drained(transport.stream(Request("x", server.url, refused=refused)))
        with pytest.raises(SourceChanged, match="known"):
            transport.request(Request("x", server.url, refused=refused))
        assert transport.request(Request("x", server.url, ok=(200, 404))).status == 404
        assert transport.once(Request("x", server.url, ok=None)).body == b"known"


def test_a_remedied_refusal_is_sent_once_more(transport):
    for remedied, count in ((True, 2), (False, 1)):
        with TinyServer(lambda _: Reply(401)) as server:
            with pytest.raises(SourceForbidden):
                drained(transport.stream(Request("x", server.url, again=lambda _, remedied=remedied: remedied)))
            assert len(server.asked) == count


def test_an_endless_answer_is_not_taken(transport, monkeypatch):
    monkeypatch.setattr(transport_module, "ANSWER_LIMIT", 100_000)
    with TinyServer(ranged()) as server:
        with pytest.raises(SourceUnavailable, match="too large or too slow"):
            transport.once(Request("x", server.url))
        server.reply = lambda _: Reply(404, CONTENT * 10)
        with pytest.raises(SourceNotFound):
            transport.once(Request("x", server.url))
        server.reply = ranged(CONTENT[:100_000])
        assert len(transport.once(Request("x", server.url)).body) == 100_000


def dripping(listener, released):
    """Take a connection and send the head of an answer that never ends."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        while not released.wait(0.02):
            connection.sendall(b"x")


def test_an_answer_that_only_trickles_is_given_up(transport, monkeypatch):
    monkeypatch.setattr(transport_module, "PATIENCE_S", 0.5)
    released = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=dripping, args=(listener, released))
        thread.start()
        begun = time.monotonic()
        with pytest.raises(SourceUnavailable, match="did not answer in time"):
            transport.request(Request("x", f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        assert 0.4 < time.monotonic() - begun < 1.5
        released.set()
        thread.join()
    with TinyServer(lambda _: Reply(200, CONTENT, pause_s=0.1)) as server:
        with pytest.raises(SourceUnavailable, match="too large or too slow"):
            transport.request(Request("x", server.url))
        assert time.monotonic() - begun < 3


def test_nobody_listens_nobody_is_there(transport):
    port = free_port()
    with pytest.raises(SourceUnavailable, match=f"x: localhost:{port} cannot be connected to .Connection refused.;"):
        transport.once(Request("x", f"http://localhost:{port}/"))
    with pytest.raises(SourceUnavailable, match="is unknown: its name has no address"):
        transport.once(Request("x", "http://no-such-host.invalid/"))


def test_a_host_that_does_not_take_connections_is_given_up():
    """A full queue of connections drops the next one, as an address without a machine does."""
    transport = Transport(Access(connect_timeout_s=0.3))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(SourceUnavailable, match="does not answer: the connection timed out"):
            transport.once(Request("x", f"http://127.0.0.1:{port}/"))
        for one in waiting:
            one.close()
    transport.close()


def test_connections_are_bounded(transport):
    narrow = Transport(Access(connect_timeout_s=0.2, read_timeout_s=5), connections=1)
    with TinyServer(ranged()) as server, narrow.stream(Request("x", server.url)) as body:
        assert body.status == 200
        with pytest.raises(SourceUnavailable, match="every connection to it is in use"):
            narrow.once(Request("x", server.url))
    narrow.close()


def test_no_secret_is_shown(transport):
    request = Request("x", "http://u:p@host/?s", headers={"k": "hush"}, body=b"hush", signer=lambda *_: {})
    assert "hush" not in repr(request)
    for call in (transport.once, lambda request: drained(transport.stream(request))):
        with pytest.raises(SourceUnavailable) as caught:
            call(Request("x", f"http://user:pass@localhost:{free_port()}/?signature"))
        assert "pass" not in caught.value.one_line()
        assert "signature" not in caught.value.one_line()


@pytest.mark.parametrize("proxy", ["socks5://localhost:1", "ftp://x", "http://"])
def test_a_proxy_must_be_one_of_http(proxy):
    transport = Transport(Access(proxy=proxy))
    with pytest.raises(InvalidInput, match="not an HTTP proxy"):
        transport.once(Request("x", "http://localhost/"))


def test_nothing_is_left_open():
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before, threads = descriptors(), threading.active_count()
    with TinyServer(ranged()) as server:
        transport = Transport(Access(read_timeout_s=5))
        kept = []
        for round_ in range(30):
            server.reply = (ranged(), ranged(close_after=100), ranged(chunks=True), ranged(hang_after=100))[round_ % 4]
            body = transport.stream(Request("x", server.url))
            buffer = memoryview(bytearray(100))
            with body:
                assert body.readinto(buffer) == 100
                if round_ % 3:
                    body.abort()
            with contextlib.suppress(SourceUnavailable):
                transport.once(Request("x", f"{server.url}/{round_}", ok=(404,) if round_ % 2 else (200,)))
            kept.append(body)
            server.released.set()
        transport.close()
    assert threading.active_count() == threads
    assert descriptors() == before
