"""Who asks Google: where credentials are found, when they are read again, when tokens are renewed."""

from __future__ import annotations

import json
import logging
import threading
import time

import pytest
from modelfleet.adapters import gcs, google_credentials
from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.errors import SourceForbidden, SourceUnavailable

from tests.support.tiny_http_server import Reply, TinyServer
from tests.support.token_server import Tokens, write_service_account, write_user

LISTING = Reply(200, b'{"items":[{"name":"digits/1/saved_model.pb","size":"5","generation":"7"}]}')
MODELS = {"digits": (1,)}

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def token_server(tokens, monkeypatch):
    with TinyServer(tokens.reply) as server:
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", server.url)
        yield server


class Store:
    """A store that knows which tokens it accepts."""

    def __init__(self):
        self.rejected = set()
        self.authorizations = []

    def reply(self, asked):
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        self.authorizations.append(token)
        if not token or token in self.rejected:
            return Reply(401, b'{"error":{"message":"Invalid Credentials"}}')
        return Reply(200, b"bytes") if asked.query.get("alt") else LISTING


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def google(store, monkeypatch):
    """Stand where Google is."""
    with TinyServer(store.reply) as server:
        monkeypatch.setattr(gcs, "GOOGLE", server.url)
        yield server


@pytest.fixture
def file(tmp_path):
    return tmp_path / "credentials.json"


def read(repository):
    (obj,) = repository.objects("digits", 1)
    with repository.open("digits", 1, obj) as source:
        buffer = memoryview(bytearray(10))
        return bytes(buffer[: source.readinto(buffer)])


@pytest.mark.parametrize("place", ["setting", "variable", "folder", "home"])
def test_credentials_are_found(google, store, token_server, tmp_path, monkeypatch, place):
    folders = {"folder": tmp_path / "sdk", "home": tmp_path / ".config" / "gcloud"}
    path = folders.get(place, tmp_path) / "application_default_credentials.json"
    write_user(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLOUDSDK_CONFIG")
    if place == "variable":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    if place == "folder":
        monkeypatch.setenv("CLOUDSDK_CONFIG", str(path.parent))
    access = Access(credentials_file=str(path) if place == "setting" else "")
    repository = open_repository("gs://bucket", access)
    assert repository.list_models() == MODELS
    assert read(repository) == b"bytes"
    assert store.authorizations == ["user-0", "user-0"]


def test_the_setting_wins_over_the_environment(google, store, token_server, tmp_path, monkeypatch):
    write_user(tmp_path / "one", "one")
    write_user(tmp_path / "two", "two")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "two"))
    assert open_repository("gs://bucket", Access(credentials_file=str(tmp_path / "one"))).list_models() == MODELS
    assert open_repository("gs://bucket").list_models() == MODELS
    assert store.authorizations == ["one-0", "two-1"]


def test_a_service_account_signs_for_reading_only(google, store, token_server, file):
    write_service_account(file, token_server.url)
    assert open_repository("gs://bucket", Access(credentials_file=str(file))).list_models() == MODELS
    assert store.authorizations == ["account-0"]
    assert b"assertion=" in token_server.asked[0].body


def test_nobody_is_asked_for_a_token_when_none_is_needed(token_server, store, file, monkeypatch):
    write_user(file)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with TinyServer(lambda _: LISTING) as server:
        assert open_repository("gs://bucket", Access(gcs_endpoint=server.url)).list_models() == MODELS
        monkeypatch.setattr(gcs, "GOOGLE", server.url)
        assert open_repository("gs://bucket", Access(anonymous=True)).list_models() == MODELS
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        assert open_repository("gs://bucket").list_models() == MODELS
        assert token_server.asked == []
        named = Access(gcs_endpoint=server.url, credentials_file=str(file))
        assert open_repository("gs://bucket", named).list_models() == MODELS
        assert [asked.headers.get("authorization", "") for asked in server.asked] == ["", "", "", "Bearer user-0"]


def test_a_replaced_file_is_read_again(google, store, token_server, file):
    write_user(file, "before")
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    repository.list_models()
    write_user(file, "after")
    repository.list_models()
    repository.list_models()
    assert store.authorizations == ["before-0", "after-1", "after-1"]


def test_the_old_token_serves_while_the_file_is_being_replaced(google, store, token_server, file):
    write_user(file, "before")
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    repository.list_models()
    file.write_text('{"type": "authori')
    assert repository.list_models() == MODELS
    file.unlink()
    assert repository.list_models() == MODELS
    write_user(file, "after")
    assert repository.list_models() == MODELS
    assert store.authorizations == ["before-0", "before-0", "before-0", "after-1"]


def test_a_projected_secret_that_moves_is_read_again(google, store, token_server, tmp_path):
    for name in ("one", "two"):
        write_user(tmp_path / name / "key.json", name)
    current = tmp_path / "..data"
    current.symlink_to(tmp_path / "one")
    repository = open_repository("gs://bucket", Access(credentials_file=str(current / "key.json")))
    repository.list_models()
    following = tmp_path / "..new"
    following.symlink_to(tmp_path / "two")
    following.replace(current)
    repository.list_models()
    assert store.authorizations == ["one-0", "two-1"]


def test_a_token_that_is_no_longer_accepted_is_renewed_once(google, store, token_server, file):
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    repository.list_models()
    store.rejected = {"user-0"}
    assert repository.list_models() == MODELS
    assert read(repository) == b"bytes"
    assert store.authorizations == ["user-0", "user-0", "user-1", "user-1"]


def test_a_token_that_is_rejected_again_is_given_up(google, store, token_server, tokens, file):
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    store.rejected = {f"user-{number}" for number in range(9)}
    for _ in range(3):
        with pytest.raises(SourceForbidden, match=r"answers 401 Unauthorized \(Invalid Credentials\)"):
            repository.list_models()
    assert tokens.given == ["user-0", "user-1"]
    write_user(file, "other")
    assert repository.list_models() == MODELS


def test_many_threads_renew_a_token_once(google, store, token_server, tokens, file):
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    start, found = threading.Barrier(8), []

    def work():
        start.wait()
        found.append(repository.objects("digits", 1, fresh=True))

    for rejected in (set(), {"user-0"}):
        store.rejected = rejected
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 16
    assert tokens.given == ["user-0", "user-1"]


def test_a_token_is_renewed_before_it_expires_and_serves_meanwhile(google, store, token_server, tokens, file):
    """Google's library calls a token stale from 3:45 minutes before its end."""
    tokens.expires_in = 100
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    repository.list_models()
    asking, go_on = threading.Event(), threading.Event()

    def slowly(asked):
        asking.set()
        go_on.wait()
        tokens.expires_in = 3600
        return tokens.reply(asked)

    token_server.reply = slowly
    thread = threading.Thread(target=repository.list_models)
    thread.start()
    asking.wait()
    assert repository.list_models() == MODELS
    assert store.authorizations == ["user-0", "user-0"]
    go_on.set()
    thread.join()
    assert store.authorizations[2:] == ["user-1"]


def test_a_token_that_cannot_be_renewed_yet_serves_to_its_end(google, store, token_server, tokens, file):
    tokens.expires_in = 2
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    assert repository.list_models() == MODELS
    tokens.refuse = 400
    assert repository.list_models() == MODELS
    time.sleep(2.1)
    with pytest.raises(SourceForbidden, match="no token is given for them"):
        repository.list_models()


def test_missing_credentials_say_where_they_were_looked_for(google, tmp_path):
    with pytest.raises(SourceForbidden) as caught:
        open_repository("gs://bucket").list_models()
    assert caught.value.one_line() == (
        "Google credentials: there are none: $GOOGLE_APPLICATION_CREDENTIALS is not set, "
        f"{tmp_path}/gcloud/application_default_credentials.json does not exist, and no metadata server answers; "
        "put them there, or set anonymous for a public bucket"
    )
    assert google.asked == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "was not found"),
        ("not json: hush", "not a valid json file"),
        ("[]", "cannot be used"),
        ('{"type": "strange", "private_key": "hush"}', "does not have a valid type"),
        (
            '{"type": "service_account", "private_key": "hush", "client_email": "a", "token_uri": "b"}',
            "cannot be used|Failed to load",
        ),
        ('{"type": "authorized_user", "refresh_token": "hush"}', "cannot be used|Failed to load"),
    ],
)
def test_credentials_that_cannot_be_used_are_named_and_not_shown(google, file, content, words):
    if content is not None:
        file.write_text(content)
    with pytest.raises(SourceForbidden, match=words) as caught:
        open_repository("gs://bucket", Access(credentials_file=str(file))).list_models()
    assert str(file) in caught.value.one_line()
    assert "hush" not in caught.value.one_line()


def test_a_refused_token_shows_why_and_no_secret(google, token_server, tokens, file, caplog):
    caplog.set_level(logging.DEBUG)
    write_user(file, "secret-refresh-token")
    tokens.refuse = 400
    with pytest.raises(SourceForbidden, match="invalid_grant: Token has been revoked") as caught:
        open_repository("gs://bucket", Access(credentials_file=str(file))).list_models()
    tokens.refuse = 0
    assert open_repository("gs://bucket", Access(credentials_file=str(file))).list_models() == MODELS
    for secret in ("client-hush", "secret-refresh-token"):
        assert secret not in caught.value.one_line()
        assert secret not in caplog.text


def test_a_token_server_that_is_away_is_waited_for(google, token_server, tokens, file, monkeypatch):
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    write_user(file)
    tokens.refuse = 503
    with pytest.raises(SourceUnavailable, match="no token is given for them"):
        open_repository("gs://bucket", Access(credentials_file=str(file))).list_models()
    write_service_account(file, "http://no-such-host.invalid/")
    with pytest.raises(SourceUnavailable, match=r"no-such-host\.invalid is unknown"):
        open_repository("gs://bucket", Access(credentials_file=str(file))).list_models()


class Machine:
    """The metadata server of a machine."""

    def __init__(self):
        self.body = b'{"access_token":"machine","expires_in":3600,"token_type":"Bearer"}'
        self.flavor = "Google"

    def reply(self, asked):
        assert asked.headers["metadata-flavor"] == "Google"
        body = self.body if asked.path.endswith("/default/token") else b""
        return Reply(200, body, {"Metadata-Flavor": self.flavor})


def test_a_machine_has_credentials_of_its_own(google, store, monkeypatch):
    machine = Machine()
    with TinyServer(machine.reply) as server:
        monkeypatch.delenv("NO_GCE_CHECK")
        monkeypatch.setenv("GCE_METADATA_HOST", f"localhost:{server.port}")
        monkeypatch.setenv("HTTP_PROXY", "http://no-such-proxy.invalid")
        monkeypatch.setenv("NO_PROXY", f"localhost:{google.port}")
        repository = open_repository("gs://bucket")
        assert repository.list_models() == MODELS
        assert repository.list_models() == MODELS
        assert store.authorizations == ["machine", "machine"]
        assert [asked.path for asked in server.asked] == [
            "/",
            "/computeMetadata/v1/instance/service-accounts/default/token",
        ]
        machine.body = b"{}"
        with pytest.raises(SourceUnavailable, match="something that is not a token"):
            open_repository("gs://bucket").list_models()
        machine.flavor = "Vanilla"
        with pytest.raises(SourceForbidden, match="there are none"):
            open_repository("gs://bucket").list_models()


def test_a_metadata_server_that_is_away_is_waited_for(google, monkeypatch):
    monkeypatch.delenv("NO_GCE_CHECK")
    monkeypatch.setenv("GCE_METADATA_HOST", "no-such-host.invalid")
    with pytest.raises(SourceUnavailable, match="Google's metadata server: no-such-host"):
        open_repository("gs://bucket").list_models()


def test_a_file_that_appears_is_used_instead_of_the_machine(google, store, token_server, tmp_path, monkeypatch):
    with TinyServer(Machine().reply) as server:
        monkeypatch.delenv("NO_GCE_CHECK")
        monkeypatch.setenv("GCE_METADATA_HOST", f"localhost:{server.port}")
        repository = open_repository("gs://bucket")
        repository.list_models()
        write_user(tmp_path / "gcloud" / "application_default_credentials.json")
        repository.list_models()
    assert store.authorizations == ["machine", "user-0"]


def test_the_quota_project_is_told(google, token_server, file):
    write_user(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), "quota_project_id": "payer"}))
    open_repository("gs://bucket", Access(credentials_file=str(file))).list_models()
    assert google.asked[0].headers["x-goog-user-project"] == "payer"


def test_the_time_of_renewal_is_forgotten_after_a_while(google, store, token_server, file, monkeypatch):
    monkeypatch.setattr(google_credentials, "_RENEWED_S", 0.2)
    write_user(file)
    repository = open_repository("gs://bucket", Access(credentials_file=str(file)))
    for number in range(3):
        store.rejected.add(f"user-{number}")
        assert repository.list_models() == MODELS
        time.sleep(0.25)
