"""The head of an answer: what the standard library makes of it, without its parser of e-mails."""

import io
from http import client

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.http_head import Answer


class Wire:
    """Stands for a socket that holds an answer."""

    def __init__(self, content):
        self._content = content

    def makefile(self, _mode):
        return io.BytesIO(self._content)


def answer(head, kind=Answer, method="GET"):
    made = kind(Wire(head), method=method)
    made.begin()
    return made


def seen(made):
    names = ("content-type", "content-length", "connection", "transfer-encoding", "x-own", "missing")
    fields = {name: made.headers.get(name) for name in names}
    facts = {"close": bool(made.will_close), "length": made.length, "chunked": made.chunked}
    return {"status": made.status, "version": made.version, "reason": made.reason, **facts, **fields}


# Letters that are no letters of a header's own syntax.
WORDS = st.text("abcXYZ019;=/ é", max_size=12).map(str.strip)
LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["Content-Type", "X-Own", "x-other"]), WORDS),
        st.tuples(st.just("Content-Length"), st.sampled_from(["0", "5", "123456789012"])),
        st.tuples(st.just("Connection"), st.sampled_from(["close", "keep-alive", "Keep-Alive", "upgrade"])),
        st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "Chunked", "identity"])),
    ),
    max_size=6,
    unique_by=lambda line: line[0],
)


@given(
    st.sampled_from(["HTTP/1.0", "HTTP/1.1"]),
    st.sampled_from([200, 204, 206, 304, 404, 503]),
    st.sampled_from(["", " OK", " Not at all"]),
    LINES,
    st.sampled_from(["GET", "HEAD"]),
    st.sampled_from([": ", ":", ":  "]),
)
def test_a_head_means_what_the_standard_library_reads_from_it(version, status, reason, lines, method, between):
    text = "".join(f"{name}{between}{value}\r\n" for name, value in lines)
    head = f"{version} {status}{reason}\r\n{text}\r\n".encode("latin-1")

    assert seen(answer(head, method=method)) == seen(answer(head, client.HTTPResponse, method))


def test_the_body_follows_the_head():
    with_length = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1 200")
    chunked = answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nHTTP/1.1 200")
    to_the_end = answer(b"HTTP/1.0 200 OK\r\n\r\nbody")

    assert [item.read() for item in (with_length, chunked, to_the_end)] == [b"body"] * 3


def test_interim_answers_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    made = answer(interim + b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\n!")

    assert (made.status, made.headers.get("link"), made.read()) == (206, None, b"!")


def test_a_repeated_length_that_differs_is_no_length():
    made = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!")

    assert (made.length, made.will_close) == (None, True)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", client.RemoteDisconnected),
        (b"SSH-2.0-OpenSSH_9.2\r\n", client.BadStatusLine),
        (b"HTTP/2 200\r\n\r\n", client.BadStatusLine),
        (b"HTTP/1.1 20 OK\r\n\r\n", client.BadStatusLine),
        (b"HTTP/1.1 200 " + b"a" * 70_000 + b"\r\n\r\n", client.BadStatusLine),
        (b"HTTP/1.1 200 OK\r\nContent-Le", client.HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n", client.HTTPException),
        (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", client.HTTPException),
        (b"HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\n", client.HTTPException),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", client.HTTPException),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"\r\n", client.HTTPException),
    ],
)
def test_what_is_no_head_is_an_error(head, kind):
    with pytest.raises(kind):
        answer(head)
