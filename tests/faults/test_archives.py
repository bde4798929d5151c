"""Archives behind a server of files: what a broken way and a killed puller do to them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.sources import Sources, SourcesRepository
from modelfleet.locations import Location

from tests.support.archives import tar_of
from tests.support.faulty_proxy import Fault, FaultyProxy
from tests.support.file_server import File, FileServer
from tests.support.pull_lab import MIB, complaints, saved_model, versions_of
from tests.support.pull_process import Job, Pullers
from tests.support.running_puller import RunningPuller, wants

FILES = saved_model("m", 3 * MIB, shards=2, assets=4)


@pytest.fixture
def server():
    with FileServer() as server:
        yield server


@pytest.fixture
def proxy(server):
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.mark.parametrize("ranges", [True, False], ids=["parts", "wholes only"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("model", method="GET", corrupt=MIB, times=1),
        Fault("model", method="GET", truncate=MIB, times=1),
        Fault("model", method="GET", hang=MIB, times=1),
        Fault("model", method="GET", status=503, times=2),
    ],
    ids=["corrupt", "truncate", "hang", "503"],
)
def test_a_fault_that_passes_delays_an_archive_and_no_more(server, proxy, tmp_path, fault, ranges):
    server.files["/model.tar.gz"] = File(tar_of(FILES.items(), "w:gz"), ranges=ranges)
    armed = proxy.add(fault)
    uri = f"{proxy.url}/model.tar.gz"
    repository = SourcesRepository({"m": Location(uri)}, lambda _model: {}, Sources(Access()), "test")
    store = tmp_path / "store"
    with RunningPuller(repository, store, wants("m"), resync_s=0.5) as puller:
        puller.wait_until_complete("m")
    repository.close()
    assert armed.hits == fault.times
    assert complaints(store, {("m", 1): FILES}) == []


def test_a_kill_before_any_change_of_the_disk(server, tmp_path):
    server.files["/model.tar.gz"] = File(tar_of(FILES.items(), "w:gz"))
    job = Job(f"{server.url}/model.tar.gz", "", str(tmp_path / "whole"), {"m": {"versions": [1]}}, workers=1)
    seed = random.randrange(1 << 32)
    with Pullers() as pullers:
        count = pullers.run(replace(job, die_at=1 << 30)).did["changes"]
        assert complaints(tmp_path / "whole", {("m", 1): FILES}) == []
        assert count > 20
        for point in random.Random(seed).sample(range(1, count + 1), 8):
            store = tmp_path / f"change{point}"
            pullers.run(replace(job, store=str(store), die_at=point))
            assert complaints(store, {("m", 1): FILES}) == [], f"killed before change {point}"
            assert not pullers.run(replace(job, store=str(store))).killed
            assert set(versions_of(store)) == {("m", 1)}, f"killed before change {point}"
            assert complaints(store, {("m", 1): FILES}) == [], f"killed before change {point}"
