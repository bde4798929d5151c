"""Models in buckets of a real server of Google Cloud Storage's protocol."""

from __future__ import annotations

import hashlib
import itertools
import threading

import pytest
from crc32c import crc32c
from modelfleet.adapters import gcs, object_store
from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.errors import (
    InvalidInput,
    SourceChanged,
    SourceForbidden,
    SourceIncomplete,
    SourceNotFound,
    SourceUnavailable,
)

from tests.support.tiny_http_server import Reply, TinyServer

ODD = "assets/a b+c%2F?#&ü名.txt"


def read(repository, model, version, obj, start=0, length=None):
    """Return the content of an object in small reads."""
    buffer, pieces = memoryview(bytearray(1000)), []
    with repository.open(model, version, obj, start, length) as source:
        while count := source.readinto(buffer):
            pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def version(bucket, folder, *, files=("saved_model.pb",), content=b"graph"):
    for name in files:
        bucket.put(f"{folder}/{name}", content + name.encode())


@pytest.fixture
def repository(bucket, access):
    return open_repository(f"{bucket.uri}/models", access)


def test_models_and_versions_are_listed_in_order(bucket, repository):
    for folder in ("digits/2", "digits/10", "cats/1", "wrong/01", "wrong/v3", "spaced name/1"):
        version(bucket, f"models/{folder}")
    bucket.put("models/fleet.json", b"{}")
    bucket.put("models/empty/readme.txt", b"no version yet")
    bucket.put("models/.history/1/saved_model.pb", b"x")
    bucket.put("models/cats/.old/saved_model.pb", b"x")
    bucket.put("models/not a name/readme.txt", b"x")
    assert repository.list_models() == {
        "cats": (1,),
        "digits": (2, 10),
        "empty": (),
        "spaced name": (1,),
        "wrong": ("01", "v3"),
    }
    assert repository.uri == f"{bucket.uri}/models"
    assert repository.origin("digits", 2) == repository.uri


def test_an_object_is_described_as_the_listing_tells(bucket, repository):
    content = b"0123456789" * 50
    bucket.put("models/digits/1/saved_model.pb", content)
    repository.list_models()
    (found,) = repository.objects("digits", 1)
    assert (found.path, found.size, found.crc32c) == ("saved_model.pb", 500, crc32c(content))
    assert found.content == f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}"
    assert found.generation
    assert found.divisible
    assert read(repository, "digits", 1, found) == content
    assert read(repository, "digits", 1, found, 5) == content[5:]
    assert read(repository, "digits", 1, found, 17, 100) == content[17:117]
    assert read(repository, "digits", 1, found, 0, 100) == content[:100]
    assert read(repository, "digits", 1, found, 400, 100) == content[400:]


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(bucket, access):
    version(bucket, "m/digits/1")
    version(bucket, "m-hf/other/1")
    version(bucket, "m/digits-hf/2", files=("saved_model.pb", "variables/x"))
    repository = open_repository(f"{bucket.uri}/m/", access)
    assert repository.list_models() == {"digits": (1,), "digits-hf": (2,)}
    assert [obj.path for obj in repository.objects("digits", 1, fresh=True)] == ["saved_model.pb"]
    assert repository.uri == f"{bucket.uri}/m"
    whole = open_repository(bucket.uri, access)
    assert whole.list_models() == {"m": ("digits-hf",), "m-hf": ("other",)} or whole.list_models() == {
        "m": (),
        "m-hf": (),
    }


def test_versions_at_the_top_of_a_bucket(bucket, access):
    version(bucket, "digits/1")
    repository = open_repository(bucket.uri, access)
    assert repository.list_models() == {"digits": (1,)}
    assert repository.uri == bucket.uri


def test_all_pages_of_a_listing_are_read(bucket, repository, monkeypatch):
    monkeypatch.setattr(gcs, "PAGE", 4)
    files = tuple(f"assets/{number:02}" for number in range(9))
    for number in (1, 2):
        version(bucket, f"models/digits/{number}", files=files)
    assert repository.list_models() == {"digits": (1, 2)}
    assert [obj.path for obj in repository.objects("digits", 2)] == list(files)
    assert [obj.path for obj in repository.objects("digits", 2, fresh=True)] == list(files)


def test_keys_that_stand_for_folders_are_not_files(bucket, repository):
    for key in ("models/", "models/digits/", "models/digits/3/", "models/digits/3/variables/", "models/cats_$folder$"):
        bucket.put(key, b"")
    bucket.put("models/digits/3/saved_model.pb", b"x")
    bucket.put("models/digits/4/", b"")
    bucket.put("models/digits/3/variables_$folder$", b"")
    assert repository.list_models() == {"digits": (3,)}
    assert [obj.path for obj in repository.objects("digits", 3)] == ["saved_model.pb"]


def test_empty_files_and_odd_names_are_files(bucket, repository):
    bucket.put("models/digits/1/assets/empty", b"")
    bucket.put(f"models/digits/1/{ODD}", b"odd")
    repository.list_models()
    found = {obj.path: obj for obj in repository.objects("digits", 1)}
    assert sorted(found) == sorted(["assets/empty", ODD])
    assert found["assets/empty"].size == 0
    assert found["assets/empty"].crc32c == 0
    assert read(repository, "digits", 1, found["assets/empty"]) == b""
    assert read(repository, "digits", 1, found[ODD]) == b"odd"


def test_what_was_overwritten_is_not_read(bucket, repository):
    bucket.put("models/digits/1/saved_model.pb", b"first")
    (before,) = repository.objects("digits", 1)
    bucket.put("models/digits/1/saved_model.pb", b"other")
    with pytest.raises(SourceChanged, match=r"model digits version 1: saved_model\.pb: changed in the repository"):
        read(repository, "digits", 1, before)
    (after,) = repository.objects("digits", 1, fresh=True)
    assert after.generation != before.generation
    assert read(repository, "digits", 1, after) == b"other"
    bucket.delete("models/digits/1/saved_model.pb")
    with pytest.raises(SourceChanged):
        read(repository, "digits", 1, after, 1, 2)


def test_what_is_overwritten_while_it_is_read_stays_what_it_was(bucket, repository):
    content = bytes(range(256)) * 40_000
    bucket.put("models/digits/1/saved_model.pb", content)
    (obj,) = repository.objects("digits", 1)
    buffer, got = memoryview(bytearray(1 << 16)), b""
    with repository.open("digits", 1, obj) as source:
        got += bytes(buffer[: source.readinto(buffer)])
        bucket.put("models/digits/1/saved_model.pb", content[::-1])
        while count := source.readinto(buffer):
            got += bytes(buffer[:count])
    assert got == content
    with pytest.raises(SourceChanged):
        read(repository, "digits", 1, obj, 1 << 20, 1 << 20)


def test_versions_that_come_later_are_found_without_listing_everything(bucket, repository):
    version(bucket, "models/digits/1")
    assert repository.list_models() == {"digits": (1,)}
    version(bucket, "models/digits/2")
    assert len(repository.objects("digits", 2)) == 1
    with pytest.raises(SourceNotFound, match="model digits version 3: does not exist in gs://"):
        repository.objects("digits", 3)
    bucket.put("models/digits/1/assets/late", b"x")
    assert len(repository.objects("digits", 1)) == 1
    assert len(repository.objects("digits", 1, fresh=True)) == 2


def test_an_empty_bucket_has_no_models_and_a_missing_one_is_missed(gcs_server, bucket, repository, access):
    assert repository.list_models() == {}
    assert repository.read_text("fleet.json") is None
    missing = open_repository("gs://no-such-bucket/models", access)
    with pytest.raises(SourceNotFound, match="repository gs://no-such-bucket: there is no such bucket"):
        missing.list_models()
    with pytest.raises(SourceNotFound):
        missing.objects("digits", 1)


def test_the_manifest_is_read_and_must_be_text(bucket, repository):
    bucket.put("models/fleet.json", '{"ü": 1}'.encode())
    bucket.put("models/fleet.history/1.json", b"one")
    bucket.put("models/broken.json", b"\xff")
    assert repository.read_text("fleet.json") == '{"ü": 1}'
    assert repository.read_text("fleet.history/1.json") == "one"
    with pytest.raises(InvalidInput, match="not UTF-8"):
        repository.read_text("broken.json")
    for name in ("../secret", "/etc/passwd", "a//b", "", "a/"):
        with pytest.raises(InvalidInput, match="not a path below"):
            repository.read_text(name)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("../escape", "not the path of a file"),
        ("a/../../escape", "not the path of a file"),
        ("./here", "not the path of a file"),
        ("a//b", "not the path of a file"),
        ("/absolute", "not the path of a file"),
        ("full/", "not the path of a file"),
        ("new\nline", "control characters"),
        ("SAVED_MODEL.PB", "differ in case only"),
        ("saved_model.pb/below", "as a file and as a folder"),
        ("x" * 256, "too long for a file"),
        ("d/" * 64 + "x", "lies too deep"),
    ],
)
def test_hostile_keys_spoil_their_version_and_no_other(bucket, repository, key, words):
    version(bucket, "models/digits/1")
    version(bucket, "models/digits/2")
    bucket.put(f"models/digits/2/{key}", b"not empty")
    assert repository.list_models() == {"digits": (1, 2)}
    for fresh in (False, True):
        with pytest.raises(SourceForbidden, match=words) as caught:
            repository.objects("digits", 2, fresh=fresh)
        assert caught.value.subject == "model digits version 2"
        assert "\n" not in caught.value.one_line()
        assert len(caught.value.one_line()) < 700
    assert len(repository.objects("digits", 1)) == 1


def test_a_version_of_more_objects_than_are_kept_in_mind_is_refused(bucket, repository, monkeypatch):
    monkeypatch.setattr(object_store, "FILES_LIMIT", 2)
    version(bucket, "models/digits/1", files=("saved_model.pb", "a"))
    version(bucket, "models/digits/2", files=("saved_model.pb", "a", "b"))
    assert repository.list_models() == {"digits": (1, 2)}
    assert len(repository.objects("digits", 1, fresh=True)) == 2
    for fresh in (False, True):
        with pytest.raises(SourceForbidden, match="holds more than 2 objects"):
            repository.objects("digits", 2, fresh=fresh)


def test_what_is_stored_compressed_is_refused(bucket, repository):
    bucket.put("models/digits/1/saved_model.pb", b"\x1f\x8b", encoding="gzip")
    with pytest.raises(SourceIncomplete, match=r"saved_model\.pb is stored compressed"):
        repository.objects("digits", 1)


@pytest.mark.parametrize("form", ["{}", "{}/", "http://{}"])
def test_an_emulator_is_found_by_the_environment(bucket, gcs_server, monkeypatch, form):
    version(bucket, "models/digits/1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", form.format(gcs_server.endpoint.removeprefix("http://")))
    assert open_repository(f"{bucket.uri}/models").list_models() == {"digits": (1,)}


@pytest.mark.parametrize("endpoint", ["ftp://host", "http://", "http://host?x=1", "http://[host", "host:70000"])
def test_an_endpoint_must_be_a_url(endpoint):
    with pytest.raises(InvalidInput, match="not the URL of a server"):
        open_repository("gs://bucket", Access(gcs_endpoint=endpoint))


@pytest.mark.parametrize("name", ["UPPER", "a", "-x-", "with space", "x" * 223, "ab%2Fc"])
def test_a_bucket_must_have_the_name_of_one(name):
    with pytest.raises(InvalidInput, match="not the name of a bucket"):
        open_repository(f"gs://{name}/models")


def test_many_threads_read_at_once(bucket, repository):
    contents = {f"assets/{number}": bytes([number]) * 300_000 for number in range(8)}
    for name, content in contents.items():
        bucket.put(f"models/digits/1/{name}", content)
    objects = repository.objects("digits", 1)
    right = []

    def work(obj):
        right.extend(read(repository, "digits", 1, obj) == contents[obj.path] for _ in range(3))

    threads = [threading.Thread(target=work, args=(obj,)) for obj in objects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 24


def listing(*names, token=""):
    items = ",".join(f'{{"name":"{name}","size":"1","generation":"7"}}' for name in names)
    following = f',"nextPageToken":"{token}"' if token else ""
    return Reply(200, f'{{"items":[{items}]{following}}}'.encode())


def test_only_what_is_needed_is_listed():
    def reply(asked):
        return listing("m/digits/1/b") if asked.query.get("pageToken") else listing("m/digits/1/a", token="next")

    with TinyServer(reply) as server:
        repository = open_repository("gs://bucket/m", Access(gcs_endpoint=server.url))
        assert repository.list_models() == {"digits": (1,)}
        objects = repository.objects("digits", 1)
    assert [(obj.path, obj.crc32c, obj.content, obj.generation) for obj in objects] == [
        ("a", None, "", "7"),
        ("b", None, "", "7"),
    ]
    first, second = server.asked
    assert first.path == "/storage/v1/b/bucket/o"
    assert first.query == {
        "prefix": "m/",
        "maxResults": "5000",
        "projection": "noAcl",
        "fields": "items(name,size,generation,crc32c,md5Hash,contentEncoding),nextPageToken",
    }
    assert second.query == {**first.query, "pageToken": "next"}
    assert first.port == second.port
    assert "authorization" not in first.headers


def test_a_listing_that_repeats_itself_or_brings_nothing_ends(monkeypatch):
    monkeypatch.setattr(gcs, "EMPTY_PAGES", 3)
    tokens = map(str, itertools.count())
    for page in (lambda _: listing("digits/1/a", token="same"), lambda _: listing(token=next(tokens))):
        with TinyServer(page) as server:
            repository = open_repository("gs://bucket", Access(gcs_endpoint=server.url))
            with pytest.raises(SourceUnavailable, match="never ends its listing"):
                repository.list_models()
    assert next(tokens) == "3"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"items":[{}]}',
        b'{"items":{}}',
        b'{"items":[{"name":"a","size":"x","generation":"1"}]}',
        b'{"items":[{"name":"a","size":"-1","generation":"1"}]}',
        b'{"items":[{"name":7,"size":"1","generation":"1"}]}',
        b'{"items":[{"name":"a","size":"1","generation":"1","crc32c":"!"}]}',
    ],
)
def test_an_answer_that_is_no_listing_is_not_believed(body):
    with TinyServer(lambda _: Reply(200, body)) as server:
        repository = open_repository("gs://bucket", Access(gcs_endpoint=server.url))
        with pytest.raises(SourceUnavailable, match="not a listing"):
            repository.list_models()


def test_a_refusal_shows_the_words_of_the_server():
    words = "Anonymous caller does not have storage.objects.list access to the bucket."
    body = f'{{"error":{{"code":403,"message":"{words}\\nand more"}}}}'.encode()
    with TinyServer(lambda _: Reply(403, body)) as server:
        repository = open_repository("gs://bucket", Access(gcs_endpoint=server.url))
        with pytest.raises(SourceForbidden, match=r"answers 403 Forbidden \(Anonymous caller .* bucket\.\)") as caught:
            repository.list_models()
    assert "and more" not in caught.value.problem
    assert len(server.asked) == 1


@pytest.mark.usefixtures("hurried")
def test_a_refusal_for_asking_too_often_is_waited_out():
    limited = Reply(403, b'{"error":{"message":"slow","errors":[{"reason":"userRateLimitExceeded"}]}}')
    replies = iter([limited, limited, listing("digits/1/a")])
    with TinyServer(lambda _: next(replies)) as server:
        repository = open_repository("gs://bucket", Access(gcs_endpoint=server.url))
        assert repository.list_models() == {"digits": (1,)}


def test_another_generation_than_the_listed_one_is_not_used():
    def reply(asked):
        if asked.query.get("alt") != "media":
            return listing("digits/1/a")
        assert asked.query["generation"] == "7"
        return Reply(200, b"x", {"X-Goog-Generation": "8"})

    with TinyServer(reply) as server:
        repository = open_repository("gs://bucket", Access(gcs_endpoint=server.url))
        (obj,) = repository.objects("digits", 1)
        with pytest.raises(SourceChanged):
            read(repository, "digits", 1, obj)
