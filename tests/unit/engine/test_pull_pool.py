"""How the workers of a pull share the work: whose turn it is, what is read again, what is not read at all."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from crc32c import crc32c
from modelfleet import pull, pull_board
from modelfleet.adapters.files import FilesRepository
from modelfleet.errors import SourceUnavailable
from modelfleet.jobs import Fate
from modelfleet.manifest import parse, track
from modelfleet.pool import Pool
from modelfleet.pull import Kind, PullItem, PullSettings
from modelfleet.store import Store

from tests.support.pool_outcomes import outcomes

KIBI, MEBI = 1 << 10, 1 << 20


class Remote(FilesRepository):
    """A directory that announces hashes as object stores do, counts what is read, and is as slow as it is told."""

    def __init__(self, root):
        super().__init__(root)
        self.root = root
        self.read = 0
        self.pauses = {}
        self.failures = []
        self.busy = []
        self.opened = []

    def objects(self, model, version, *, fresh=False):
        folder = self.root / model / str(version)
        found = []
        for obj in super().objects(model, version):
            content = (folder / obj.path).read_bytes()
            found.append(
                replace(
                    obj,
                    crc32c=crc32c(content),
                    content=f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}",
                )
            )
        return tuple(found)

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        self.opened.append((model, version, obj.path, start))
        if self.failures:
            raise self.failures.pop(0)
        with super().open(model, version, obj, start, length) as source:
            yield Slow(source, self, model)


class Slow:
    def __init__(self, source, remote, model):
        self.source, self.remote, self.model = source, remote, model
        self.aborted = threading.Event()

    def readinto(self, buffer):
        pause = self.remote.pauses.get(self.model, 0)
        self.remote.busy.append(self.model)
        if pause and self.aborted.wait(pause):
            raise SourceUnavailable(self.model, "reading it was given up")
        count = self.source.readinto(buffer[: 64 * KIBI])
        self.remote.read += count
        return count

    def abort(self):
        self.aborted.set()


def put(root, model, version, **files):
    folder = root / model / str(version)
    folder.mkdir(parents=True)
    for name, content in {"saved_model.pb": b"graph", **files}.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


@pytest.fixture
def remote(root):
    return Remote(root)


def item(remote, model, version=1):
    return PullItem(model, version, remote.objects(model, version))


@contextmanager
def pool_of(store, **settings):
    with Pool(store, PullSettings(**{"first_retry_s": 0.01, "segment_bytes": 256 * KIBI, **settings})) as pool:
        yield pool


def test_a_short_model_does_not_wait_for_a_long_one(root, remote, store):
    put(root, "long", 1, weights=os.urandom(2 * MEBI))
    put(root, "short", 1)
    remote.pauses["long"] = 0.1
    with pool_of(store, workers=2) as pool:
        pool.add(item(remote, "long"), remote)
        while remote.busy.count("long") < 4:
            time.sleep(0.01)
        began = time.monotonic()
        pool.add(item(remote, "short"), remote)
        (first,) = outcomes(pool, 1)
        assert (first.key, time.monotonic() - began < 1) == (("short", 1), True)
        assert pool.views().keys() == {("long", 1)}


def test_models_take_turns_when_there_are_more_of_them_than_workers(root, remote, store, monkeypatch):
    monkeypatch.setattr(pull_board, "TURN_S", 0.2)
    for model in ("first", "second"):
        put(root, model, 1, weights=os.urandom(2 * MEBI))
        remote.pauses[model] = 0.04
    with pool_of(store, workers=1, segment_bytes=MEBI) as pool:
        pool.add(item(remote, "first"), remote)
        while not remote.busy:
            time.sleep(0.01)
        pool.add(item(remote, "second"), remote)
        assert {outcome.fate for outcome in outcomes(pool, 2)} == {Fate.PULLED}
    turns = [model for number, model in enumerate(remote.busy) if not number or remote.busy[number - 1] != model]
    assert len(turns) > 4, turns
    assert remote.read == 2 * (2 * MEBI + len(b"graph")), "a turn that ends loses no byte"


def test_a_read_that_hangs_is_ended_and_only_its_piece_is_read_again(root, remote, store):
    put(root, "digits", 1, weights=os.urandom(MEBI))
    hanging = Remote(root)
    hanging.pauses["digits"] = 60
    with pool_of(store, workers=1, stall_s=0.3) as pool:
        pool.add(item(remote, "digits"), hanging)
        time.sleep(0.5)
        hanging.pauses.clear()
        (outcome,) = outcomes(pool, 1)
    assert (outcome.fate, pool.stalls, outcome.moved.read) == (Fate.PULLED, 1, MEBI + len(b"graph"))


def test_what_never_answers_fails_as_stalled_and_keeps_what_had_come(root, remote, store):
    put(root, "digits", 1, weights=os.urandom(MEBI))
    remote.pauses["digits"] = 0.02  # time to step in
    with pool_of(store, workers=1, stall_s=0.2) as pool:
        pool.add(item(remote, "digits"), remote)
        while remote.busy.count("digits") < 8:
            time.sleep(0.001)
        remote.pauses["digits"] = 60
        (outcome,) = outcomes(pool, 1)
        assert (outcome.fate, outcome.error.code, outcome.blamed) == (Fate.FAILED, "STALLED", "")
        assert "brought no byte for 0.2 s" in outcome.error.problem
        before, remote.read = remote.read, 0
        remote.pauses.clear()
        pool.add(item(remote, "digits"), remote)
        (outcome,) = outcomes(pool, 1)
    assert outcome.fate is Fate.PULLED
    assert (outcome.moved.resumed > 0, outcome.moved.read) == (True, MEBI + len(b"graph") - outcome.moved.resumed)
    assert before + remote.read <= MEBI + len(b"graph") + 256 * KIBI


def test_a_dropped_version_leaves_at_once_and_leaves_nothing(root, remote, store):
    put(root, "digits", 1, weights=os.urandom(MEBI))
    remote.pauses["digits"] = 60
    with pool_of(store, workers=2) as pool:
        pool.add(item(remote, "digits"), remote)
        while not remote.busy:
            time.sleep(0.01)
        began = time.monotonic()
        assert pool.drop(("digits", 1))
        (outcome,) = outcomes(pool, 1)
        assert (outcome.fate, time.monotonic() - began < 2) == (Fate.DROPPED, True)
        assert not pool.drop(("digits", 1))
    assert not list((store.root / ".staging").iterdir())


def test_a_pause_stops_every_read_and_loses_nothing(root, remote, store):
    put(root, "digits", 1, weights=os.urandom(2 * MEBI))
    remote.pauses["digits"] = 0.02
    with pool_of(store, workers=2) as pool:
        pool.add(item(remote, "digits"), remote)
        while len(remote.busy) < 6:
            time.sleep(0.01)
        pool.pause(paused=True)
        time.sleep(0.2)
        resting = remote.read
        time.sleep(0.2)
        assert (remote.read, pool.collect(0)) == (resting, [])
        pool.pause(paused=False)
        (outcome,) = outcomes(pool, 1)
    assert outcome.moved.read == 2 * MEBI + len(b"graph")


def test_all_workers_together_keep_to_the_bandwidth(root, remote, store):
    for model in ("first", "second"):
        put(root, model, 1, weights=os.urandom(512 * KIBI))
    with pool_of(store, workers=4, bandwidth_bytes_per_s=MEBI) as pool:
        began = time.monotonic()
        for model in ("first", "second"):
            pool.add(item(remote, model), remote)
        assert {outcome.fate for outcome in outcomes(pool, 2)} == {Fate.PULLED}
        assert time.monotonic() - began > 0.7


def test_passing_failures_are_tried_again_with_growing_waits(root, remote, store):
    put(root, "digits", 1)
    remote.failures = [SourceUnavailable("digits", "answered 503")] * 2
    waits = []
    with Pool(store, PullSettings(workers=1, first_retry_s=0.1), waits.append) as pool:
        pool.add(item(remote, "digits"), remote)
        (outcome,) = outcomes(pool, 1)
    assert outcome.fate is Fate.PULLED
    retries = [event.details["retry_in_s"] for event in waits if event.step == "Try failed"]
    assert (len(retries), retries[0] <= 0.1 <= retries[1] <= 0.2) == (2, True)


def test_a_server_that_asks_for_patience_gets_it(root, remote, store):
    put(root, "digits", 1)
    remote.failures = [SourceUnavailable("digits", "answered 429", retry_after_s=0.5)]
    with pool_of(store, workers=1) as pool:
        began = time.monotonic()
        pool.add(item(remote, "digits"), remote)
        outcomes(pool, 1)
        assert time.monotonic() - began >= 0.5


def test_unchanged_files_are_shared_with_the_version_before(root, remote, store):
    words = os.urandom(100 * KIBI)
    put(root, "digits", 1, words=words, weights=b"old")
    put(root, "digits", 2, words=words, weights=b"new weights")
    settings = PullSettings(first_retry_s=0.01)
    pull.converge(parse({"models": {"digits": {"versions": [1]}}}, "m"), remote, store, "n", settings)
    remote.read = 0
    _, report = pull.converge(track(), remote, store, "n", settings)
    assert [(p.version, p.linked, p.read) for p in report.pulled] == [
        (2, len(words) + len(b"graph"), len(b"new weights"))
    ]
    assert remote.read == len(b"new weights")
    one, two = (store.root / "digits" / str(version) / "words" for version in (1, 2))
    assert one.samefile(two)
    assert store.scan()["digits"][2].complete
    store.remove("digits", 1)
    assert two.read_bytes() == words


def test_a_file_that_is_damaged_on_disk_is_not_shared(root, remote, store):
    words = os.urandom(100 * KIBI)
    put(root, "digits", 1, words=words)
    put(root, "digits", 2, words=words, weights=b"new")
    settings = PullSettings(first_retry_s=0.01)
    pull.converge(parse({"models": {"digits": {"versions": [1]}}}, "m"), remote, store, "n", settings)
    local = store.root / "digits" / "1" / "words"
    local.write_bytes(words[:-1] + bytes([words[-1] ^ 1]))
    pull.converge(track(), remote, store, "n", settings)
    assert (store.root / "digits" / "2" / "words").read_bytes() == words


def test_a_version_that_another_process_brings_is_waited_for(root, remote, store):
    put(root, "digits", 1, weights=os.urandom(MEBI))
    remote.pauses["digits"] = 0.05
    other = Store(store.root)
    with pool_of(other, workers=1) as pool:
        pool.add(item(remote, "digits"), remote)
        while not remote.busy:
            time.sleep(0.01)
        here = threading.Thread(target=lambda: outcomes(pool, 1))
        here.start()
        reader = Remote(root)
        _, report = pull.converge(track(), reader, store, "n", PullSettings(first_retry_s=0.01))
        here.join(timeout=10)
    assert (report.refused, reader.read, store.scan()["digits"][1].complete) == ((), 0, True)


def test_a_version_that_came_since_it_was_planned_is_not_read_again(root, remote, store):
    put(root, "digits", 1)
    planned = item(remote, "digits")
    pull.converge(track(), remote, store, "n", PullSettings())
    remote.read = 0
    with pool_of(store, workers=1) as pool:
        pool.add(planned, remote)
        (outcome,) = outcomes(pool, 1)
    assert (outcome.fate, remote.read) == (Fate.SAME, 0)


def test_a_comparison_is_not_lost_when_its_source_fails(root, remote, store):
    put(root, "digits", 1)
    put(store.root, "digits", 1)
    plain = FilesRepository(root)
    failing = Remote(root)
    failing.failures = [SourceUnavailable("digits", "answered 503")]
    planned = PullItem("digits", 1, plain.objects("digits", 1), Kind.ADOPT)
    with pool_of(store, workers=1) as pool:
        pool.add(planned, failing)
        (outcome,) = outcomes(pool, 1)
        assert (outcome.fate, outcome.error.code) == (Fate.FAILED, "UNAVAILABLE")
        pool.add(planned, plain)
        (outcome,) = outcomes(pool, 1)
    assert outcome.fate is Fate.SAME
    assert store.scan()["digits"][1].complete


def test_thousands_of_versions_are_begun_a_few_at_a_time(root, remote, store, monkeypatch):
    monkeypatch.setattr(pull_board, "MOST_OPEN", 3)
    for number in range(20):
        put(root, f"m{number}", 1, weights=b"x" * number)
    most = []
    with pool_of(store, workers=2) as pool:
        for number in range(20):
            pool.add(item(remote, f"m{number}"), remote)
        found = []
        while len(found) < 20:
            found += pool.collect(0.01)
            most.append(len(store.staging.versions()))
    assert {outcome.fate for outcome in found} == {Fate.PULLED}
    assert max(most) <= 3
