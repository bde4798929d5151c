"""Paths of the HTTP API."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.rest_routing import Route, VersionOverflow, http_code, is_api_path, route
from modelfleet_services.model_server.rpc_status import Code


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/models/m:predict", Route(call="predict", model="m")),
        ("POST", "/v1/models/m/versions/7:classify", Route(call="classify", model="m", version=7)),
        ("POST", "/v1/models/m/labels/l:regress", Route(call="regress", model="m", label="l")),
        ("POST", "/V1/MODELS/M/Versions/7:predict", Route(call="predict", model="M", version=7)),
        ("POST", "/v1/models/a%2Fb%3Ac:predict", Route(call="predict", model="a/b:c")),
        ("POST", "/v1/models/m/labels/a%20b:predict", Route(call="predict", model="m", label="a b")),
        ("POST", "/v1/models/versions:predict", Route(call="predict", model="versions")),
        ("GET", "/v1/models/m", Route(call="status", model="m")),
        ("GET", "/v1/models/m/versions/7", Route(call="status", model="m", version=7)),
        ("GET", "/v1/models/m/labels/l/metadata", Route(call="metadata", model="m", label="l")),
        ("GET", "/v1/models/m/METADATA", Route(call="status", model="m")),
        ("GET", "/v1/models/%ff", Route(call="status", model="\ufffd")),
        ("GET", "/v1/models/m/labels/a%ff", Route(call="status", model="m", label="a\ufffd")),
        ("GET", "/v1/models/\xc3\xbc%C3%BC", Route(call="status", model="\xfc\xfc")),
        ("GET", "/v1/models/m/versions/" + "0" * 5000 + "7", Route(call="status", model="m", version=7)),
        ("GET", "/v1/models", Route(call="status", model="")),
        ("GET", "/v1/models/versions/1", Route(call="status", model="", version=1)),
        ("GET", "/v1/models/m?x=1", Route(call="status", model="m?x=1")),
    ],
)
def test_what_is_understood(method, path, expected):
    assert route(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/1/labels/l:predict"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/m/versions/\u0661:predict"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/"),
        ("HEAD", "/v1/models/m"),
        ("DELETE", "/v1/models/m"),
    ],
)
def test_what_is_malformed(method, path):
    assert route(method, path) is None


def test_the_largest_version_and_one_more():
    assert route("GET", "/v1/models/m/versions/9223372036854775807").version == 2**63 - 1
    for digits in ("9223372036854775808", "1" * 5000):
        with pytest.raises(VersionOverflow):
            route("GET", f"/v1/models/m/versions/{digits}")


def test_what_belongs_to_the_api_at_all():
    assert [is_api_path(path) for path in ("/v1/", "/V1/x", "/v1", "/", "/v2/models/m", "/x/v1/")] == [
        *(True, True),
        *(False, False, False, False),
    ]


def test_every_code_has_an_http_status():
    assert {code.name: http_code(code) for code in Code if http_code(code) not in {400, 500}} == {
        "OK": 200,
        "CANCELLED": 499,
        "DEADLINE_EXCEEDED": 504,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "PERMISSION_DENIED": 403,
        "RESOURCE_EXHAUSTED": 429,
        "ABORTED": 409,
        "UNIMPLEMENTED": 501,
        "UNAVAILABLE": 503,
        "UNAUTHENTICATED": 401,
    }
    assert {code.name for code in Code if http_code(code) == 400} == {
        *("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"),
    }
