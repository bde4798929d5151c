"""As whom, where and whom to trust a bucket of S3 is asked."""

import logging
import subprocess
from urllib.parse import urlsplit

import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.object_store import Entry
from modelfleet.adapters.opening import open_repository
from modelfleet.adapters.s3 import S3Store, s3_transport
from modelfleet.adapters.s3_credentials import Signer
from modelfleet.errors import InvalidInput, SourceForbidden, SourceUnavailable
from modelfleet.waiting import Clock

from tests.support.s3_server import Told, fault, forget_credentials, listing, played_s3, running_s3_server

CONTENTS = {"m/1/saved_model.pb": b"model"}


@pytest.fixture(scope="module")
def guarded():
    """A server that checks signatures and permissions, with the access key of a user who may read."""
    with running_s3_server() as running:
        running.put("models", CONTENTS)
        pair = running.new_user("reader")
        running.demand_signatures()
        yield running, pair


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    forget_credentials(monkeypatch, tmp_path)


@pytest.fixture
def store_of():
    """Make stores whose connections are closed in the end."""
    transports = []

    def make(access, bucket="models"):
        transports.append(s3_transport(access))
        return S3Store(bucket, access, transports[-1])

    yield make
    for transport in transports:
        transport.close()


def give(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def keys(store):
    return [entry.key for entry in store.list("")]


def content(store):
    (entry,) = store.list("")
    buffer = memoryview(bytearray(64))
    with store.open(entry, "model m version 1: saved_model.pb") as source:
        return bytes(buffer[: source.readinto(buffer)])


@pytest.mark.parametrize(
    ("key_id", "secret"), [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_ACCESS_KEY", "AWS_SECRET_KEY")]
)
@pytest.mark.parametrize("setting", ["option", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_either_spelling_of_the_credentials_opens_a_guarded_bucket(
    guarded, store_of, monkeypatch, key_id, secret, setting
):
    server, pair = guarded
    give(monkeypatch, **{key_id: pair.key_id, secret: pair.secret})
    if setting != "option":
        give(monkeypatch, **{setting: server.url})
    store = store_of(Access(s3_endpoint=server.url if setting == "option" else ""))
    assert keys(store) == list(CONTENTS)
    assert content(store) == b"model"


def test_a_profile_opens_a_guarded_bucket(guarded, store_of, monkeypatch, tmp_path):
    server, pair = guarded
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[team]\naws_access_key_id = {pair.key_id}\naws_secret_access_key = {pair.secret}\n"
    )
    (tmp_path / ".aws" / "config").write_text(f"[profile team]\nregion = eu-west-1\nendpoint_url = {server.url}\n")
    give(monkeypatch, AWS_PROFILE="team")
    assert content(store_of(Access())) == b"model"


@pytest.fixture
def unguarded(guarded):
    """The same server while it checks nothing."""
    server, _ = guarded
    server.demand_signatures(after=1000)
    yield server
    server.demand_signatures()


def test_a_role_that_a_web_identity_takes_opens_a_bucket(unguarded, store_of, monkeypatch, tmp_path):
    role = unguarded.client("iam").create_role(RoleName="models", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    token = tmp_path / "token"
    token.write_text("identity")
    give(monkeypatch, AWS_ROLE_ARN=role, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ENDPOINT_URL_STS=unguarded.url)
    assert content(store_of(Access(s3_endpoint=unguarded.url))) == b"model"
    made = Signer(Access(), Clock()).signed("GET", unguarded.url, {}, "us-east-1")
    assert "X-Amz-Security-Token" in made.headers


def test_without_credentials_a_guarded_bucket_stays_closed(guarded, store_of):
    with pytest.raises(SourceForbidden, match="none were found"):
        keys(store_of(Access(s3_endpoint=guarded[0].url)))


@pytest.mark.parametrize(
    ("key_id", "secret", "code"),
    [("AKIAUNKNOWN", "x", "InvalidAccessKeyId"), ("", "wrong", "SignatureDoesNotMatch")],
)
def test_refused_credentials_are_explained_in_the_stores_words_without_the_credentials(
    guarded, store_of, monkeypatch, caplog, key_id, secret, code
):
    server, pair = guarded
    give(monkeypatch, AWS_ACCESS_KEY_ID=key_id or pair.key_id, AWS_SECRET_ACCESS_KEY=secret)
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceForbidden, match=code) as refused:
        keys(store_of(Access(s3_endpoint=server.url)))
    assert refused.value.subject == "s3://models/"
    assert "AWS_ACCESS_KEY_ID" in refused.value.remedy
    for shown in (str(refused.value), caplog.text):
        assert (key_id or pair.key_id) not in shown
        assert secret == "x" or secret not in shown
        assert "Signature=" not in shown


def test_credentials_that_were_replaced_in_their_file_are_used_from_then_on(guarded, store_of, tmp_path):
    server, pair = guarded
    file = tmp_path / ".aws" / "credentials"
    file.parent.mkdir()
    text = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    file.write_text(text.format(*pair))
    store = store_of(Access(s3_endpoint=server.url))
    assert content(store) == b"model"
    file.write_text(text.format("AKIAREVOKED", "x"))
    with pytest.raises(SourceForbidden):
        keys(store)
    file.write_text(text.format(*pair))
    assert content(store) == b"model"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "AccessDenied"), (401, "X")]
)
def test_a_refusal_lets_credentials_be_looked_for_once_more(store_of, monkeypatch, status, code):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")

    def answer(asked):
        if "Credential=second/" in asked.headers["Authorization"]:
            return Told(200, listing("m/1/a") if "list-type" in asked.path else b"", {"ETag": '"x"'})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
        return Told(status, fault(code, "no"))

    with played_s3(answer) as played:
        store = store_of(Access(s3_endpoint=played.url))
        assert keys(store) == ["m/1/a"]
        assert len(played.asked) == 2


def test_an_object_is_asked_for_again_with_renewed_credentials(store_of, monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")

    def answer(asked):
        if "Credential=second/" in asked.headers["Authorization"]:
            return Told(200, b"model", {"ETag": '"x"'})
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
        return Told(400, fault("ExpiredToken", "The provided token has expired."))

    buffer = memoryview(bytearray(64))
    with (
        played_s3(answer) as played,
        store_of(Access(s3_endpoint=played.url)).open(Entry("a", 5, '"x"'), "model m version 1: a") as source,
    ):
        assert source.readinto(buffer) == 5


def test_a_refusal_that_lasts_is_not_repeated_for_ever(store_of, monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")
    with played_s3(lambda _: Told(403, fault("AccessDenied", "first is not welcome"))) as played:
        with pytest.raises(SourceForbidden, match="AccessDenied") as refused:
            keys(store_of(Access(s3_endpoint=played.url)))
        assert "s3:ListBucket" in refused.value.remedy
        assert len(played.asked) == 1


def test_a_wrong_clock_is_named(store_of, monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="first", AWS_SECRET_ACCESS_KEY="s")
    skewed = fault("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
    with (
        played_s3(lambda _: Told(403, skewed)) as played,
        pytest.raises(SourceForbidden, match="set this machine's clock"),
    ):
        keys(store_of(Access(s3_endpoint=played.url)))


def test_a_public_bucket_is_asked_without_credentials(store_of, monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="half of a pair")
    with played_s3(lambda _: Told(200, listing("m/1/a"))) as played:
        assert keys(store_of(Access(s3_endpoint=played.url, anonymous=True))) == ["m/1/a"]
        assert "Authorization" not in played.asked[0].headers


@pytest.mark.parametrize("status", [301, 307, 400, 403])
@pytest.mark.parametrize("told_by", ["header", "body"])
def test_the_region_is_learned_from_a_refusal_and_remembered(store_of, monkeypatch, status, told_by):
    give(monkeypatch, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="s", AWS_REGION="us-east-2")

    def answer(asked):
        if "/eu-west-3/s3/" in asked.headers["Authorization"]:
            return Told(200, listing("m/1/a"))
        if told_by == "header":
            return Told(
                status, fault("PermanentRedirect"), {"x-amz-bucket-region": "eu-west-3", "Location": "http://x"}
            )
        return Told(status, fault("AuthorizationHeaderMalformed", "wrong", "<Region>eu-west-3</Region>"))

    with played_s3(answer) as played:
        store = store_of(Access(s3_endpoint=played.url))
        assert keys(store) == keys(store) == ["m/1/a"]
        regions = [asked.headers["Authorization"].split("/")[2] for asked in played.asked]
        assert regions == ["us-east-2", "eu-west-3", "eu-west-3"]


class Amazon:
    """A proxy that stands in for Amazon's hosts, each of which has the buckets of its region only."""

    def __init__(self, region):
        self.region = region

    def __call__(self, asked):
        host = urlsplit(asked.path).hostname
        if host == f"models.s3.{self.region}.example.com":
            return Told(200, listing("m/1/a") if "list-type" in asked.path else b"", {"ETag": f'"{"0" * 31}1"'})
        return Told(301, fault("PermanentRedirect"), {"x-amz-bucket-region": self.region})


@pytest.fixture
def plain_amazon(monkeypatch):
    """Amazon's hosts by plain HTTP, so that the stand-in can answer for them."""
    monkeypatch.setattr("modelfleet.adapters.s3_asking.bucket_url", plain_url)


def plain_url(bucket, region, *_, **__):
    return f"http://{bucket}.s3.{region}.example.com"


def test_a_bucket_in_another_region_is_asked_at_that_regions_host(store_of, monkeypatch, plain_amazon):
    give(monkeypatch, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="s")
    with played_s3(Amazon("eu-west-3")) as played:
        store = store_of(Access(proxy=played.url))
        assert keys(store) == ["m/1/a"]
        assert [urlsplit(asked.path).hostname for asked in played.asked] == [
            "models.s3.us-east-1.example.com",
            "models.s3.eu-west-3.example.com",
        ]
        assert "/eu-west-3/s3/" in played.asked[1].headers["Authorization"]


def test_an_object_of_a_bucket_that_moved_is_found_at_the_next_attempt(store_of, monkeypatch, plain_amazon):
    give(monkeypatch, AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="s")
    amazon = Amazon("eu-west-1")
    with played_s3(amazon) as played:
        store = store_of(Access(proxy=played.url))
        (entry,) = store.list("")
        amazon.region = "eu-west-2"
        opened = store.open(entry, "model m version 1: a")
        with pytest.raises(SourceUnavailable, match="another region"), opened as source:
            source.readinto(memoryview(bytearray(1)))
        with store.open(entry, "model m version 1: a") as source:
            assert source.readinto(memoryview(bytearray(1))) == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=store"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run([*command.split(), *where], check=True, capture_output=True)
    return files


def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(certificate, store_of, monkeypatch):
    give(monkeypatch, AWS_ACCESS_KEY_ID="anybody", AWS_SECRET_ACCESS_KEY="anything")
    with running_s3_server(certificate=certificate) as server:
        server.put("models", CONTENTS)
        assert content(store_of(Access(s3_endpoint=server.url, ca_bundle=str(certificate[0])))) == b"model"
        with pytest.raises(SourceForbidden, match="is not trusted"):
            keys(store_of(Access(s3_endpoint=server.url)))
        give(monkeypatch, AWS_CA_BUNDLE=str(certificate[0]))
        assert keys(store_of(Access(s3_endpoint=server.url))) == list(CONTENTS)


@pytest.mark.parametrize(("uri", "found"), [("s3://models", ("m",)), ("s3://models/live/", ("n",))])
def test_a_uri_opens_a_bucket_or_what_is_below_a_prefix_of_it(monkeypatch, uri, found):
    give(monkeypatch, AWS_ACCESS_KEY_ID="anybody", AWS_SECRET_ACCESS_KEY="anything")

    def answer(asked):
        below = "prefix=live%2F" in asked.path
        return Told(200, listing("live/n/1/saved_model.pb" if below else "m/1/saved_model.pb"))

    with played_s3(answer) as played:
        repository = open_repository(uri, Access(s3_endpoint=played.url))
        assert repository.uri == uri.rstrip("/")
        assert tuple(repository.list_models()) == found


@pytest.mark.parametrize("uri", ["s3://", "s3:///live", "s3://a/live", "s3://me@models"])
def test_a_uri_without_a_usable_bucket_is_refused(uri):
    with pytest.raises(InvalidInput):
        open_repository(uri)
