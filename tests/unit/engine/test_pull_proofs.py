"""Nothing is published, shared, certified or thrown away without a proof."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from crc32c import crc32c
from modelfleet import integrity, jobs, pool, pull
from modelfleet.adapters.files import FilesRepository
from modelfleet.errors import SourceForbidden, SourceUnavailable, StoreError
from modelfleet.jobs import Fate
from modelfleet.manifest import track
from modelfleet.pool import Pool
from modelfleet.pull import Kind, PullItem, PullSettings

from tests.support.archives import tar_of

MEBI = 1 << 20
QUICK = PullSettings(workers=1, first_retry_s=0.01, max_retry_s=0.05, retries=2)


class Remote(FilesRepository):
    """A directory whose reads can be meddled with.

    Attributes:
        announce: What an object is listed as.
        spoil: Told an object and the number of the read; returns whether a byte is to turn on the way.
    """

    def __init__(self, root):
        super().__init__(root)
        self.root = root
        self.announce = lambda obj, _path: obj
        self.spoil = lambda _obj, _read: False
        self.reads = 0

    def objects(self, model, version, *, fresh=False):
        folder = self.root / model / str(version)
        return tuple(self.announce(obj, folder / obj.path) for obj in super().objects(model, version))

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        self.reads += 1
        with super().open(model, version, obj, start, length) as source:
            yield Spoilt(source, self.spoil(obj, self.reads))


class Spoilt:
    def __init__(self, source, how):
        self.source, self.how, self.abort = source, how, source.abort

    def readinto(self, buffer):
        count = self.source.readinto(buffer)
        if self.how and count:
            buffer[count // 2] ^= 1
        return count


def put(root, model, version=1, **files):
    folder = root / model / str(version)
    folder.mkdir(parents=True)
    for name, content in {"saved_model.pb": b"graph", **files}.items():
        (folder / name).write_bytes(content)
    return folder


def digests_of(**files):
    return json.dumps({path: hashlib.sha256(content).hexdigest() for path, content in files.items()}).encode()


@pytest.fixture
def remote(tmp_path):
    (tmp_path / "repository").mkdir()
    return Remote(tmp_path / "repository")


def item(remote, version=1, kind=Kind.PULL):
    return PullItem("digits", version, remote.objects("digits", version), kind)


def run(store, remote, planned, settings=QUICK):
    with Pool(store, settings) as workers:
        workers.add(planned, remote)
        found = []
        while not found:
            found = workers.collect(5)
    return found[0]


def archived(remote, content):
    """Publish an archive of which only the size is known."""
    folder = remote.root / "digits" / "1"
    folder.mkdir(parents=True)
    (folder / "model.tar.gz").write_bytes(tar_of([("saved_model.pb", content)], "w:gz"))
    remote.announce = lambda obj, _path: replace(obj, archive="tar")


def test_an_archive_that_arrives_damaged_is_read_again(remote, store):
    content = os.urandom(MEBI)
    archived(remote, content)
    remote.spoil = lambda _obj, read: read <= 2
    outcome = run(store, remote, item(remote))
    assert (outcome.fate, remote.reads) == (Fate.PULLED, 3)
    assert (store.root / "digits" / "1" / "saved_model.pb").read_bytes() == content


def test_an_archive_that_always_arrives_damaged_is_the_fault_of_its_source(remote, store):
    archived(remote, os.urandom(MEBI))
    remote.spoil = lambda _obj, _read: True
    outcome = run(store, remote, item(remote))
    assert (outcome.fate, outcome.error.code, outcome.error.subject) == (
        Fate.FAILED,
        "DIGEST_MISMATCH",
        "model digits version 1",
    )
    assert (remote.reads, bool(outcome.blamed)) == (3, True)


def test_files_without_announced_checksums_are_read_again_when_the_digests_do_not_fit(remote, store):
    words = os.urandom(2 * MEBI)
    published = put(remote.root, "digits", words=words)
    files = {"saved_model.pb": b"graph", "words": words}
    (published / "digests.json").write_bytes(digests_of(**files))
    spoilt = []
    remote.spoil = lambda obj, _read: obj.path == "words" and not spoilt and not spoilt.append(obj)
    outcome = run(store, remote, item(remote))
    assert (outcome.fate, len(spoilt)) == (Fate.PULLED, 1)
    assert (store.root / "digits" / "1" / "words").read_bytes() == words


def test_what_was_compared_with_its_checksums_is_not_read_again_for_wrong_digests(remote, store):
    published = put(remote.root, "digits")
    (published / "digests.json").write_bytes(digests_of(**{"saved_model.pb": b"another"}))
    remote.announce = lambda obj, path: replace(obj, crc32c=crc32c(path.read_bytes()))
    outcome = run(store, remote, item(remote))
    assert (outcome.error.code, remote.reads) == ("DIGEST_MISMATCH", 2)


def test_a_hash_that_two_files_share_does_not_outdo_a_checksum_that_they_do_not(remote, store):
    put(remote.root, "digits", 1, words=b"one" * 1000)
    put(remote.root, "digits", 2, words=b"two" * 1000)
    remote.announce = lambda obj, path: replace(obj, crc32c=crc32c(path.read_bytes()), content=f"etag:{obj.path}")
    assert run(store, remote, item(remote, 1)).fate is Fate.PULLED
    assert run(store, remote, item(remote, 2)).fate is Fate.PULLED
    assert (store.root / "digits" / "2" / "words").read_bytes() == b"two" * 1000


def test_a_complete_version_of_another_source_is_never_replaced(remote, store):
    published = put(remote.root, "digits")
    pull.converge(track(), remote, store, "n", QUICK)
    (published / "saved_model.pb").write_bytes(b"later")
    outcome = run(store, remote, item(remote))
    assert (outcome.fate, outcome.error.code) == (Fate.FAILED, "OVERWRITTEN")
    assert (store.root / "digits" / "1" / "saved_model.pb").read_bytes() == b"graph"


def test_a_version_on_disk_is_adopted_only_with_the_digests_of_its_publisher(remote, store):
    for root in (remote.root, store.root):
        (put(root, "digits") / "digests.json").write_bytes(digests_of(**{"saved_model.pb": b"another"}))
    _, report = pull.converge(track(), remote, store, "n", replace(QUICK, require_digest=True))
    assert [refusal.error.code for refusal in report.refused] == ["DIGEST_MISMATCH"]
    assert not store.scan()["digits"][1].complete


def test_a_version_on_disk_is_safe_from_a_power_failure_before_it_is_certified(remote, store, monkeypatch):
    for root in (remote.root, store.root):
        put(root, "digits")
    steps = []
    certify, sync_tree = store.certify, jobs.sync_tree
    monkeypatch.setattr(store, "certify", lambda *told: (steps.append("certified"), certify(*told)))
    monkeypatch.setattr(jobs, "sync_tree", lambda folder: (steps.append(f"synced {folder}"), sync_tree(folder)))
    assert run(store, remote, item(remote, kind=Kind.ADOPT)).fate is Fate.SAME
    assert steps == [f"synced {store.root}/digits/1", "certified"]


def test_what_arrived_outlives_credentials_that_run_out(remote, store):
    put(remote.root, "digits", words=os.urandom(2 * MEBI))
    assert run(store, Refusing(remote), item(remote)).error.code == "FORBIDDEN"
    assert run(store, Remote(remote.root), item(remote)).moved.resumed >= MEBI


class Refusing(Remote):
    """Lets nobody read the second mebibyte."""

    def __init__(self, other):
        super().__init__(other.root)

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        with FilesRepository.open(self, model, version, obj, start, length) as source:
            yield Half(source)


class Half:
    def __init__(self, source):
        self.source, self.abort, self.read = source, source.abort, 0

    def readinto(self, buffer):
        if self.read >= MEBI:
            raise SourceForbidden("digits", "answered 403")
        count = self.source.readinto(buffer)
        self.read += count
        return count


def test_what_waits_for_its_next_try_keeps_what_arrived_while_others_are_tried(remote, store, monkeypatch):
    monkeypatch.setattr(pool, "LONGEST_REST_S", 0.0)
    for model in ("patient", "hasty"):
        put(remote.root, model, words=os.urandom(2 * MEBI))
    fails = {"patient": [0.6], "hasty": [0.05, 0.05, 0.05]}

    class Failing(Remote):
        read = 0

        @contextmanager
        def open(self, model, version, obj, start=0, length=None):
            if start and fails[model]:
                raise SourceUnavailable(model, "answered 503", retry_after_s=fails[model].pop())
            with FilesRepository.open(self, model, version, obj, start, length) as source:
                self.read += obj.size - start if length is None else length
                yield source

    failing = Failing(remote.root)
    settings = PullSettings(workers=1, first_retry_s=0.01, segment_bytes=MEBI)
    _, report = pull.converge(track(), failing, store, "n", settings)
    assert len(report.pulled) == 2
    assert failing.read == 2 * (2 * MEBI + len(b"graph"))


def test_a_source_that_never_stays_the_same_is_given_up(remote, store):
    put(remote.root, "digits")

    class Restless(Remote):
        moment = 0

        def objects(self, model, version, *, fresh=False):
            self.moment += 1
            found = super().objects(model, version)
            return tuple(replace(obj, generation=f"{obj.generation} {self.moment}") for obj in found)

        @contextmanager
        def open(self, model, version, obj, start=0, length=None):
            plain = replace(obj, generation=obj.generation.partition(" ")[0])
            with super().open(model, version, plain, start, length) as source:
                yield source

    restless = Restless(remote.root)
    _, report = pull.converge(track(), restless, store, "n", QUICK)
    assert [refusal.error.code for refusal in report.refused] == ["CHANGED"]
    assert restless.reads == QUICK.retries + 1


def test_a_reader_s_own_trouble_is_no_damage(remote, store, monkeypatch):
    put(remote.root, "digits")
    pull.converge(track(), remote, store, "n", QUICK)

    def starving(path, _read):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(integrity, "crc32c_of", starving)
    with pytest.raises(StoreError, match="Too many open files"):
        integrity.damaged_files(store, "digits", 1)


def test_leftovers_that_cannot_be_deleted_hinder_no_pull(remote, store, monkeypatch):
    put(remote.root, "digits")
    leftover = store.root / ".staging" / "gone.1"
    leftover.mkdir(parents=True)
    rmtree = shutil.rmtree

    def refusing(path, **options):
        if Path(path) == leftover:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", refusing)
    told = []
    _, report = pull.converge(track(), remote, store, "n", QUICK, log=told.append)
    assert len(report.pulled) == 1
    assert [event.details["reason"] for event in told if event.step == "Cleaning up failed"][:1] == ["STORE_UNUSABLE"]
