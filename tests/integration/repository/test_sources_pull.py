"""Models with sources of their own on their way to the disk: through the engine, archives unpacked."""

from __future__ import annotations

import hashlib
import os
import time

import pytest
from modelfleet import pull
from modelfleet.adapters.access import Access
from modelfleet.adapters.sources import Sources, SourcesRepository
from modelfleet.locations import Location
from modelfleet.specs import Manifest, Spec, Versions
from modelfleet.store import Store

from tests.support.archives import tar_of, zip_of
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.file_server import File, FileServer

MEBI = 1 << 20
WEIGHTS = os.urandom(5 * MEBI // 4).hex().encode()
MODEL = {"saved_model.pb": b"graph", "assets/weights.bin": WEIGHTS}


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def tgz_of(files):
    return tar_of(files, "w:gz")


def pulled(store, uris, retries=3, **settings):
    """Pull each model's newest version; return the report."""
    sources = Sources(Access(read_timeout_s=5))
    manifest = Manifest(
        "definitions",
        models={model: Spec(versions=Versions(latest=1)) for model in uris},
        locations={model: Location(uri) for model, uri in uris.items()},
    )
    repository = SourcesRepository(manifest.locations, store.origins, sources, "definitions")
    quick = pull.PullSettings(first_retry_s=0.01, max_retry_s=0.05, retries=retries, **settings)
    _, report = pull.converge(manifest, repository, store, "node-1", quick)
    sources.close()
    return report


def on_disk(store, model="m", version=1):
    top = store.root / model / str(version)
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def versions(store, model="m"):
    return {number: item.receipt.source for number, item in store.scan().get(model, {}).items() if item.complete}


@pytest.mark.parametrize("pack", [tgz_of, zip_of])
@pytest.mark.parametrize("ranges", [True, False])
def test_an_archive_becomes_a_version(server, store, pack, ranges):
    name = "m.zip" if pack is zip_of else "m.tgz"
    server.files[f"/{name}"] = File(pack([(f"m/1/{path}", content) for path, content in MODEL.items()]), ranges=ranges)
    uri = f"{server.url}/{name}"
    report = pulled(store, {"m": uri}, segment_bytes=MEBI)
    assert (report.refused, on_disk(store), versions(store)) == ((), MODEL, {1: uri})
    # Nothing is asked for twice.
    asked = server.count("GET")
    assert asked == (2 if ranges else 1)
    assert pulled(store, {"m": uri}).pulled == ()
    assert server.count("GET") == asked


def test_a_hash_in_the_url_is_held_against_the_archive(server, store):
    data = zip_of(MODEL.items())
    server.files["/m.zip"] = File(data)
    wrong = pulled(store, {"m": f"{server.url}/m.zip#sha256={'0' * 64}"})
    assert [item.error.code for item in wrong.refused] == ["DIGEST_MISMATCH"]
    assert not (store.root / "m").exists()
    right = pulled(store, {"m": f"{server.url}/m.zip#sha256={hashlib.sha256(data).hexdigest()}"})
    assert (right.refused, on_disk(store)) == ((), MODEL)


def test_an_archive_that_was_damaged_on_its_way_is_never_published_and_pulled_again_later(server, store):
    data = zip_of(MODEL.items())
    server.files["/m.zip"] = File(data)
    with FaultyProxy(server.url) as way:
        damage = way.add(Fault(path="m.zip", method="GET", corrupt=len(data) // 2))
        uri = f"{way.url}/m.zip"
        (refused,) = pulled(store, {"m": uri}).refused
        assert refused.error.code == "DIGEST_MISMATCH"
        assert not (store.root / "m").exists()
        way.remove(damage)
        eventually(lambda: pulled(store, {"m": uri}).refused == ())
    assert on_disk(store) == MODEL


def eventually(reached, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"../saved_model.pb": b"x"}, "INVALID"),
        ({"1/saved_model.pb": b"x", "2/saved_model.pb": b"y"}, "INVALID"),
        ({"model.joblib": b"x"}, "INCOMPLETE"),
    ],
)
def test_an_archive_that_is_no_version_is_refused_and_replaced_when_it_is_mended(server, store, files, code):
    server.files["/m.zip"] = File(zip_of(files.items()))
    (refused,) = pulled(store, {"m": f"{server.url}/m.zip"}).refused
    assert refused.error.code == code
    assert not (store.root / "m").exists()
    server.files["/m.zip"] = File(zip_of(MODEL.items()))
    assert pulled(store, {"m": f"{server.url}/m.zip"}).refused == ()
    assert on_disk(store) == MODEL


def test_an_archive_that_would_fill_the_disk_is_refused(server, store, tmp_path):
    server.files["/m.zip"] = File(zip_of([("saved_model.pb", bytes(50 * MEBI))]))
    free = store.free_bytes()
    (refused,) = pulled(store, {"m": f"{server.url}/m.zip"}, headroom_bytes=free - 20 * MEBI).refused
    assert refused.error.code == "NO_SPACE"
    assert not (store.root / "m").exists()


def test_a_changed_source_comes_as_a_new_version_and_the_old_one_stays(server, store, tmp_path):
    (tmp_path / "shelf" / "0004").mkdir(parents=True)
    (tmp_path / "shelf" / "0004" / "saved_model.pb").write_bytes(b"four")
    server.files["/m.zip"] = File(zip_of(MODEL.items()))
    first, second = f"{server.url}/m.zip", (tmp_path / "shelf").as_uri()
    for uri in (first, second, first, second):
        assert pulled(store, {"m": uri}).refused == ()
    assert versions(store) == {1: first, 5: f"{second}/0004"}
    assert on_disk(store, version=5) == {"saved_model.pb": b"four"}
    assert server.count("GET") == 1


def test_one_failing_model_does_not_stop_the_others(server, store):
    server.files["/a.zip"] = File(zip_of(MODEL.items()))
    server.files["/b.zip"] = File(b"<html>", secret="Bearer s3cret")
    report = pulled(store, {"a": f"{server.url}/a.zip", "b": f"{server.url}/b.zip", "c": "pvc://claim/c"})
    assert [(item.model, item.version) for item in report.pulled] == [("a", 1)]
    assert {item.model: item.error.code for item in report.refused} == {"b": "FORBIDDEN", "c": "INVALID"}
