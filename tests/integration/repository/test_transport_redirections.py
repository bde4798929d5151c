"""Where the HTTP client lets itself be sent, and what it tells there."""

from __future__ import annotations

import pytest
from modelfleet.adapters.transport import Request
from modelfleet.errors import SourceForbidden, SourceUnavailable

from tests.support.tiny_http_server import CONTENT, Reply, TinyServer, drained, ranged


def test_redirections_are_followed_only_where_allowed(transport):
    def reply(asked):
        steps = {"/a": "/b", "/b": "c", "/loop": "/loop"}
        return Reply(302, b"elsewhere", {"Location": steps[asked.path]}) if asked.path in steps else ranged()(asked)

    with TinyServer(reply) as server:
        assert drained(transport.stream(Request("x", f"{server.url}/a", redirects=5), 10, 20)) == CONTENT[10:30]
        assert server.asked[-1].headers["range"] == "bytes=10-29"
        answer = transport.request(Request("x", f"{server.url}/a", redirects=5))
        assert answer.url == f"{server.url}/c"
        with pytest.raises(SourceForbidden, match="answers 302 Found"):
            transport.request(Request("x", f"{server.url}/a"))
        with pytest.raises(SourceUnavailable, match="redirected more than 5 times"):
            transport.once(Request("x", f"{server.url}/loop", redirects=5))


def test_secrets_are_not_told_to_another_host(transport):
    def sign(method, url, headers):
        return {**headers, **({"Authorization": "for-one"} if url.startswith(one.url) else {})}

    with TinyServer(ranged()) as other, TinyServer(lambda _: Reply(307, b"", {"Location": other.url})) as one:
        request = Request("x", one.url, headers={"X-Api-Key": "1", "Accept": "a"}, signer=sign, redirects=5)
        assert transport.request(request).body == CONTENT
        assert one.asked[0].headers["authorization"] == "for-one"
        assert one.asked[0].headers["x-api-key"] == "1"
        assert other.asked[0].headers["accept"] == "a"
        assert not {"authorization", "x-api-key"} & set(other.asked[0].headers)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "//[bad"])
def test_redirections_lead_to_web_servers_only(transport, target):
    with (
        TinyServer(lambda _: Reply(302, b"", {"Location": target})) as server,
        pytest.raises(SourceForbidden, match="not safe"),
    ):
        transport.once(Request("x", server.url, redirects=5))
