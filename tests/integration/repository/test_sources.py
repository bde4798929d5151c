"""Models that each have a source of their own: in directories, in real buckets of both kinds, on HTTP servers."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import pytest
from modelfleet.adapters import source_keys
from modelfleet.adapters import sources as sources_module
from modelfleet.adapters.access import Access
from modelfleet.adapters.sources import Sources, SourcesRepository
from modelfleet.errors import (
    InvalidInput,
    ModelfleetError,
    SourceChanged,
    SourceForbidden,
    SourceNotFound,
    SourceUnavailable,
)
from modelfleet.locations import Location
from modelfleet.waiting import Clock

from tests.support.file_server import File, FileServer
from tests.support.s3_server import running_s3_server

pytestmark = pytest.mark.usefixtures("credentials_of_anybody")

_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3_server():
    with running_s3_server(page_size=10) as running:
        yield running


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture
def access(gcs_server, s3_server):
    return Access(gcs_endpoint=gcs_server.endpoint, s3_endpoint=s3_server.url, read_timeout_s=20)


@pytest.fixture
def sources(access):
    made = Sources(access, clock=Clock(sleep=lambda _seconds: None))
    yield made
    made.close()


class Shelf:
    """A place to put files, the same in a directory and in a bucket of either kind."""

    def __init__(self, top, put, delete):
        self.top, self._put, self.delete = top, put, delete

    def put(self, *keys, content=b"model"):
        for key in keys:
            self._put(key, content)

    def put_model(self, *folders):
        for folder in folders:
            self.put(f"{folder}/saved_model.pb", content=folder.encode())
            self.put(f"{folder}/variables/variables.index", content=b"index")


@pytest.fixture
def new_shelf(request, tmp_path):
    def make(kind):
        if kind == "gs":
            bucket = request.getfixturevalue("gcs_server").bucket(f"shelf-{next(_numbers)}")
            return Shelf(bucket.uri, bucket.put, bucket.delete)
        if kind == "s3":
            server, name = request.getfixturevalue("s3_server"), f"shelf-{next(_numbers)}"
            client = server.client()
            client.create_bucket(Bucket=name)
            return Shelf(
                f"s3://{name}",
                lambda key, content: client.put_object(Bucket=name, Key=key, Body=content),
                lambda key: client.delete_object(Bucket=name, Key=key),
            )
        top = tmp_path / "shelf"

        def put(key, content):
            (top / key).parent.mkdir(parents=True, exist_ok=True)
            (top / key).write_bytes(content)

        return Shelf(top.as_uri(), put, lambda key: (top / key).unlink())

    return make


@pytest.fixture(params=["gs", "s3", "file"])
def shelf(request, new_shelf):
    return new_shelf(request.param)


@pytest.fixture(params=["gs", "s3"])
def bucket_shelf(request, new_shelf):
    return new_shelf(request.param)


def repository(sources, uris, stored=None):
    locations = {model: uri if isinstance(uri, Location) else Location(str(uri)) for model, uri in uris.items()}
    return SourcesRepository(locations, lambda model: (stored or {}).get(model, {}), sources, "/definitions")


def content(found, model, version, obj):
    buffer, result = memoryview(bytearray(1000)), b""
    with found.open(model, version, obj) as source:
        while count := source.readinto(buffer):
            result += bytes(buffer[:count])
    return result


def files(found, model, version):
    return {obj.path: content(found, model, version, obj) for obj in found.objects(model, version)}


def model_of(folder):
    return {"saved_model.pb": folder.encode(), "variables/variables.index": b"index"}


def error_of(found, model, version=1):
    with pytest.raises(ModelfleetError) as error:
        found.objects(model, version)
    return error.value


@pytest.mark.parametrize("end", ["", "/"])
def test_a_directory_of_versions(sources, shelf, end):
    shelf.put_model("flowers/1", "flowers/0002", "flowers/0010", "flowers-hf/7")
    shelf.put("flowers/README", "flowers/export/notes", "flowers/.hidden/3/saved_model.pb")
    found = repository(sources, {"m": f"{shelf.top}/flowers{end}"})
    assert found.list_models() == {"m": (1, 2, 10)}
    assert files(found, "m", 2) == model_of("flowers/0002")
    assert [found.origin("m", number) for number in (1, 2, 10)] == [
        f"{shelf.top}/flowers/{name}" for name in ("1", "0002", "0010")
    ]
    assert (found.uri, found.read_text("fleet.json"), found.problems) == ("/definitions", None, {})


def test_the_files_of_one_version(sources, shelf):
    shelf.put_model("flowers", "flowers-hf/7")
    shelf.put("flowers/assets.extra/1/words")
    found = repository(sources, {"m": f"{shelf.top}/flowers"})
    assert found.list_models() == {"m": (1,)}
    assert files(found, "m", 1) == {**model_of("flowers"), "assets.extra/1/words": b"model"}
    assert found.origin("m", 1) == f"{shelf.top}/flowers"


@pytest.mark.parametrize(
    ("name", "kind"), [("model.conf", ""), ("m.tar.gz", "tar"), ("m.zip", "zip"), ("saved_model.pb", "")]
)
def test_a_single_object(sources, shelf, name, kind):
    shelf.put(f"conf/{name}", content=b"content")
    shelf.put(f"conf/{name}.bak", "conf/a", f"conf-more/{name}")
    found = repository(sources, {"m": f"{shelf.top}/conf/{name}"})
    assert found.list_models() == {"m": (1,)}
    (obj,) = found.objects("m", 1)
    assert (obj.path, obj.size, obj.archive) == (name, 7, kind)
    assert found.objects("m", 1, fresh=True) == (obj,)
    assert content(found, "m", 1, obj) == b"content"
    assert found.origin("m", 1) == f"{shelf.top}/conf/{name}"
    shelf.delete(f"conf/{name}")
    with pytest.raises(SourceNotFound):
        found.objects("m", 1, fresh=True)


def test_a_file_that_changed_is_not_read_as_the_listed_one(sources, shelf):
    shelf.put_model("flowers")
    found = repository(sources, {"m": f"{shelf.top}/flowers"})
    listed = found.objects("m", 1)
    shelf.put("flowers/saved_model.pb", content=b"another")
    with pytest.raises(SourceChanged):
        content(found, "m", 1, listed[0])
    assert found.objects("m", 1) == (listed if shelf.top[:4] != "file" else found.objects("m", 1))
    assert found.objects("m", 1, fresh=True) != listed


def test_two_spellings_of_a_number_are_refused(sources, shelf):
    shelf.put_model("flowers/1", "flowers/0001")
    found = repository(sources, {"m": f"{shelf.top}/flowers"})
    assert found.list_models() == {"m": (1,)}
    error = error_of(found, "m")
    assert isinstance(error, InvalidInput)
    assert "has both 0001 and 1 at" in error.problem


def test_a_model_that_holds_versions_and_is_one_is_refused(sources, shelf):
    shelf.put_model("flowers", "flowers/3")
    error = error_of(repository(sources, {"m": f"{shelf.top}/flowers"}), "m")
    assert isinstance(error, InvalidInput)
    assert "another one below it in 3" in error.problem


@pytest.mark.parametrize("key", ["other/1/saved_model.pb", "flowers-hf/1/saved_model.pb"])
def test_a_source_with_nothing_in_it_is_not_found(sources, shelf, key):
    shelf.put(key)
    found = repository(sources, {"m": f"{shelf.top}/flowers"})
    error = error_of(found, "m")
    assert isinstance(error, SourceNotFound)
    assert error.problem == f"has nothing at {shelf.top}/flowers"
    assert found.problems == {"m": error}


def test_folder_markers_are_no_files(sources, bucket_shelf):
    bucket_shelf.put("flowers/", "flowers/7/", "flowers/8_$folder$", content=b"")
    found = repository(sources, {"m": f"{bucket_shelf.top}/flowers"})
    assert isinstance(error_of(found, "m"), SourceNotFound)
    bucket_shelf.put_model("flowers/1")
    assert repository(sources, {"m": f"{bucket_shelf.top}/flowers"}).list_models() == {"m": (1,)}


def test_only_versions_that_count_are_listed_and_a_missing_one_is_named(sources, shelf):
    shelf.put_model("flowers/1", "flowers/2", "flowers/3")
    stored = {"m": {7: "gs://elsewhere/7"}}
    found = repository(sources, {"m": Location(f"{shelf.top}/flowers", (2, 5))}, stored)
    assert found.list_models() == {"m": (9, 12)}
    assert files(found, "m", 9) == model_of("flowers/2")
    error = error_of(found, "m", 12)
    assert isinstance(error, SourceNotFound)
    assert error.one_line().startswith(f"model m version 12: is version 5 of {shelf.top}/flowers, which does not")
    assert "(versions there: 1, 2, 3)" in error.problem
    assert not found.problems


def test_a_change_of_the_source_gives_new_numbers_and_going_back_the_old_ones(sources, shelf):
    shelf.put_model("a/1", "a/2", "b/0001", "c")
    stored = {"m": {}}

    def numbers(name):
        found = repository(sources, {"m": f"{shelf.top}/{name}"}, stored)
        listed = found.list_models()["m"]
        stored["m"] |= {number: found.origin("m", number) for number in listed}
        return listed

    assert [numbers(name) for name in "abcbac"] == [(1, 2), (3,), (4,), (3,), (1, 2), (4,)]
    assert len(stored["m"]) == 4


def test_neighbours_of_a_failing_source_go_on(sources, server, tmp_path):
    (tmp_path / "fine" / "3").mkdir(parents=True)
    (tmp_path / "fine" / "3" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "secret").mkdir()
    server.files["/secret.zip"] = File(b"x", secret="Bearer s3cret")
    uris = {
        "fine": tmp_path / "fine",
        "volume": "pvc://claim/model",
        "word": "flowers",
        "host": "file://elsewhere/m",
        "query": "file:///m?x=1",
        "bucket": "gs://NO/m",
        "keys": "s3://me:s3cret@bucket/m",
        "token": "gs://me:s3cret@bucket/m",
        "bracket": "file://[m",
        "zero": "file:///m%00",
        "nobucket": "s3://no-such-bucket/m",
        "gone": f"{server.url}/gone.zip",
        "secret": f"{server.url}/secret.zip",
        "password": "ftp://me:s3cret@host/x",
        "refused": "http://127.0.0.1:9/m.zip",
    }
    found = repository(sources, uris, {"gone": {4: "gs://b/other", 5: ""}})
    assert found.list_models() == {**dict.fromkeys(uris, (1,)), "fine": (3,), "gone": (6,)}
    assert files(found, "fine", 3) == {"saved_model.pb": b"x"}
    kinds = {name: type(error_of(found, name, 6 if name == "gone" else 1)) for name in uris if name != "fine"}
    assert kinds == {
        **dict.fromkeys(
            ["volume", "word", "host", "query", "bucket", "keys", "token", "bracket", "zero", "password"], InvalidInput
        ),
        **dict.fromkeys(["nobucket", "gone"], SourceNotFound),
        "secret": SourceForbidden,
        "refused": SourceUnavailable,
    }
    assert found.problems.keys() == uris.keys() - {"fine"}
    assert "pvc://… cannot be read; give gs://" in found.problems["volume"].one_line().replace(": ", " ")
    assert all("s3cret" not in error.one_line() for error in found.problems.values())


def test_a_model_without_a_definition_has_no_source(sources, tmp_path):
    with pytest.raises(SourceNotFound, match="has no source in /definitions"):
        repository(sources, {"m": tmp_path}).objects("other", 1)
    assert repository(sources, {}).list_models() == {}


def test_a_source_that_does_not_answer_now_is_what_it_was(sources, server):
    server.files["/m.zip"] = File(b"content")
    uris = {"m": f"{server.url}/m.zip"}
    (listed,) = repository(sources, uris).objects("m", 1)
    served, server.files["/m.zip"] = server.files["/m.zip"], File(to="/m.zip")  # for ever
    found = repository(sources, uris)
    assert (found.list_models(), found.objects("m", 1)) == ({"m": (1,)}, (listed,))
    assert isinstance(found.problems["m"], SourceUnavailable)
    with pytest.raises(SourceUnavailable):
        found.objects("m", 1, fresh=True)
    server.files["/m.zip"] = served
    again = repository(sources, uris)
    assert (again.list_models(), again.problems) == ({"m": (1,)}, {})
    del server.files["/m.zip"]
    assert isinstance(error_of(repository(sources, uris), "m"), SourceNotFound)


def test_a_failing_source_of_which_versions_are_on_disk_keeps_their_numbers(sources, server):
    stored = {"m": {1: "gs://b/other", 2: f"{server.url}/m.zip"}}
    found = repository(sources, {"m": f"{server.url}/m.zip"}, stored)
    assert found.list_models() == {"m": (2,)}
    assert isinstance(error_of(found, "m", 2), SourceNotFound)


def test_a_host_that_hangs_does_not_hold_up_the_others(access, server, tmp_path):
    server.files["/m.zip"] = File(b"x", hang=threading.Event())
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"x")
    sources = Sources(replace(access, read_timeout_s=1), patience_s=0.3)
    found = repository(sources, {"hung": f"{server.url}/m.zip", "fine": tmp_path / "m"})
    assert found.list_models() == {"hung": (1,), "fine": (1,)}
    assert "has not answered for 0.3 s" in error_of(found, "hung").problem
    server.files["/m.zip"].hang.set()
    sources.close()


def test_archives_and_files_on_http_servers(sources, server):
    server.files["/m.tar.gz?key=k3y"] = File(b"content")
    server.files["/model.tflite"] = File(b"lite")
    found = repository(sources, {"a": f"{server.url}/m.tar.gz?key=k3y", "b": f"{server.url}/model.tflite"})
    assert found.list_models() == {"a": (1,), "b": (1,)}
    assert files(found, "a", 1) == {"m.tar.gz": b"content"}
    assert found.objects("a", 1)[0].archive == "tar"
    assert files(found, "b", 1) == {"model.tflite": b"lite"}
    assert "k3y" not in found.origin("a", 1)


def test_links_of_directories_are_followed_to_where_they_may_lead(sources, tmp_path):
    (tmp_path / "real" / "1").mkdir(parents=True)
    (tmp_path / "real" / "1" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = repository(sources, {"m": tmp_path / "link"})
    assert files(found, "m", 1) == {"saved_model.pb": b"x"}
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "real" / "1" / "assets").symlink_to(tmp_path / "secret")
    assert isinstance(error_of(repository(sources, {"m": tmp_path / "link"}), "m"), SourceForbidden)


def test_a_source_that_is_far_more_than_a_model_is_refused(sources, bucket_shelf, monkeypatch):
    monkeypatch.setattr(source_keys, "OBJECT_LIMIT", 3)
    bucket_shelf.put("a/1", "a/2", "a/3", "a/4")
    error = error_of(repository(sources, {"m": bucket_shelf.top}), "m")
    assert isinstance(error, InvalidInput)
    assert error.problem == f"has more than 3 objects at {bucket_shelf.top}"


class Counted:
    """A bucket that counts how often it is listed, and how many keys that took."""

    def __init__(self, store):
        self.store, self.listings, self.keys = store, 0, 0
        self.uri, self.open, self.close = store.uri, store.open, store.close

    def list(self, prefix):
        self.listings += 1
        for entry in self.store.list(prefix):
            self.keys += 1
            yield entry


def counted(sources, shelf):
    sources.place(shelf.top)
    store = sources._stores[shelf.top] = Counted(sources._stores[shelf.top])
    return store


def test_models_side_by_side_in_a_bucket_are_listed_together(sources, bucket_shelf, monkeypatch):
    bucket_shelf.put_model("all/a/1", "all/a/02", "all/b", "all/c/1", "all/c/01", "all/d/7", "all/d", "all/a-hf/1")
    bucket_shelf.put("all/z/", "all/z/1/", content=b"")
    bucket_shelf.put("all/m.zip", "all/m.zip.bak", "all/n", "all/n.tar", "all/n.tar/1/saved_model.pb", "all/e/1/../x")
    names = ["a", "b", "c", "d", "e", "m.zip", "n", "n.tar", "z", "none"]
    uris = {name.replace(".", "_"): f"{bucket_shelf.top}/all/{name}" for name in names}

    def seen(found):
        result = {}
        for model, numbers in found.list_models().items():
            for number in numbers:
                try:
                    result[model, number] = (found.origin(model, number), found.objects(model, number))
                except ModelfleetError as error:
                    result[model, number] = error.one_line()
        return result

    store = counted(sources, bucket_shelf)
    together = seen(repository(sources, uris))
    assert store.listings == 1
    monkeypatch.setattr(sources_module, "GROUP", 100)
    assert seen(repository(sources, uris)) == together
    assert store.listings > len(uris)
    assert [key for key, value in together.items() if isinstance(value, tuple)] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("m_zip", 1),
        ("n", 1),
        ("n_tar", 1),
    ]


def test_a_folder_with_much_else_is_not_listed_as_a_whole_each_time(sources, bucket_shelf, monkeypatch):
    monkeypatch.setattr(source_keys, "OTHER_OBJECTS", 3)
    monkeypatch.setattr(source_keys, "OBJECTS_OF_MODEL", 1)
    bucket_shelf.put(
        *(f"all/{number}" for number in range(20)), *(f"all/m{number}/saved_model.pb" for number in range(6))
    )
    uris = {f"m{number}": f"{bucket_shelf.top}/all/m{number}" for number in range(6)}
    store = counted(sources, bucket_shelf)
    for listings, keys in ((7, 9 + 1 + 6), (13, 9 + 1 + 12)):
        found = repository(sources, uris)
        assert found.list_models() == dict.fromkeys(uris, (1,))
        assert (found.problems, store.listings, store.keys) == ({}, listings, keys)


def test_models_of_one_server_share_few_connections(sources, server):
    uris = {f"m{number}": f"{server.url}/{number}.zip" for number in range(60)}
    for number in range(60):
        server.files[f"/{number}.zip"] = File(b"x" * (number + 1))
    found = repository(sources, uris)
    assert found.list_models() == dict.fromkeys(sorted(uris), (1,))
    assert [found.objects(f"m{number}", 1)[0].size for number in range(60)] == list(range(1, 61))
    assert (len(server.asked), server.count("HEAD")) == (60, 60)
    assert server.connections <= 8
