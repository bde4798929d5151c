"""Every version comes to an end, whatever its source and its neighbours do."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from modelfleet import pull, pull_board
from modelfleet.adapters.files import FilesRepository
from modelfleet.backoff import Backoff
from modelfleet.errors import SourceUnavailable
from modelfleet.jobs import Fate, Job
from modelfleet.manifest import track
from modelfleet.pool import Pool
from modelfleet.pull import Kind, PullItem, PullSettings
from modelfleet.pull_board import Board
from modelfleet.store import Store
from modelfleet.waiting import Clock

from tests.support.pool_outcomes import outcomes

KIBI, MEBI = 1 << 10, 1 << 20


class Wholes(FilesRepository):
    """A directory whose files cannot be read in parts; reads are slow, or break off, as told."""

    def __init__(self, root):
        super().__init__(root)
        self.pause_s, self.breaks_at, self.opened = 0.0, None, 0

    def objects(self, model, version, *, fresh=False):
        return tuple(replace(obj, divisible=False) for obj in super().objects(model, version))

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        self.opened += 1
        with super().open(model, version, obj, start, length) as source:
            yield Breaking(source, self.pause_s, self.breaks_at)


class Breaking:
    def __init__(self, source, pause_s, breaks_at):
        self.source, self.pause_s, self.left = source, pause_s, breaks_at
        self.aborted = threading.Event()

    def readinto(self, buffer):
        if self.aborted.wait(self.pause_s) or (self.left is not None and self.left <= 0):
            raise SourceUnavailable("content", "the connection broke")
        count = self.source.readinto(buffer[: 64 * KIBI])
        if self.left is not None:
            self.left -= count
        return count

    def abort(self):
        self.aborted.set()


def put(root, model, version=1, size=512 * KIBI):
    folder = root / model / str(version)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(os.urandom(size))


@pytest.fixture
def remote(tmp_path):
    (tmp_path / "repository").mkdir()
    return Wholes(tmp_path / "repository")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repository"


def item(remote, model, version=1, kind=Kind.PULL):
    return PullItem(model, version, remote.objects(model, version), kind)


def test_what_cannot_be_read_in_parts_is_not_put_down_for_its_neighbours(root, remote, store, monkeypatch):
    monkeypatch.setattr(pull_board, "TURN_S", 0.1)
    remote.pause_s = 0.04  # 0.3 s for each
    for model in ("first", "second"):
        put(root, model)
    with Pool(store, PullSettings(workers=1)) as pool:
        for model in ("first", "second"):
            pool.add(item(remote, model), remote)
        found = outcomes(pool, 2, timeout_s=5)
    assert {outcome.fate for outcome in found} == {Fate.PULLED}
    assert [outcome.moved.read for outcome in found] == [512 * KIBI] * 2


def test_what_always_breaks_off_before_its_end_is_given_up(root, remote, store):
    put(root, "digits")
    remote.breaks_at = 128 * KIBI
    with Pool(store, PullSettings(workers=1, first_retry_s=0.01)) as pool:
        pool.add(item(remote, "digits"), remote)
        (outcome,) = outcomes(pool, 1, timeout_s=3)
    assert (outcome.fate, outcome.error.code) == (Fate.FAILED, "UNAVAILABLE")
    settings = PullSettings(workers=1, first_retry_s=0.01, retries=2)
    _, report = pull.converge(track(), remote, store, "n", settings)
    assert [refusal.error.code for refusal in report.refused] == ["UNAVAILABLE"]


def test_a_moment_that_comes_while_a_worker_turns_to_rest_is_not_slept_through(remote, root):
    put(root, "digits")
    now_s = [9.0]
    board = Board(PullSettings(), Clock(now=lambda: now_s[0]))
    job = Job(item(remote, "digits"), lambda _worker: None)
    board.add(("digits", 1), job)
    assert board.choose(None, 0.0) is job
    job.not_before, now_s[0] = 10.0, 9.999
    assert board.choose(None, 0.0) is None
    now_s[0] = 10.001
    assert board.until_next() == 0.0


def test_versions_that_are_to_wait_for_long_leave_their_places_to_others(root, remote, store, monkeypatch):
    monkeypatch.setattr(pull_board, "MOST_OPEN", 1)
    put(root, "busy")
    put(root, "calm", size=MEBI)

    class Asking(Wholes):
        @contextmanager
        def open(self, model, *rest):
            if model == "busy":
                raise SourceUnavailable(model, "answered 429", retry_after_s=86400)
            with super().open(model, *rest) as source:
                yield source

    asking = Asking(root)
    with Pool(store, PullSettings(workers=1)) as pool:
        pool.add(item(remote, "busy"), asking)
        pool.add(item(remote, "calm"), asking)
        fates = {outcome.key[0]: outcome.fate for outcome in outcomes(pool, 2, timeout_s=5)}
    assert fates == {"busy": Fate.FAILED, "calm": Fate.PULLED}


def test_what_a_server_asks_for_is_heeded_up_to_an_hour():
    assert Backoff(1.0, 10.0).wait_s(1, 600.0) == 600.0
    assert Backoff(1.0, 10.0).wait_s(1, float("inf")) == 3600.0


def test_versions_that_are_dropped_before_their_turn_are_forgotten(root, remote, store):
    put(root, "digits")
    with Pool(store, PullSettings(workers=1)) as pool:
        pool.pause(paused=True)
        for _ in range(100):
            pool.add(item(remote, "digits"), remote)
            assert pool.drop(("digits", 1))
        assert len(pool._board._fresh) <= 2
        assert len(outcomes(pool, 100)) == 100


def test_a_comparison_with_a_source_that_ends_early_decides_nothing(root, remote, store, tmp_path):
    put(root, "digits")
    _, report = pull.converge(track(), remote, store, "n", PullSettings())
    assert len(report.pulled) == 1

    class Short(Wholes):
        @contextmanager
        def open(self, model, version, obj, start=0, length=None):
            with super().open(model, version, obj, start, 1000) as source:
                yield source

    with Pool(store, PullSettings(workers=1)) as pool:
        pool.add(item(remote, "digits", kind=Kind.COMPARE), Short(root))
        (outcome,) = outcomes(pool, 1)
    assert (outcome.fate, outcome.error.code) == (Fate.FAILED, "UNAVAILABLE")


def test_a_version_that_somebody_lets_go_just_then_is_not_given_up(root, remote, store):
    put(root, "digits")
    held = [Store(store.root).staging.claim("digits", 1)]

    def let_go(event):
        if event.step == "Attempt failed" and held:
            assert event.details["reason"] == "STORE_BUSY"
            held.pop().discard()

    _, report = pull.converge(track(), remote, store, "n", PullSettings(workers=1), log=let_go)
    assert ([pulled.model for pulled in report.pulled], report.refused) == (["digits"], ())


def test_a_narrow_bandwidth_means_small_reads_not_long_waits(root, remote, store):
    put(root, "digits", size=64 * KIBI)
    asked = []

    class Measuring(Breaking):
        def readinto(self, buffer):
            asked.append(len(buffer))
            return super().readinto(buffer)

    class Measured(Wholes):
        @contextmanager
        def open(self, model, version, obj, start=0, length=None):
            with FilesRepository.open(self, model, version, obj, start, length) as source:
                yield Measuring(source, 0.0, None)

    with Pool(store, PullSettings(workers=1, bandwidth_bytes_per_s=128 * KIBI)) as pool:
        pool.add(item(remote, "digits"), Measured(root))
        outcomes(pool, 1)
    assert max(asked) == 16 * KIBI
