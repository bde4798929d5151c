"""What the HTTP API makes of errors that nobody expected."""

from __future__ import annotations

import json

from modelfleet_services.model_server.metrics import ServerMetrics
from modelfleet_services.model_server.rest_handler import RestApi
from modelfleet_services.model_server.rest_http import Request


class BrokenApi:
    def __init__(self):
        self.metrics = ServerMetrics()

    def model_status(self, _request):
        raise RuntimeError("broken")


def get(api, target):
    rest = RestApi(api, timeout_s=None, cors=False, metrics_path="/m")
    return rest.handle(Request(method="GET", target=target, headers={}, body=b"", keep_alive=True))


def test_an_unexpected_error_is_counted_told_and_logged(caplog):
    api = BrokenApi()
    reply = get(api, "/v1/models/m")
    assert (reply.status, list(json.loads(reply.body))) == (500, ["error"])
    assert "the request GET /v1/models/m failed" in caplog.text
    assert b'request_count{model_name="m",status="INTERNAL"} 1' in get(api, "/m").body


def test_a_path_is_repeated_as_the_text_that_it_spells():
    reply = get(BrokenApi(), "/v1/\xc3\xbc")
    assert json.loads(reply.body) == {"error": "Malformed request: GET /v1/\xfc"}
