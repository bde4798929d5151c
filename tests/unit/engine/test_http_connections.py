"""Requests as they are written to a connection, and which are left to the library."""

import pytest
from modelfleet.adapters.http_connections import pool_classes

FIELDS = {"User-Agent": "modelfleet", "Range": "bytes=0-9"}


def pool(scheme="http", host="models.example", port=None):
    kind = pool_classes()[scheme]
    return kind(host, port) if port else kind(host)


def test_a_request_is_its_line_its_host_and_its_fields():
    assert pool().head("GET", "/a%20b?alt=media", FIELDS) == (
        b"GET /a%20b?alt=media HTTP/1.1\r\nHost: models.example\r\nUser-Agent: modelfleet\r\nRange: bytes=0-9\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("where", "host"),
    [
        (("http", "models.example", 80), b"models.example"),
        (("http", "models.example", 8080), b"models.example:8080"),
        (("https", "models.example", 443), b"models.example"),
        (("https", "models.example", 80), b"models.example:80"),
        (("http", "::1", 8080), b"[::1]:8080"),
    ],
)
def test_the_host_is_named_as_the_library_names_it(where, host):
    assert pool(*where).head("GET", "/", FIELDS).split(b"\r\n")[1] == b"Host: " + host


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/a b", {}),
        ("/ä", {}),
        ("/a\r\nX: 1", {}),
        ("a", {}),
        ("/", {"X": "1\r\nY: 2"}),
        ("/", {"X": "1\nY: 2"}),
        ("/", {"X": "1\r\n\r\nGET / HTTP/1.1"}),
        ("/", {"X: 1\r\nY": "2"}),
        ("/", {"X Y": "2"}),
        ("/", {"": "2"}),
        ("/", {"X": "ä"}),
        ("/", {"X": "\0"}),
        ("/", {"host": "another.example"}),
    ],
)
def test_what_needs_quoting_or_could_be_taken_for_more_is_left_to_the_library(target, fields):
    assert pool().head("GET", target, {**FIELDS, **fields}) == b""
