"""Models in a bucket of a real S3 server."""

import hashlib
import itertools

import pytest
from modelfleet.adapters import s3
from modelfleet.adapters.access import Access
from modelfleet.adapters.object_store import Entry, ObjectStoreRepository
from modelfleet.adapters.s3 import S3Store
from modelfleet.adapters.transport import Transport
from modelfleet.errors import SourceChanged, SourceForbidden, SourceNotFound, SourceUnavailable

from tests.support.s3_server import Told, fault, listing, played_s3, running_s3_server

pytestmark = pytest.mark.usefixtures("credentials_of_anybody")

PAGE_SIZE = 10
ODD_NAMES = [
    "a b",
    "a+b",
    "ü/ß",
    "50%",
    "%41",
    "a&b=c?d#e",
    "😀",
    "'(x)!*",
    ":@,;$",
    "<tag>",
    '"quoted"',
    "back\\slash",
]


@pytest.fixture(scope="module")
def server():
    with running_s3_server(page_size=PAGE_SIZE) as running:
        yield running


@pytest.fixture
def store_at():
    """Make stores whose connections are closed in the end."""
    transports = []

    def make(url, bucket, **settings):
        access = Access(s3_endpoint=url, **settings)
        transports.append(Transport(access))
        return S3Store(bucket, access, transports[-1])

    yield make
    for transport in transports:
        transport.close()


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def read(source, size=5):
    buffer, content = memoryview(bytearray(size)), b""
    with source as opened:
        while count := opened.readinto(buffer):
            content += bytes(buffer[:count])
    return content


def test_models_their_versions_and_files_are_found(server, store_at):
    contents = {
        "live/m/1/saved_model.pb": b"one",
        "live/m/1/variables/variables.index": b"",
        "live/m/10/saved_model.pb": b"ten",
        "live/m/latest/saved_model.pb": b"mistake",
        "live/m-hf/1/saved_model.pb": b"another model",
        "live/.history/1": b"not a model",
        "live/fleet.json": "{“models”}".encode(),
        "live-2/other/1/saved_model.pb": b"another repository",
        "live/": b"",
        "live/m/": b"",
        "live/m/1/": b"",
        "live/m/1/variables_$folder$": b"",
    }
    server.put("found", contents)
    repository = ObjectStoreRepository(store_at(server.url, "found"), "live")
    assert repository.uri == "s3://found/live"
    assert repository.list_models() == {"m": (1, 10, "latest"), "m-hf": (1,)}
    for fresh in (False, True):
        objects = repository.objects("m", 1, fresh=fresh)
        assert [(obj.path, obj.size) for obj in objects] == [("saved_model.pb", 3), ("variables/variables.index", 0)]
        assert all(obj.crc32c is None and obj.divisible for obj in objects)
        assert read(repository.open("m", 1, objects[0])) == b"one"
        assert read(repository.open("m", 1, objects[1])) == b""
    assert repository.read_text("fleet.json") == "{“models”}"
    assert repository.read_text("nothing.json") is None
    with pytest.raises(SourceNotFound, match="model m version 2"):
        repository.objects("m", 2, fresh=True)


def test_equal_contents_have_equal_hashes_wherever_they_are(server, store_at):
    server.put("equal", {"m/1/a": b"same", "m/2/b": b"same", "m/2/c": b"else"})
    entries = {entry.key: entry for entry in store_at(server.url, "equal").list("")}
    assert entries["m/1/a"].content == entries["m/2/b"].content != entries["m/2/c"].content
    assert entries["m/1/a"].content == f"etag:{md5(b'same')}"


def test_an_object_of_several_parts_announces_no_hash_of_its_content(server, store_at):
    server.put("parts", {})
    client = server.client()
    upload = client.create_multipart_upload(Bucket="parts", Key="m/1/large")["UploadId"]
    pieces = [b"a" * (5 << 20), b"end"]
    parts = [
        {
            "PartNumber": number,
            "ETag": client.upload_part(Bucket="parts", Key="m/1/large", UploadId=upload, PartNumber=number, Body=piece)[
                "ETag"
            ],
        }
        for number, piece in enumerate(pieces, 1)
    ]
    client.complete_multipart_upload(Bucket="parts", Key="m/1/large", UploadId=upload, MultipartUpload={"Parts": parts})
    store = store_at(server.url, "parts")
    (entry,) = store.list("")
    assert entry.size == (5 << 20) + 3
    assert entry.content == ""
    assert read(store.open(entry, "large", (5 << 20) - 2, 4)) == b"aaen"
    assert md5(read(store.open(entry, "large"), 1 << 20)) == md5(b"".join(pieces))


def test_a_long_listing_comes_in_pages(server, store_at):
    keys = [f"m/1/file-{number:03}" for number in range(2 * PAGE_SIZE + 1)]
    server.put("long", dict.fromkeys(keys, b"x"))
    assert [entry.key for entry in store_at(server.url, "long").list("m/")] == keys


def test_thousands_of_keys_cost_a_request_for_each_thousand(store_at):
    keys = [f"m/{number}/saved_model.pb" for number in range(2500)]

    def answer(asked):
        start = int(asked.path.partition("continuation-token=")[2].partition("&")[0] or 0)
        following = start + 1000
        return Told(200, listing(*keys[start:following], token=str(following) if following < len(keys) else ""))

    with played_s3(answer) as played:
        assert [entry.key for entry in store_at(played.url, "many").list("")] == keys
        assert len(played.asked) == 3


def test_names_that_are_special_to_somebody_arrive_as_they_are(server, store_at):
    contents = {f"m/1/{name}": name.encode() for name in ODD_NAMES}
    server.put("odd", contents)
    store = store_at(server.url, "odd")
    entries = {entry.key: entry for entry in store.list("m/1/")}
    assert entries.keys() == contents.keys()
    for key, content in contents.items():
        assert read(store.open(entries[key], key)) == content
        assert store.read_small(key) == content
        assert [entry.key for entry in store.list(key)] == [key]


def test_an_empty_bucket_holds_no_models_and_a_missing_one_is_not_found(server, store_at):
    server.put("empty", {})
    assert ObjectStoreRepository(store_at(server.url, "empty")).list_models() == {}
    missing = ObjectStoreRepository(store_at(server.url, "missing"))
    with pytest.raises(SourceNotFound, match="bucket missing") as refused:
        missing.list_models()
    assert "NoSuchBucket" in refused.value.problem
    with pytest.raises(SourceNotFound, match="bucket missing"):
        missing.read_text("fleet.json")


@pytest.mark.parametrize(("start", "length"), [(0, 4), (3, 4), (9, 1), (6, None), (0, None), (0, 10)])
def test_parts_are_the_parts_that_were_asked_for(server, store_at, start, length):
    content = b"0123456789"
    server.put("ranges", {"m/1/a": content})
    store = store_at(server.url, "ranges")
    (entry,) = store.list("m/1/")
    assert read(store.open(entry, "a", start, length)) == content[start:][:length]


def test_an_object_that_was_replaced_is_never_taken_for_the_listed_one(server, store_at):
    server.put("replaced", {"m/1/a": b"first"})
    store = store_at(server.url, "replaced")
    (entry,) = store.list("m/1/")
    opened = store.open(entry, "model m version 1: a")
    server.put("replaced", {"m/1/a": b"other"})
    with pytest.raises(SourceChanged, match="model m version 1: a"):
        read(opened)
    with pytest.raises(SourceChanged):
        read(store.open(entry, "model m version 1: a", 1, 2))


def test_an_object_that_was_removed_changed(server, store_at):
    server.put("removed", {"m/1/a": b"first"})
    store = store_at(server.url, "removed")
    (entry,) = store.list("m/1/")
    server.client().delete_object(Bucket="removed", Key="m/1/a")
    with pytest.raises(SourceChanged):
        read(store.open(entry, "model m version 1: a"))


@pytest.mark.parametrize("headers", [{"ETag": '"new"'}, {}])
def test_a_server_that_ignores_conditions_cannot_pass_off_other_content(store_at, headers):
    with played_s3(lambda _: Told(200, b"other", headers)) as played:
        source = store_at(played.url, "models").open(Entry("m/1/a", 5, '"old"'), "model m version 1: a")
        with pytest.raises(SourceChanged):
            read(source)
        assert played.asked[0].headers["If-Match"] == '"old"'


def test_an_object_in_an_archive_says_what_to_do(server, store_at):
    server.put("archived", {"m/1/a": b"cold"}, StorageClass="GLACIER")
    store = store_at(server.url, "archived")
    (entry,) = store.list("m/1/")
    with pytest.raises(SourceForbidden, match="InvalidObjectState") as refused:
        read(store.open(entry, "model m version 1: a"))
    assert "restore" in refused.value.remedy


def test_a_listing_that_never_ends_is_given_up(store_at, monkeypatch):
    monkeypatch.setattr(s3, "EMPTY_PAGES", 3)
    tokens = map(str, itertools.count())
    for page in (lambda _: listing("m/1/a", token="again"), lambda _: listing(token=next(tokens))):
        with (
            played_s3(lambda _, page=page: Told(200, page(_))) as played,
            pytest.raises(SourceUnavailable, match="never comes to the end"),
        ):
            list(store_at(played.url, "models").list(""))
    assert next(tokens) == "3"


def test_a_busy_server_is_asked_again(store_at):
    answers = iter([Told(503, fault("SlowDown", "Please reduce your request rate"), {"Retry-After": "0"})])
    with played_s3(lambda _: next(answers, Told(200, listing("m/1/a")))) as played:
        assert [entry.key for entry in store_at(played.url, "models").list("")] == ["m/1/a"]
        assert len(played.asked) == 2


def test_a_busy_server_is_a_passing_trouble_of_the_object(store_at):
    busy = Told(503, fault("SlowDown", "Please reduce your request rate"), {"Retry-After": "7"})
    with played_s3(lambda _: busy) as played:
        source = store_at(played.url, "models").open(Entry("m/1/a", 5, '"x"'), "model m version 1: a")
        with pytest.raises(SourceUnavailable, match="reduce your request rate") as refused:
            read(source)
        assert refused.value.retry_after_s == 7
