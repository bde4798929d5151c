"""Whom the HTTP client trusts, and through which proxies it goes."""

from __future__ import annotations

import base64
import contextlib
import threading
import time

import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.transport import Request, Transport
from modelfleet.errors import InvalidInput, SourceForbidden, SourceUnavailable

from tests.support.certificates import authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.gcs_server import free_port
from tests.support.tiny_http_server import Reply, TinyServer

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(ours):
    with TinyServer(lambda _: Reply(200, CONTENT), ours.server_context("localhost")) as server:
        yield server


def drain(body):
    buffer, got = memoryview(bytearray(1 << 20)), b""
    while count := body.readinto(buffer):
        got += bytes(buffer[:count])
    return got


def fetched(url, **access):
    """Return what is at a URL, read as small answers and as contents are."""
    with contextlib.closing(Transport(Access(connect_timeout_s=5, read_timeout_s=5, **access))) as transport:
        with transport.stream(Request("x", url)) as body:
            got = drain(body)
        assert transport.request(Request("x", url)).body == got
        return got


def test_a_bundle_is_trusted(secure, ours):
    assert fetched(secure.url, ca_bundle=str(ours.file)) == CONTENT
    assert len({asked.port for asked in secure.asked}) == 1


def test_a_folder_of_certificates_is_taken_as_a_bundle(secure, ours, tmp_path):
    folder = tmp_path / "certificates"
    folder.mkdir()
    with pytest.raises(SourceForbidden, match="not trusted"):
        fetched(secure.url, ca_bundle=str(folder))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_environment_may_name_the_bundle(secure, ours, monkeypatch, name):
    monkeypatch.setenv(name, str(ours.file))
    assert fetched(secure.url) == CONTENT


def test_strangers_are_not_trusted_and_not_asked_twice(secure):
    with pytest.raises(SourceForbidden, match=r"x: the certificate of localhost:\d+ is not trusted .* in ca_bundle$"):
        fetched(secure.url)
    assert secure.asked == []


def test_another_host_is_not_trusted(ours):
    with (
        TinyServer(lambda _: Reply(200), ours.server_context("elsewhere.example")) as server,
        pytest.raises(SourceForbidden, match=r"not trusted .*localhost"),
    ):
        fetched(server.url, ca_bundle=str(ours.file))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(secure, tmp_path, content):
    bundle = tmp_path / "bundle.pem"
    if content:
        bundle.write_text(content)
    with pytest.raises(InvalidInput, match=f"certificate bundle {bundle}: cannot be used .*; correct ca_bundle"):
        fetched(secure.url, ca_bundle=str(bundle))


def test_a_server_without_tls_is_no_server_with_it():
    with TinyServer(lambda _: Reply(200)) as server, pytest.raises(SourceUnavailable, match="broke the connection"):
        fetched(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("hang_after", [-1, 1_000_000])
def test_a_read_over_tls_that_hangs_is_broken_off(secure, ours, hang_after):
    secure.reply = lambda _: Reply(200, CONTENT, hang_after=hang_after)
    with contextlib.closing(Transport(Access(ca_bundle=str(ours.file), read_timeout_s=60))) as transport:
        body = transport.stream(Request("x", secure.url))
        threading.Timer(0.3, body.abort).start()
        begun = time.monotonic()
        with body, pytest.raises(SourceUnavailable, match="given up"):
            drain(body)
        assert 0.2 < time.monotonic() - begun < 1.3


def test_tls_is_never_left_by_a_redirection(secure, ours):
    with TinyServer(lambda _: Reply(200)) as plain:
        secure.reply = lambda _: Reply(302, b"", {"Location": f"{plain.url}/x?signature"})
        with (
            contextlib.closing(Transport(Access(ca_bundle=str(ours.file)))) as transport,
            pytest.raises(SourceForbidden, match="which is not safe") as caught,
        ):
            transport.request(Request("x", secure.url, redirects=5))
        assert plain.asked == []
        assert "signature" not in caught.value.one_line()


def test_requests_go_through_the_proxy_that_is_set(secure, ours):
    with ForwardProxy() as proxy, TinyServer(lambda _: Reply(200, CONTENT)) as plain:
        assert fetched(f"{plain.url}/x", proxy=proxy.url) == CONTENT
        assert proxy.lines == [f"GET {plain.url}/x HTTP/1.1"]
        assert fetched(secure.url, proxy=proxy.url, ca_bundle=str(ours.file)) == CONTENT
        assert proxy.lines[1].startswith(f"CONNECT localhost:{secure.port} ")
        assert len({asked.port for asked in secure.asked}) == 1


@pytest.mark.parametrize("form", ["{}", "{}/"])
def test_the_environment_may_name_proxies(secure, ours, monkeypatch, form):
    with ForwardProxy() as proxy, TinyServer(lambda _: Reply(200, CONTENT)) as plain:
        monkeypatch.setenv("HTTPS_PROXY", form.format(proxy.url))
        monkeypatch.setenv("http_proxy", form.format(proxy.url).removeprefix("http://"))
        assert fetched(plain.url) == CONTENT
        assert fetched(secure.url, ca_bundle=str(ours.file)) == CONTENT
        assert [line.split()[0] for line in proxy.lines] == ["GET", "CONNECT"]
        monkeypatch.setenv("NO_PROXY", f"example.org,localhost:{plain.port}")
        assert fetched(plain.url) == CONTENT
        assert len(proxy.lines) == 2
        assert fetched(secure.url, ca_bundle=str(ours.file)) == CONTENT
        assert len(proxy.lines) == 3
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert fetched(secure.url, ca_bundle=str(ours.file)) == CONTENT
        assert len(proxy.lines) == 3


def test_a_request_may_pass_proxies_by():
    with ForwardProxy() as proxy, TinyServer(lambda _: Reply(200)) as plain:
        with contextlib.closing(Transport(Access(proxy=proxy.url))) as transport:
            assert transport.request(Request("x", plain.url, direct=True)).status == 200
        assert proxy.lines == []


def test_a_proxy_may_want_a_password(secure, ours):
    login = "Basic " + base64.b64encode(b"user:p@ss").decode()
    with ForwardProxy(login) as proxy, TinyServer(lambda _: Reply(200, CONTENT)) as plain:
        url = proxy.url.replace("http://", "http://user:p%40ss@")
        assert fetched(plain.url, proxy=url) == CONTENT
        assert fetched(secure.url, proxy=url, ca_bundle=str(ours.file)) == CONTENT
        for target in (plain.url, secure.url):
            with pytest.raises(SourceForbidden, match="the proxy asks who is there; put its user") as caught:
                fetched(target, proxy=proxy.url.replace("http://", "http://user:wrong@"), ca_bundle=str(ours.file))
            assert "wrong" not in caught.value.one_line()


def test_a_proxy_that_is_not_there_is_named(secure):
    proxy = f"http://localhost:{free_port()}"
    for url in (secure.url, "http://localhost/"):
        with pytest.raises(SourceUnavailable, match=r"cannot be reached through the proxy .*Connection refused"):
            fetched(url, proxy=proxy)
