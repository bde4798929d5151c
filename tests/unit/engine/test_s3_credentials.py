"""Whose signature requests to S3 carry."""

import datetime as dt
import hashlib
import hmac
import logging
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import botocore.auth
import botocore.session
import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.s3_credentials import Signer
from modelfleet.errors import SourceForbidden, SourceUnavailable
from modelfleet.waiting import Clock

from tests.support.s3_server import forget_credentials

URL = "https://models.s3.eu-west-1.amazonaws.com/m/1/saved_model.pb"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class HandClock:
    """A clock that tests set."""

    def __init__(self):
        self.at = 0.0
        self.clock = Clock(now=lambda: self.at)


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    forget_credentials(monkeypatch, tmp_path)


def give(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def key_id(signer):
    return signer.signed("GET", URL, {}, "eu-west-1").headers["Authorization"].split("Credential=")[1].split("/")[0]


def signer(access=None, clock=None):
    return Signer(access or Access(), clock or Clock())


def own_signature(method, url, headers, region, secret, stamp):
    """Return the signature as Amazon's description of version 4 has it, made without any library."""
    parts = urlsplit(url)
    lines = sorted((name.lower(), value.strip()) for name, value in headers.items())
    names = ";".join(name for name, _ in lines)
    canonical = "\n".join(
        [
            method,
            parts.path or "/",
            "&".join(sorted(parts.query.split("&"))),
            *(f"{name}:{value}" for name, value in lines),
            "",
            names,
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), hashlib.sha256).hexdigest()


def at(monkeypatch, stamp):
    now = dt.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: now)


@pytest.mark.parametrize(
    ("url", "headers", "signature"),
    [
        (
            "https://examplebucket.s3.amazonaws.com/test.txt",
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_the_signatures_of_amazons_documentation_come_out(monkeypatch, url, headers, signature):
    give(monkeypatch, AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY=SECRET)
    at(monkeypatch, "20130524T000000Z")
    sent = signer().signed("GET", url, headers, "us-east-1").headers
    assert sent["Authorization"].endswith(f"Signature={signature}")
    assert not set(sent) & set(headers)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/models/m/1/a%20b%2B%C3%BC",
        "https://models.s3.eu-west-1.amazonaws.com/?encoding-type=url&list-type=2&prefix=a%20b%2F%C3%BC%2B",
        "http://store.example.com/s3/models?continuation-token=1%2F%3D&list-type=2",
    ],
)
def test_a_second_implementation_agrees_on_every_url(monkeypatch, url):
    give(monkeypatch, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN="token/+=")
    at(monkeypatch, "20260102T030405Z")
    asked = {"If-Match": '"0123"', "Range": "bytes=5-9", "x-amz-checksum-mode": "ENABLED"}
    sent = signer().signed("GET", url, asked, "eu-west-1").headers
    signed = {**asked, **sent, "Host": urlsplit(url).netloc}
    authorization = signed.pop("Authorization")
    names = authorization.split("SignedHeaders=")[1].split(",")[0].split(";")
    assert set(names) == {name.lower() for name in signed}
    expected = own_signature("GET", url, signed, "eu-west-1", SECRET, "20260102T030405Z")
    assert authorization.endswith(f"Signature={expected}")
    assert sent["X-Amz-Security-Token"] == "token/+="


def test_amazons_own_client_signs_the_same_request_in_the_same_way(monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY=SECRET)
    at(monkeypatch, "20260102T030405Z")

    class Sent(Exception):
        pass

    def stop(request, **_):
        raise Sent(request)

    client = botocore.session.get_session().create_client("s3", region_name="eu-west-1")
    client.meta.events.register("before-send.s3.GetObject", stop)
    with pytest.raises(Sent) as sent:
        client.get_object(Bucket="models", Key="m/1/a b+ü", Range="bytes=5-9", IfMatch='"0123"')
    theirs = sent.value.args[0]
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in theirs.headers.items()}
    expected = headers.pop("Authorization")
    asked = {name: headers[name] for name in ("If-Match", "Range", "x-amz-checksum-mode")}
    sent = signer().signed("GET", theirs.url, asked, "eu-west-1").headers
    assert sent["Authorization"] == expected
    assert {**headers, **sent} == {**headers, "Authorization": expected}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"AWS_ACCESS_KEY_ID": "usual", "AWS_SECRET_ACCESS_KEY": "s"}, "usual"),
        ({"AWS_ACCESS_KEY": "old", "AWS_SECRET_KEY": "s"}, "old"),
        (
            {
                "AWS_ACCESS_KEY_ID": "usual",
                "AWS_SECRET_ACCESS_KEY": "s",
                "AWS_ACCESS_KEY": "old",
                "AWS_SECRET_KEY": "s",
            },
            "usual",
        ),
    ],
)
def test_both_spellings_of_the_variables_are_read_and_the_usual_one_wins(monkeypatch, given, expected):
    give(monkeypatch, **given)
    assert key_id(signer()) == expected


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"AWS_ACCESS_KEY_ID": "id"}, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "hidden"}, "AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY": "id"}, "AWS_SECRET_KEY"),
        ({"AWS_SECRET_KEY": "hidden"}, "AWS_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_half_a_pair_is_an_error_that_names_the_other_half(monkeypatch, given, missing):
    give(monkeypatch, **given)
    with pytest.raises(SourceForbidden) as refused:
        key_id(signer())
    assert missing in refused.value.problem
    assert "hidden" not in str(refused.value)


def test_without_credentials_it_is_said_where_they_were_looked_for():
    with pytest.raises(SourceForbidden, match="environment, in a credentials file, or as a role") as refused:
        key_id(signer())
    assert "AWS_ACCESS_KEY_ID" in refused.value.remedy


def credentials_file(tmp_path, name, key="default"):
    path = tmp_path / ".aws" / "credentials"
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name("fresh")
    fresh.write_text(f"[{key}]\naws_access_key_id = {name}\naws_secret_access_key = s\n")
    fresh.replace(path)
    return path


def test_a_credentials_file_that_was_replaced_is_read_again(tmp_path):
    credentials_file(tmp_path, "first")
    one = signer()
    assert key_id(one) == "first"
    credentials_file(tmp_path, "second")
    assert key_id(one) == "second"


def test_a_half_written_credentials_file_does_not_take_away_what_worked(tmp_path):
    path = credentials_file(tmp_path, "first")
    one = signer()
    assert key_id(one) == "first"
    path.write_text("[default]\naws_access_key_id = sec")
    assert key_id(one) == "first"
    credentials_file(tmp_path, "second")
    assert key_id(one) == "second"


def test_refused_credentials_are_looked_for_once_more(monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")
    one = signer()
    refused = one.signed("GET", URL, {}, "eu-west-1")
    assert not one.renewed(refused)
    give(monkeypatch, AWS_ACCESS_KEY_ID="second")
    assert not one.renewed(refused), "asked a moment ago"
    assert key_id(one) == "first"


def test_many_refusals_look_for_credentials_once_and_all_learn_of_the_new_ones(monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")
    time = HandClock()
    one = signer(clock=time.clock)
    refused = one.signed("GET", URL, {}, "eu-west-1")
    give(monkeypatch, AWS_ACCESS_KEY_ID="second")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: one.renewed(refused), range(32)))
    latest = one.signed("GET", URL, {}, "eu-west-1")
    assert not one.renewed(latest)
    give(monkeypatch, AWS_ACCESS_KEY_ID="third")
    time.at += 60
    assert one.renewed(latest)
    assert key_id(one) == "third"


def test_a_profile_tells_credentials_and_settings(monkeypatch, tmp_path):
    credentials_file(tmp_path, "of-the-team", "team")
    (tmp_path / ".aws" / "config").write_text("[profile team]\nregion = eu-west-3\nendpoint_url = http://store:9\n")
    give(monkeypatch, AWS_PROFILE="team")
    one = signer()
    assert one.profile("region") == "eu-west-3"
    assert one.profile("endpoint_url") == "http://store:9"
    assert one.profile("nothing") == ""
    assert key_id(one) == "of-the-team"


def test_a_profile_that_does_not_exist_is_named(monkeypatch):
    give(monkeypatch, AWS_PROFILE="nobody")
    with pytest.raises(SourceForbidden, match="nobody"):
        signer().profile("region")
    with pytest.raises(SourceForbidden, match="nobody"):
        key_id(signer())


def test_a_program_that_grants_credentials_is_asked_again_before_they_expire(monkeypatch, tmp_path):
    count = tmp_path / "count"
    program = tmp_path / "grant"
    program.write_text(
        f'#!/bin/sh\necho x >> {count}\nn=$(wc -l < {count})\nexpires=$(date -u -d "+$((n * 300)) seconds" +%FT%TZ)\n'
        'echo "{\\"Version\\": 1, \\"AccessKeyId\\": \\"granted$((n))\\", \\"SecretAccessKey\\": \\"s\\",'
        ' \\"SessionToken\\": \\"t\\", \\"Expiration\\": \\"$expires\\"}"\n'
    )
    program.chmod(0o755)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[default]\ncredential_process = {program}\n")
    one = signer()
    assert key_id(one) == "granted2", "five minutes are too few to begin with"
    assert len(count.read_text().split()) == 2


def test_whoever_grants_credentials_may_be_away_for_a_while(monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text("identity")
    give(
        monkeypatch,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/models",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_ENDPOINT_URL_STS="http://127.0.0.1:1",
        AWS_MAX_ATTEMPTS="1",
    )
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1"):
        key_id(signer())


def test_a_token_file_that_is_gone_is_an_error_of_the_credentials(monkeypatch, tmp_path):
    give(
        monkeypatch,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/models",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "gone"),
    )
    with pytest.raises(SourceForbidden, match="No such file"):
        key_id(signer())


def test_nothing_secret_is_logged_or_shown(monkeypatch, caplog):
    give(monkeypatch, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN="session-token")
    with caplog.at_level(logging.DEBUG):
        one = signer()
        made = one.signed("GET", URL, {}, "eu-west-1")
    signature = made.headers["Authorization"].partition("Signature=")[2]
    for shown in (caplog.text, repr(made), repr(one), f"{made}"):
        assert SECRET not in shown
        assert "session-token" not in shown
        assert signature not in shown
