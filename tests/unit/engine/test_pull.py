"""What random repositories do not show: damaged ways, full disks, cancelled and crashing pulls."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest
from crc32c import crc32c
from modelfleet import pull
from modelfleet.adapters import checksums
from modelfleet.adapters.files import FilesRepository
from modelfleet.errors import MissingDependency
from modelfleet.manifest import parse, track
from modelfleet.store import QuarantineRecord, Store

MEBI = 1 << 20


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repository"


def put(root, model, version, size=10):
    folder = root / model / str(version)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(os.urandom(size))
    return folder / "saved_model.pb"


def converge(store, repository, manifest=None, **options):
    quick = {"first_retry_s": 0.01, "max_retry_s": 300, "retries": 2}
    return pull.converge(manifest or track(), repository, store, "node-1", pull.PullSettings(**{**quick, **options}))


class Announcing(FilesRepository):
    """A repository that announces checksums and damages the first so many reads of the way."""

    def __init__(self, root, damaged=0, *, wrong=False):
        super().__init__(root)
        self.root, self.damaged, self.wrong, self.reads = root, damaged, wrong, 0

    def objects(self, model, version, *, fresh=False):
        folder = self.root / model / str(version)
        return tuple(
            replace(obj, crc32c=crc32c((folder / obj.path).read_bytes()) ^ self.wrong)
            for obj in super().objects(model, version)
        )

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        with super().open(model, version, obj, start, length) as source:
            self.reads += 1
            yield Damaging(source) if self.reads <= self.damaged else source


class Damaging:
    def __init__(self, source):
        self.source = source
        self.abort = source.abort

    def readinto(self, buffer):
        count = self.source.readinto(buffer)
        if count:
            buffer[0] ^= 1
        return count


def test_bytes_damaged_on_the_way_are_read_again(root, store):
    path = put(root, "digits", 1, 3 * MEBI)
    repository = Announcing(root, damaged=2)
    _, report = converge(store, repository)
    assert [item.bytes for item in report.pulled] == [3 * MEBI]
    assert repository.reads == 3
    assert (store.root / "digits" / "1" / "saved_model.pb").read_bytes() == path.read_bytes()


def test_a_source_that_is_not_what_it_announces_is_set_aside_until_it_changes(root, store):
    path = put(root, "digits", 1)
    _, report = converge(store, Announcing(root, wrong=True))
    assert [item.error.code for item in report.refused] == ["DIGEST_MISMATCH"]
    assert store.quarantined()["digits", 1].stage == "pull"
    repository = Announcing(root)
    _, report = converge(store, repository)
    assert (report.pulled, repository.reads) == ((), 0), "nothing is read while the source is the same"
    assert report.refused[0].error.code == "DIGEST_MISMATCH"
    os.utime(path, (1, 1))
    _, report = converge(store, repository)
    assert (len(report.pulled), report.refused, store.quarantined()) == (1, (), {})


def test_a_withdrawn_version_is_no_longer_set_aside(root, store):
    put(root, "digits", 1)
    put(root, "digits", 2)
    (root / "digits" / "2" / "saved_model.pb").unlink()
    _, report = converge(store, FilesRepository(root))
    assert [item.version for item in report.refused] == [2]
    shutil.rmtree(root / "digits" / "2")
    _, report = converge(store, FilesRepository(root))
    assert (report.refused, store.quarantined()) == ((), {})


def test_a_newer_unsound_version_gives_way_to_the_next_best_in_the_same_run(root, store):
    put(root, "digits", 1)
    put(root, "digits", 2)
    put(root, "digits", 3, size=0)

    class Torn(Announcing):
        def objects(self, model, version, *, fresh=False):
            return tuple(replace(obj, crc32c=1) if version == 2 else obj for obj in super().objects(model, version))

    desired, report = converge(store, Torn(root))
    assert desired.models["digits"].versions == (1,)
    assert [(item.version, item.error.code) for item in report.refused] == [(2, "DIGEST_MISMATCH"), (3, "INCOMPLETE")]
    assert [item.version for item in report.pulled] == [1]


def test_a_version_that_failed_to_load_stays_aside_while_its_bytes_are_here(root, store):
    path = put(root, "digits", 1)
    put(root, "digits", 2)
    converge(store, FilesRepository(root), track({"versions": {"latest": 2}}))
    record = QuarantineRecord("LOAD_FAILED", "NOT_FOUND: …", store.fingerprint("digits", 2), "load", "now")
    store.quarantine("digits", 2, record)
    os.utime(path.parents[1] / "2" / "saved_model.pb", (1, 1))
    desired, report = converge(store, FilesRepository(root))
    assert desired.models["digits"].versions == (1,)
    assert [(item.version, item.error.code) for item in report.refused] == [(2, "LOAD_FAILED")]
    store.remove("digits", 2)
    desired, report = converge(store, FilesRepository(root))
    assert desired.models["digits"].versions == (2,)
    assert [item.version for item in report.pulled] == [2]


def test_a_touched_source_is_compared_and_only_another_content_is_reported(root, store):
    path = put(root, "digits", 1)
    converge(store, FilesRepository(root))
    os.utime(path, (1, 1))
    for expected in (1, 0):
        prepared = pull.prepare(track(), FilesRepository(root), store, "node-1", pull.PullSettings())
        assert len(prepared.plan.comparisons) == expected
        assert prepared.plan.items == ()
        _, report = converge(store, FilesRepository(root))
        assert (report.pulled, report.refused) == ((), ())
    for content in (b"0123456789", b"longer than before"):
        kept = (store.root / "digits" / "1" / "saved_model.pb").read_bytes()
        path.write_bytes(content)
        _, report = converge(store, FilesRepository(root))
        assert [item.error.code for item in report.refused] == ["OVERWRITTEN"]
        assert "publish a new version number" in str(report.refused[0].error)
        assert (store.root / "digits" / "1" / "saved_model.pb").read_bytes() == kept
        assert store.scan()["digits"][1].complete


def test_a_lost_source_does_not_take_what_is_here(root, store):
    put(root, "digits", 1)
    put(root, "digits", 2)
    manifest = parse({"models": {"digits": {"versions": [1]}}}, "fleet.json")
    converge(store, FilesRepository(root), manifest)
    (root / "digits" / "1" / "saved_model.pb").unlink()
    (root / "digits" / "1").rmdir()
    desired, report = converge(store, FilesRepository(root), manifest)
    assert (desired.problems, report.refused, desired.models["digits"].versions) == ((), (), (1,))


@pytest.mark.parametrize("same", [True, False])
def test_a_directory_without_a_receipt_is_adopted_or_replaced(root, store, same):
    path = put(root, "digits", 1)
    local = put(store.root, "digits", 1)
    if same:
        local.write_bytes(path.read_bytes())
    _, report = converge(store, FilesRepository(root))
    assert [item.bytes for item in report.pulled] == [0 if same else 10]
    assert local.read_bytes() == path.read_bytes()
    assert store.scan()["digits"][1].complete


def test_what_does_not_fit_is_refused_before_the_first_byte_and_smaller_ones_come(root, store):
    put(root, "large", 1, 3 * MEBI)
    put(root, "small", 1)
    with mock.patch.object(Store, "free_bytes", return_value=2 * MEBI):
        _, report = converge(store, FilesRepository(root), headroom_bytes=MEBI)
    assert [item.model for item in report.pulled] == ["small"]
    assert [(item.model, item.error.code) for item in report.refused] == [("large", "NO_SPACE")]
    assert f"needs {3 * MEBI} bytes of disk, and {MEBI - 4096} are left" in report.refused[0].error.problem
    assert store.quarantined() == {}


def test_a_disk_that_fills_up_refuses_one_version_and_leaves_no_trace(root, store):
    put(root, "digits", 1)
    put(root, "ranker", 1, 20)
    real = os.pwrite

    def full(descriptor, data, offset):
        if len(data) == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    with mock.patch.object(os, "pwrite", full):
        _, report = converge(store, FilesRepository(root), retries=0)
    assert [item.model for item in report.pulled] == ["digits"]
    assert [(item.model, item.error.code) for item in report.refused] == [("ranker", "NO_SPACE")]
    assert list(store.scan()) == ["digits"]
    converge(store, FilesRepository(root))
    assert list(store.scan()) == ["digits", "ranker"]
    assert not list((store.root / ".staging").iterdir())


def test_a_defect_ends_the_run_with_its_own_error_and_no_thread_stays(root, store):
    for model in "abcdef":
        put(root, model, 1, 2 * MEBI)

    def fail(_files, subject):
        raise RuntimeError(subject)

    with (
        mock.patch("modelfleet.transfer.check_shape", fail),
        pytest.raises(RuntimeError),
    ):
        converge(store, FilesRepository(root))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull")]
    assert store.scan() == {}
    assert len(converge(store, FilesRepository(root))[1].pulled) == 6
    assert not list((store.root / ".staging").iterdir())


def test_a_missing_library_for_checksums_is_named(root, store):
    put(root, "digits", 1)
    with mock.patch.dict("sys.modules", {"crc32c": None}), pytest.raises(MissingDependency, match="crc32c"):
        converge(store, FilesRepository(root))
    assert not (store.root / "digits").exists()


def test_a_checksum_of_a_file_is_the_one_of_its_bytes(tmp_path):
    content = os.urandom(2 * MEBI + 17)
    (tmp_path / "x").write_bytes(content)
    assert checksums.crc32c_of(tmp_path / "x") == crc32c(content)
    assert checksums.crc32c_function()(b"123456789", 0) == 0xE3069283, "the check value of CRC-32C"
