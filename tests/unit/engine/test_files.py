"""Repositories in directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from modelfleet.adapters.files import FilesRepository
from modelfleet.adapters.opening import open_repository
from modelfleet.errors import InvalidInput, SourceChanged, SourceForbidden, SourceIncomplete, SourceNotFound
from modelfleet.small_files import SIZE_LIMIT


@pytest.fixture
def root(tmp_path):
    top = tmp_path / "repository"
    put(top / "digits" / "1" / "saved_model.pb", b"one")
    put(top / "digits" / "1" / "assets" / ".vocabulary", b"words")
    put(top / "digits" / "10" / "saved_model.pb", b"ten")
    return top


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def content(repository, model, version, obj):
    buffer = memoryview(bytearray(2))
    result = b""
    with repository.open(model, version, obj) as source:
        while count := source.readinto(buffer):
            result += bytes(buffer[:count])
    return result


def test_models_and_versions_are_listed_and_everything_else_is_not(root):
    strays = "digits/probe.json digits/.hidden/x digits/011/x digits/+3/x digits/3.tmp/x digits/0/x"
    for stray in [*strays.split(), ".git/1/x", "fleet.history/1.json", "fleet.json"]:
        put(root / stray, b"{}")
    put(root / "digits" / "7", b"a file, not a version")
    put(root / "odd name" / "1" / "saved_model.pb", b"x")
    (root / "empty").mkdir()
    assert FilesRepository(root).list_models() == {"digits": (1, 10), "empty": (), "odd name": (1,)}


def test_objects_carry_path_size_and_generation_and_can_be_read(root):
    repository = FilesRepository(root)
    objects = repository.objects("digits", 1)
    assert [(obj.path, obj.size, obj.crc32c) for obj in objects] == [
        ("assets/.vocabulary", 5, None),
        ("saved_model.pb", 3, None),
    ]
    assert [content(repository, "digits", 1, obj) for obj in objects] == [b"words", b"one"]


@pytest.mark.parametrize("how", ["touch", "replace", "append"])
def test_a_changed_file_is_another_generation(root, how):
    repository, path = FilesRepository(root), root / "digits" / "1" / "saved_model.pb"
    before = repository.objects("digits", 1)
    if how == "touch":
        os.utime(path, (1, 1))
    elif how == "replace":
        stamp = path.stat().st_mtime_ns
        put(root / "fresh", b"two")
        os.utime(root / "fresh", ns=(stamp, stamp))
        (root / "fresh").replace(path)
    else:
        path.write_bytes(b"longer")
    assert repository.objects("digits", 1) != before
    with pytest.raises(SourceChanged):
        content(repository, "digits", 1, before[1])


@pytest.mark.parametrize("how", ["rewrite", "same times", "replace", "delete"])
def test_a_change_during_reading_is_noticed_at_the_end(root, how):
    repository, path = FilesRepository(root), root / "digits" / "1" / "saved_model.pb"
    obj = repository.objects("digits", 1)[1]
    with (  # noqa: PT012  (the error comes when the block ends)
        pytest.raises(SourceChanged, match="changed in the repository"),
        repository.open("digits", 1, obj) as source,
    ):
        source.readinto(memoryview(bytearray(1)))
        if how == "delete":
            path.unlink()
        elif how == "replace":
            put(root / "fresh", b"two")
            (root / "fresh").replace(path)
        else:
            stamp = path.stat().st_mtime_ns
            path.write_bytes(b"two")
            os.utime(path, ns=(stamp, stamp) if how == "same times" else (1, 1))


def test_symbolic_links_are_followed_inside_of_the_repository_only(root, tmp_path):
    repository = FilesRepository(root)
    put(root / "blobs" / "shared" / "saved_model.pb", b"shared")
    (root / "digits" / "2").symlink_to(root / "blobs" / "shared")
    assert [obj.path for obj in repository.objects("digits", 2)] == ["saved_model.pb"]
    put(tmp_path / "secret" / "saved_model.pb", b"secret")
    (root / "digits" / "3").symlink_to(tmp_path / "secret")
    (root / "digits" / "1" / "assets" / "key").symlink_to(tmp_path / "secret" / "saved_model.pb")
    (root / "thief").symlink_to(tmp_path)
    put(tmp_path / "4" / "saved_model.pb", b"secret")
    for model, version in (("digits", 3), ("digits", 1), ("thief", 4)):
        with pytest.raises(SourceForbidden, match="leads out of the repository"):
            repository.objects(model, version)


def test_what_is_not_a_file_makes_a_version_incomplete(root):
    repository = FilesRepository(root)
    os.mkfifo(root / "digits" / "1" / "pipe")
    with pytest.raises(SourceIncomplete, match="pipe is neither"):
        repository.objects("digits", 1)
    (root / "digits" / "10" / "gone").symlink_to("nowhere")
    with pytest.raises(SourceIncomplete, match="gone vanished"):
        repository.objects("digits", 10)
    put(root / "digits" / "11" / "saved_model.pb", b"x")
    (root / "digits" / "11" / "round").symlink_to("..", target_is_directory=True)
    (root / "digits" / "11" / "self").symlink_to(".", target_is_directory=True)
    with pytest.raises(SourceIncomplete, match="leads back"):
        repository.objects("digits", 11)


def test_missing_things_are_named(root, tmp_path):
    with pytest.raises(SourceNotFound, match="model digits version 9"):
        FilesRepository(root).objects("digits", 9)
    missing = FilesRepository(tmp_path / "missing")
    with pytest.raises(SourceNotFound, match="missing"):
        missing.list_models()
    with pytest.raises(SourceNotFound, match="missing"):
        missing.read_text("fleet.json")
    with pytest.raises(InvalidInput):
        FilesRepository(root).objects("../digits", 1)


def test_a_version_of_more_files_than_are_kept_in_mind_is_refused(root, monkeypatch):
    monkeypatch.setattr("modelfleet.adapters.files.FILES_LIMIT", 1)
    assert len(FilesRepository(root).objects("digits", 10)) == 1
    with pytest.raises(SourceIncomplete, match="holds more than 1 files"):
        FilesRepository(root).objects("digits", 1)


def test_files_may_lie_deep_but_not_without_end(root):
    put(root / "digits" / "10" / Path(*"d" * 63) / "x", b"x")
    assert len(FilesRepository(root).objects("digits", 10)) == 2
    put(root / "digits" / "10" / Path(*"d" * 100) / "x", b"x")
    with pytest.raises(SourceIncomplete, match="lies too deep"):
        FilesRepository(root).objects("digits", 10)


def test_small_texts_are_read(root):
    repository = FilesRepository(root)
    assert repository.read_text("fleet.json") is None
    put(root / "fleet.json", '{"é": 1}'.encode())
    assert repository.read_text("fleet.json") == '{"é": 1}'
    put(root / "bad", b"\xff")
    for name in ("bad", "../x", "/etc/passwd", ""):
        with pytest.raises(InvalidInput):
            repository.read_text(name)
    (root / "out").symlink_to("/etc/passwd")
    with pytest.raises(SourceForbidden):
        repository.read_text("out")


def test_a_text_that_is_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "fleet.json")
    with pytest.raises(SourceForbidden, match="it is no regular file"):
        FilesRepository(root).read_text("fleet.json")


def test_a_text_larger_than_any_manifest_is_not_read(root):
    with (root / "fleet.json").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    with pytest.raises(InvalidInput, match="is larger than"):
        FilesRepository(root).read_text("fleet.json")


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_directory_is_opened_by_path_or_uri(root, form):
    uri = form.format(root)
    repository = open_repository(uri)
    assert repository.uri == uri
    assert repository.list_models() == {"digits": (1, 10)}


def test_escapes_of_a_uri_are_understood(tmp_path):
    put(tmp_path / "a b" / "digits" / "1" / "saved_model.pb", b"x")
    assert open_repository(f"file://{tmp_path}/a%20b").list_models() == {"digits": (1,)}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs:///models", "names no bucket"),
        ("gs://UPPER/models", "not the name of a bucket"),
        ("gs:bucket/models", "names no bucket"),
        ("ftp://host/models", "not a URI"),
        ("models", "not a URI"),
        ("", "not a URI"),
        ("file://host/models", "this machine"),
        ("file:models", "this machine"),
        ("file:///models%00", "this machine"),
        ("file://[models", "not a URI"),
        ("s3://[models", "not a URI"),
    ],
)
def test_what_cannot_be_opened_says_so(uri, words):
    with pytest.raises(InvalidInput, match=words):
        open_repository(uri)
