"""What a puller says and what it does while wishes, budgets and sources change under it."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager

import pytest
from modelfleet.adapters.files import FilesRepository
from modelfleet.pull_status import PullState
from modelfleet.scrub import Scrub
from modelfleet.store import Store

from tests.support.pull_lab import saved_model
from tests.support.running_puller import RunningPuller, wants


class Gated(FilesRepository):
    """A directory whose objects, or whose listing, can be held back."""

    def __init__(self, root):
        super().__init__(root, str(root))
        self.root = root
        self.objects_go, self.listing_goes, self.listing = threading.Event(), threading.Event(), threading.Event()
        self.objects_go.set()
        self.listing_goes.set()

    def list_models(self):
        if not self.listing_goes.is_set():
            self.listing.set()
            self.listing_goes.wait(20)
        return super().list_models()

    @contextmanager
    def open(self, *arguments, **options):
        with super().open(*arguments, **options) as source:
            yield Waiting(source, self.objects_go)


class Waiting:
    def __init__(self, source, gate):
        self.source, self.gate, self.aborted = source, gate, False

    def readinto(self, buffer):
        while not self.gate.wait(0.02) and not self.aborted:
            continue
        return self.source.readinto(buffer)

    def abort(self):
        self.aborted = True
        self.source.abort()


def put(root, model, version=1):
    for path, data in saved_model(model).items():
        target = root / model / str(version) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@pytest.fixture
def remote(tmp_path):
    for model in ("m", "n"):
        put(tmp_path / "r", model)
    gated = Gated(tmp_path / "r")
    yield gated
    gated.objects_go.set()
    gated.listing_goes.set()


def running(remote, tmp_path, wanted, **settings):
    return RunningPuller(remote, tmp_path / "s", wanted, **{"stall_s": 30, **settings})


def test_a_model_that_lost_its_memory_to_another_one_is_not_brought_to_its_end(remote, tmp_path):
    big = {"versions": [1], "memory": "1Gi"}
    remote.objects_go.clear()
    with running(remote, tmp_path, {"n": big}, memory_bytes=1 << 30) as puller:
        puller.wait_for("n", PullState.PULLING)
        puller.wanted = {"m": big, "n": big}
        puller.wait(lambda: "Need to remove model" in puller.steps("n"))
        remote.objects_go.set()
        puller.wait_until_complete("m")
        puller.wait_for_passes(2)
    assert sorted(Store(tmp_path / "s").scan()) == ["m"]


def test_a_complete_version_whose_source_was_overwritten_says_so(remote, tmp_path):
    with running(remote, tmp_path, wants("m")) as puller:
        puller.wait_until_complete("m")
        (remote.root / "m" / "1" / "saved_model.pb").write_bytes(os.urandom(64))
        puller.wait_for("m", PullState.COMPLETE, "OVERWRITTEN")


def test_what_a_manifest_no_longer_names_stops_while_the_repository_hangs(remote, tmp_path):
    remote.objects_go.clear()
    with running(remote, tmp_path, wants("m")) as puller:
        puller.wait_for("m", PullState.PULLING)
        remote.listing_goes.clear()
        assert remote.listing.wait(10)
        puller.wanted = wants("n")
        puller.wait(lambda: "Cancelled" in puller.steps("m"), timeout_s=3)
        assert puller.puller.heartbeats()["look"][0] > 0
        remote.listing_goes.set()
        remote.objects_go.set()
        puller.wait_until_complete("n")


def test_what_hangs_is_noticed_while_the_repository_hangs_as_well(remote, tmp_path):
    remote.objects_go.clear()
    with running(remote, tmp_path, wants("m"), stall_s=0.6) as puller:
        puller.wait_for("m", PullState.PULLING)
        remote.listing_goes.clear()
        puller.wait(lambda: puller.puller.status().counters["stalls"], timeout_s=3)
        assert not remote.listing_goes.is_set()


def test_a_cancel_holds_also_for_what_is_just_being_begun(remote, tmp_path):
    remote.objects_go.clear()
    with running(remote, tmp_path, wants("m")) as puller:
        puller.wait_for("m", PullState.PULLING)
        puller.puller.cancel("m")
        puller.wait_for("m", PullState.CANCELLED)
        add, cancelled = puller.puller._pool.add, []

        def late(item, repository):
            cancelled.append(puller.puller.cancel("m"))
            return add(item, repository)

        puller.puller._pool.add = late
        puller.puller.sync()
        puller.wait(lambda: cancelled)
        puller.wait(lambda: puller.steps("m").count("Cancelled") == 2)
        puller.wait_for_passes(2)
        puller.wait_for("m", PullState.CANCELLED)
        assert cancelled == [(("m", 1),)]


def test_a_scrub_that_died_is_missed(tmp_path):
    scrub = Scrub(Store(tmp_path), 1.0, 0, lambda *_: None)
    scrub._thread = threading.Thread(target=lambda: None)
    scrub.start()
    scrub._thread.join()
    scrub._life = (scrub._life[0] - 100, "waiting for the next scrub")
    assert scrub.heartbeats()["scrub"][0] >= 100
    scrub.stop()
    assert scrub.heartbeats() == {}


def test_a_manifest_that_cannot_be_read_drops_nothing(remote, tmp_path):
    remote.objects_go.clear()
    with running(remote, tmp_path, wants("m")) as puller:
        puller.wait_for("m", PullState.PULLING)
        puller.wanted = "{"
        puller.wait(lambda: puller.puller.status().error)
        puller.wait_for("m", PullState.PULLING)
        remote.objects_go.set()
        puller.wait_until_complete("m")


def test_a_refusal_is_logged_once_and_tells_when_it_is_looked_at_again(remote, tmp_path):
    (remote.root / "m" / "1" / "saved_model.pb").write_bytes(b"")
    with running(remote, tmp_path, wants("m"), resync_s=0.3) as puller:
        puller.wait_for("m", PullState.REFUSED, "INCOMPLETE")
        puller.wait_for_passes(3)
        assert puller.steps("m").count("Refused") == 1
        puller.wait(lambda: 0 < puller.report("m").next_retry_s <= 0.3)
