"""Models on their way from a real S3 server to the disk."""

import hashlib
from contextlib import closing

import pytest
from modelfleet import pull
from modelfleet.adapters.access import Access
from modelfleet.adapters.object_store import ObjectStoreRepository
from modelfleet.adapters.s3 import S3Store, s3_transport
from modelfleet.manifest import track
from modelfleet.store import Store

from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.s3_server import Told, played_s3, running_s3_server

pytestmark = pytest.mark.usefixtures("credentials_of_anybody")

MEBI = 1 << 20
GRAPH = b"graph" * 300_000
WEIGHTS = bytes(range(256)) * (5 * MEBI // 256)


@pytest.fixture(scope="module")
def server():
    with running_s3_server() as running:
        running.put("models", {"m/1/saved_model.pb": GRAPH, "m/1/assets/weights.bin": WEIGHTS})
        yield running


@pytest.fixture
def way(server):
    with FaultyProxy(server.url) as proxy:
        yield proxy


def pulled(url, folder, retries=2, **settings):
    """Pull everything from the bucket; return the store and the report."""
    access = Access(s3_endpoint=url)
    with closing(s3_transport(access)) as transport:
        repository = ObjectStoreRepository(S3Store("models", access, transport))
        store = Store(folder / "store")
        quick = pull.PullSettings(first_retry_s=0.01, retries=retries, **settings)
        _, report = pull.converge(track(), repository, store, "node-1", quick)
        return store, report


def on_disk(store):
    version = store.root / "m" / "1"
    return {str(path.relative_to(version)): path.read_bytes() for path in version.rglob("*") if path.is_file()}


@pytest.mark.parametrize("segment_bytes", [MEBI, 64 * MEBI])
def test_a_version_arrives_whole_in_one_piece_or_many(way, tmp_path, segment_bytes):
    store, report = pulled(way.url, tmp_path, segment_bytes=segment_bytes)
    assert not report.refused
    assert on_disk(store) == {"saved_model.pb": GRAPH, "assets/weights.bin": WEIGHTS}


@pytest.mark.parametrize("segment_bytes", [MEBI, 64 * MEBI])
def test_a_byte_that_was_damaged_on_the_way_is_noticed_and_read_again(way, tmp_path, segment_bytes):
    damage = way.add(Fault(path="weights.bin", corrupt=2 * MEBI + 7, times=1))
    store, report = pulled(way.url, tmp_path, segment_bytes=segment_bytes)
    assert damage.hits == 1
    assert not report.refused
    assert on_disk(store)["assets/weights.bin"] == WEIGHTS
    (one,) = report.pulled
    assert one.read >= one.bytes + len(WEIGHTS)


def test_an_object_that_always_arrives_damaged_is_never_published(way, tmp_path):
    way.add(Fault(path="saved_model.pb", corrupt=7))
    store, report = pulled(way.url, tmp_path, retries=1)
    (refused,) = report.refused
    assert refused.error.code == "DIGEST_MISMATCH"
    assert hashlib.md5(GRAPH, usedforsecurity=False).hexdigest() in refused.error.problem
    assert not (store.root / "m" / "1").exists()


def test_an_object_encrypted_by_a_key_of_its_own_is_not_measured_by_its_tag(tmp_path):
    tag = '"' + "5" * 32 + '"'
    page = (
        f"<ListBucketResult><Contents><Key>m/1/saved_model.pb</Key><Size>5</Size><ETag>{tag}</ETag></Contents>"
        "</ListBucketResult>"
    )

    def answer(asked):
        if "list-type" in asked.path:
            return Told(200, page.encode() if "fleet" not in asked.path else b"")
        if asked.path.endswith("saved_model.pb"):
            return Told(200, b"model", {"ETag": tag, "x-amz-server-side-encryption": "aws:kms"})
        return Told(404)

    with played_s3(answer) as played:
        store, report = pulled(played.url, tmp_path)
    assert not report.refused
    assert on_disk(store) == {"saved_model.pb": b"model"}
