"""Single files on real HTTP servers of all kinds."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import threading

import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.http import HttpFile
from modelfleet.adapters.http_errors import PATIENCE_LIMIT_S, retry_after
from modelfleet.adapters.http_identity import identity
from modelfleet.adapters.opening import open_repository
from modelfleet.adapters.transport import Transport
from modelfleet.errors import (
    InvalidInput,
    MissingDependency,
    SourceChanged,
    SourceForbidden,
    SourceIncomplete,
    SourceNotFound,
    SourceUnavailable,
)
from modelfleet.waiting import Clock

from tests.support.file_server import File, FileServer

SUBJECT = "model m version 1"
DATA = os.urandom(300_000)


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture
def other():
    with FileServer() as running:
        yield running


@pytest.fixture
def secrets():
    return {}


@pytest.fixture
def transport(secrets):
    made = Transport(Access(http_headers=secrets, read_timeout_s=5), clock=Clock(sleep=lambda _seconds: None))
    yield made
    made.close()


def content(file, obj, start=0, length=None):
    buffer = memoryview(bytearray(70_000))
    result = b""
    with file.open(obj, start, length, SUBJECT) as source:
        while count := source.readinto(buffer):
            result += bytes(buffer[:count])
    return result


def test_a_file_is_looked_at_with_one_request_and_read_in_parts(server, transport):
    server.files["/models/m.tar.gz"] = File(DATA)
    file = HttpFile(f"{server.url}/models/m.tar.gz", transport)
    obj = file.look(SUBJECT)
    assert (obj.path, obj.size, obj.archive, obj.divisible) == ("m.tar.gz", len(DATA), "tar", True)
    assert obj.generation == server.files["/models/m.tar.gz"].described()["ETag"]
    assert [item.method for item in server.asked] == ["HEAD"]
    assert content(file, obj) == DATA
    assert content(file, obj, 100_000, 50_000) == DATA[100_000:150_000]
    assert content(file, obj, 299_999) == DATA[-1:]
    assert file.look(SUBJECT) == obj


def test_connections_are_used_again(server, transport):
    server.files["/m.zip"] = File(DATA)
    file = HttpFile(f"{server.url}/m.zip", transport)
    for _ in range(5):
        assert content(file, file.look(SUBJECT)) == DATA
    assert (len(server.asked), server.connections) == (15, 1)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_a_server_that_refuses_head_is_asked_for_the_first_byte(server, transport, status):
    server.files["/m.zip"] = File(DATA, head=status)
    file = HttpFile(f"{server.url}/m.zip", transport)
    obj = file.look(SUBJECT)
    assert (obj.size, obj.divisible) == (len(DATA), True)
    assert [item.headers.get("Range") for item in server.asked] == [None, "bytes=0-0"]
    assert content(file, obj) == DATA


@pytest.mark.parametrize("head", [200, 405])
def test_a_server_without_parts_sends_the_file_as_a_whole(server, transport, head):
    server.files["/saved_model.pb"] = File(DATA, head=head, ranges=False)
    file = HttpFile(f"{server.url}/saved_model.pb", transport)
    obj = file.look(SUBJECT)
    assert (obj.size, obj.divisible, obj.archive) == (len(DATA), False, "")
    assert content(file, obj) == DATA


def test_a_server_that_announces_no_size_is_refused(server, transport):
    server.files["/m.zip"] = File(DATA, ranges=False, sized=False)
    with pytest.raises(SourceIncomplete, match=f"{SUBJECT}: comes from a server that announces no size"):
        HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT)


@pytest.mark.parametrize("wish", ["9" * 400, "86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_cannot_ask_to_be_left_alone_for_days(wish):
    assert retry_after({"retry-after": wish}) == PATIENCE_LIMIT_S


@pytest.mark.parametrize("size", ["9" * 5000, "\u0663", "-1", "1e3", ""])
@pytest.mark.parametrize("status", [200, 206])
def test_a_size_that_is_no_number_is_none(status, size):
    name, text = ("content-length", size) if status == 200 else ("content-range", f"bytes 0-0/{size}")
    assert identity(status, {name: text}).size is None


def test_a_size_that_only_parts_tell_does(server, transport):
    server.files["/m.zip"] = File(DATA, sized=False)
    assert HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT).size == len(DATA)


@pytest.mark.parametrize("head", [200, 405])
def test_an_empty_file_is_incomplete(server, transport, head):
    server.files["/m.zip"] = File(b"", head=head)
    with pytest.raises(SourceIncomplete, match="is empty"):
        HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT)


def test_what_is_not_there_or_not_allowed_is_told(server, transport):
    server.files["/secret.zip"] = File(DATA, secret="Bearer s3cret")
    with pytest.raises(SourceNotFound, match="404 Not Found"):
        HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT)
    with pytest.raises(SourceForbidden, match="401"):
        HttpFile(f"{server.url}/secret.zip", transport).look(SUBJECT)


@pytest.mark.parametrize("host", ["127.0.0.1", "with port"])
def test_headers_of_a_host_are_sent_to_it_alone(server, other, transport, secrets, host):
    secrets[server.host if host == "with port" else "127.0.0.1"] = {"Authorization": "Bearer s3cret"}
    secrets[other.host] = {"Authorization": "none"}
    server.files["/m.zip"] = File(DATA, secret="Bearer s3cret")
    server.files["/away.zip"] = File(to=f"{other.url}/m.zip", secret="Bearer s3cret")
    other.files["/m.zip"] = File(DATA)
    for name in ("m", "away"):
        file = HttpFile(f"{server.url}/{name}.zip", transport)
        assert content(file, file.look(SUBJECT)) == DATA
    assert {item.headers["Authorization"] for item in other.asked} == {"none"}


def test_a_password_of_the_url_reaches_its_host_and_nothing_else(server, other, transport):
    secret = "Basic " + base64.b64encode(b"me:s3:cr\xc3\xa9t@").decode()
    server.files["/m.zip?key=k3y"] = File(DATA, secret=secret)
    server.files["/away.zip"] = File(to=f"{other.url}/m.zip", secret=secret)
    other.files["/m.zip"] = File(DATA)
    file = HttpFile(f"http://me:s3%3Acr%C3%A9t%40@{server.host}/m.zip?key=k3y", transport)
    assert content(file, file.look(SUBJECT)) == DATA
    away = HttpFile(f"http://me:s3%3Acr%C3%A9t%40@{server.host}/away.zip", transport)
    assert content(away, away.look(SUBJECT)) == DATA
    assert all("Authorization" not in item.headers for item in other.asked)
    server.files.clear()
    with pytest.raises(SourceNotFound) as error:
        file.look(SUBJECT)
    for text in (file.origin, error.value.one_line(), repr(file)):
        assert not any(part in text for part in ("me:", "s3", "cr", "k3y", "key"))


def test_origins_differ_where_query_or_hash_differ(transport):
    urls = ["http://h/m.zip", "http://h/m.zip?a=1", "http://h/m.zip?a=2", f"http://h/m.zip#sha256={'0' * 64}"]
    origins = [HttpFile(url, transport).origin for url in urls]
    assert len(set(origins)) == 4
    assert origins[0] == urls[0]
    assert HttpFile("https://me:pw@h:8443/m.zip", transport).origin == "https://h:8443/m.zip"


def test_redirections_are_followed_but_not_for_ever(server, transport):
    for number in range(7):
        server.files[f"/{number}.zip"] = File(to=f"/{number + 1}.zip")
    server.files["/5.zip"] = File(DATA)
    file = HttpFile(f"{server.url}/0.zip", transport)
    assert content(file, file.look(SUBJECT)) == DATA
    server.files["/5.zip"] = File(to="/6.zip")
    with pytest.raises(SourceUnavailable, match="redirected more than 5 times"):
        file.look(SUBJECT)


@pytest.mark.parametrize("tag", ["", 'W/"weak"', "-"])
def test_a_file_that_changes_before_or_while_it_is_read_is_not_taken(server, transport, tag):
    served = server.files["/m.zip"] = File(DATA, tag=tag)
    file = HttpFile(f"{server.url}/m.zip", transport)
    obj = file.look(SUBJECT)
    after = File(os.urandom(len(DATA)), tag=tag.replace("weak", "other"), changed_s=served.changed_s + 1)
    with pytest.raises(SourceChanged), file.open(obj, 0, None, SUBJECT) as source:  # noqa: PT012  (in the middle)
        assert source.readinto(memoryview(bytearray(10))) == 10
        server.files["/m.zip"] = after
    with pytest.raises(SourceChanged):
        content(file, obj)
    with pytest.raises(SourceChanged):
        content(file, obj, 10, 20)
    assert file.look(SUBJECT).generation != obj.generation


def test_a_file_without_any_sign_of_change_is_told_by_its_size(server, transport):
    server.files["/m.zip"] = File(DATA, tag="-", changed_s=0)
    file = HttpFile(f"{server.url}/m.zip", transport)
    obj = file.look(SUBJECT)
    assert not obj.divisible
    assert content(file, obj) == DATA
    server.files["/m.zip"] = File(DATA[:-1], tag="-", changed_s=0)
    with pytest.raises(SourceChanged):
        content(file, obj)


@pytest.mark.parametrize(("tag", "divisible"), [("", True), ('W/"weak"', False), ("-", True)])
def test_only_parts_of_provably_equal_bytes_are_put_together(server, transport, tag, divisible):
    server.files["/m.zip"] = File(DATA, tag=tag)
    assert HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT).divisible is divisible


def test_a_file_that_was_changed_this_very_second_is_not_divided(server, transport):
    date = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}
    server.files["/m.zip"] = File(DATA, tag="-", changed_s=0, headers=date)
    assert not HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT).divisible


def b64(data):
    return base64.b64encode(data).decode()


MD5, SHA = hashlib.md5(DATA, usedforsecurity=False), hashlib.sha256(DATA)


@pytest.mark.parametrize(
    ("headers", "crc32c", "announced"),
    [
        ({"x-goog-hash": f"crc32c={b64(b'abcd')}, md5={b64(MD5.digest())}"}, 0x61626364, f"md5:{MD5.hexdigest()}"),
        ({"x-goog-hash": f"crc32c={b64(b'abcd')}", "x-goog-stored-content-encoding": "gzip"}, None, ""),
        ({"Repr-Digest": f"sha-256=:{b64(SHA.digest())}:"}, None, f"sha256:{SHA.hexdigest()}"),
        ({"Digest": f"md5=x,SHA-256={b64(SHA.digest())}"}, None, f"sha256:{SHA.hexdigest()}"),
        ({"X-Checksum-Sha256": SHA.hexdigest().upper()}, None, f"sha256:{SHA.hexdigest()}"),
        ({"Content-MD5": b64(MD5.digest())}, None, f"md5:{MD5.hexdigest()}"),
        ({"Content-MD5": "nonsense", "Digest": "sha-256=short", "x-goog-hash": "crc32c=AAAA"}, None, ""),
    ],
)
def test_hashes_that_servers_announce_are_passed_on(server, transport, headers, crc32c, announced):
    server.files["/m.zip"] = File(DATA, headers=headers)
    obj = HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT)
    assert (obj.crc32c, obj.content) == (crc32c, announced)


def test_the_hash_of_a_part_is_not_taken_for_that_of_the_file(server, transport):
    server.files["/m.zip"] = File(DATA, head=405, headers={"Content-MD5": b64(MD5.digest())})
    assert not HttpFile(f"{server.url}/m.zip", transport).look(SUBJECT).content


def test_the_hash_of_the_url_counts_before_all_others(server, transport):
    server.files["/m.zip"] = File(DATA, headers={"Content-MD5": b64(MD5.digest())})
    file = HttpFile(f"{server.url}/m.zip#sha256={SHA.hexdigest().upper()}", transport)
    obj = file.look(SUBJECT)
    assert obj.content == f"sha256:{SHA.hexdigest()}"
    assert content(file, obj, 7, 5) == DATA[7:12]
    other = HttpFile(f"{server.url}/m.zip#sha256={'0' * 64}", transport)
    assert other.look(SUBJECT).generation != obj.generation
    with pytest.raises(SourceChanged):
        content(other, obj)


@pytest.mark.parametrize(
    ("name", "headers", "kind"),
    [
        ("m.zip", {"Content-Type": "application/octet-stream"}, "zip"),
        ("m%2E.tgz", {}, "tar"),
        ("download?id=7", {"Content-Disposition": 'attachment; filename="m.tar.gz"'}, "tar"),
        ("?id=7", {"Content-Disposition": "attachment; filename*=UTF-8''m%2Ezip"}, "zip"),
        ("m", {"Content-Type": "application/zip; charset=binary"}, "zip"),
        ("m", {"Content-Type": "application/x-gzip"}, "tar"),
        ("m.bin", {"Content-Type": "application/octet-stream"}, ""),
        ("saved_model.pb", {"Content-Type": "application/zip"}, ""),
    ],
)
def test_archives_are_known_by_name_or_type(server, transport, name, headers, kind):
    server.files[f"/{name}"] = File(DATA, headers=headers)
    assert HttpFile(f"{server.url}/{name}", transport).look(SUBJECT).archive == kind


def test_bytes_that_are_encoded_for_the_way_are_not_taken_for_the_file(server, transport):
    encoded = {"Content-Encoding": "gzip"}
    server.files["/m.pb"] = File(DATA, headers=encoded)
    with pytest.raises(SourceIncomplete, match="is sent in the encoding 'gzip'"):
        HttpFile(f"{server.url}/m.pb", transport).look(SUBJECT)
    server.files["/m.pb"] = File(DATA)
    file = HttpFile(f"{server.url}/m.pb", transport)
    obj = file.look(SUBJECT)
    server.files["/m.pb"] = File(DATA, headers=encoded)
    with pytest.raises(SourceIncomplete, match="is sent in the encoding 'gzip'"):
        content(file, obj)


def test_an_archive_that_its_server_calls_compressed_comes_as_it_is(server, transport):
    server.files["/m.tgz"] = File(b"\x1f\x8b" + DATA, headers={"Content-Encoding": "x-gzip"})
    file = HttpFile(f"{server.url}/m.tgz", transport)
    assert content(file, file.look(SUBJECT)) == b"\x1f\x8b" + DATA


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://", "is not a URL with a host"),
        ("http:///m.zip", "is not a URL with a host"),
        ("http://[::1/m.zip", "is not a URL with a host"),
        ("http://u:s3cret@h:port/m.zip", "is not a URL with a host"),
        ("http://u:s3cret@h/m.zip?s3cret#part", "unknown meaning"),
        ("http://u:s3cret@h/m.zip#sha256=12", "unknown meaning"),
    ],
)
def test_what_is_no_url_of_a_file_is_refused(transport, url, problem):
    with pytest.raises(InvalidInput, match=problem) as error:
        HttpFile(url, transport)
    assert "s3cret" not in error.value.one_line()


@pytest.mark.parametrize("path", ["", "/", "/models/"])
def test_a_directory_is_refused_since_http_has_no_listing(server, transport, path):
    server.files[path or "/"] = File(b"<html>")
    with pytest.raises(InvalidInput, match="names a directory, and HTTP has no listing"):
        HttpFile(f"{server.url}{path}", transport).look(SUBJECT)


def test_a_missing_library_is_named(monkeypatch):
    for name in ("urllib3", "urllib3.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match="Python library urllib3: is not installed"):
        HttpFile("http://127.0.0.1:9/m.zip", Transport(Access())).look(SUBJECT)


def test_a_server_that_does_not_answer_is_broken_off(server, transport):
    server.files["/m.zip"] = File(DATA)
    file = HttpFile(f"{server.url}/m.zip", transport)
    obj = file.look(SUBJECT)
    hang = threading.Event()
    server.files["/m.zip"] = File(DATA, hang=hang)
    with file.open(obj, 0, None, SUBJECT) as source:
        timer = threading.Timer(0.1, source.abort)
        timer.start()
        with pytest.raises(SourceUnavailable, match="given up"):
            source.readinto(memoryview(bytearray(10)))
        timer.join()
        hang.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_http_server_is_no_repository_as_a_whole(scheme):
    with pytest.raises(InvalidInput, match="no listing of models; define each model with a URL of its own") as error:
        open_repository(f"{scheme}://me:s3cret@host/models?key=s3cret")
    assert "s3cret" not in error.value.one_line()
