"""What happens to a node's disk, and how a store comes back from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from modelfleet.pull_status import PullState

from tests.support.faulty_proxy import Fault
from tests.support.pull_lab import MIB, complaints, saved_model, versions_of
from tests.support.running_puller import wants

FAILED = {PullState.RETRYING, PullState.REFUSED}
mounts = pytest.mark.skipif(os.geteuid() != 0, reason="MOUNTING A SMALL FILE SYSTEM NEEDS ROOT: not tested")


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small file system and returns it."""
    mounted = []

    def mount(options):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def remount(place, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def failed(puller, model, code):
    report = puller.report(model)
    return report and report.state in FAILED and report.code == code


def fill(path):
    """Write a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(MIB)):
            pass


@contextmanager
def never_missing(path):
    """Look at a path as often as possible meanwhile, and say afterwards that it was always there."""
    missing, done = [], threading.Event()

    def look():
        while not done.wait(0.0005):
            if not path.exists():
                missing.append(time.monotonic())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert missing == []


@mounts
def test_what_does_not_fit_is_refused_before_its_first_byte_and_comes_when_there_is_room(lab, disk):
    place = disk("size=24m")
    store = place / "store"
    needed = lab.shelf.publish("large", 1, saved_model("large", 40 * MIB))
    lab.shelf.publish("small", 1, saved_model("small", MIB))
    with lab.puller(wants("large", "small"), store=store) as puller:
        puller.wait_until_complete("small")
        puller.wait(lambda: failed(puller, "large", "NO_SPACE"))
        puller.wait_for_passes(2)
        report = puller.report("large")
        figures = [int(word) for word in report.message.split() if word.isdigit()]
        assert any(needed <= figure < needed + MIB for figure in figures), report.message
        assert any(20 * MIB < figure < 24 * MIB for figure in figures), report.message
        assert lab.proxy.seen("/o/large/") == []
        assert set(versions_of(store)) == {("small", 1)}
        remount(place, "size=100m")
        puller.wait_until_complete("large", "small")
    assert complaints(store, lab.shelf.versions) == []


@mounts
def test_a_disk_that_somebody_else_fills_in_mid_pull_breaks_nothing(lab, disk):
    place = disk("size=48m")
    store = place / "store"
    lab.shelf.publish("m", 1, saved_model("m", 20 * MIB))
    lab.shelf.publish("n", 1, saved_model("n", MIB))
    slow = lab.proxy.add(Fault("/o/m/", rate=8 * MIB))
    with lab.puller(wants("m"), store=store, stall_s=5) as puller:
        assert lab.proxy.wait_for_bytes("/o/m/", 4 * MIB)
        fill(place / "filler")
        puller.wanted = wants("m", "n")
        lab.proxy.remove(slow)
        # Whichever of them needs the next block first is refused; what m gives up then may be enough for n.
        puller.wait(lambda: failed(puller, "n", "NO_SPACE") or failed(puller, "m", "NO_SPACE"))
        assert complaints(store, lab.shelf.versions) == []
        (place / "filler").unlink()
        puller.wait_until_complete("m", "n")
    assert complaints(store, lab.shelf.versions) == []


@mounts
def test_a_disk_that_is_full_when_all_bytes_are_here_breaks_nothing(lab, disk):
    place = disk("size=16m")
    store = place / "store"
    lab.shelf.publish("m", 1, saved_model("m", 2 * MIB))
    # The listing of one version is the last look at it before it is published.
    last = lab.proxy.add(Fault(r"/o\?.*prefix=m/1/", call=lambda: fill(place / "filler")))
    with lab.puller(wants("m"), store=store) as puller:
        puller.wait(lambda: failed(puller, "m", "NO_SPACE"))
        assert last.hits
        assert complaints(store, lab.shelf.versions) == []
        lab.proxy.remove(last)
        (place / "filler").unlink()
        puller.wait_until_complete("m")
    assert complaints(store, lab.shelf.versions) == []


@mounts
def test_a_file_system_without_inodes_refuses_one_model_and_takes_the_next(lab, disk):
    place = disk("size=48m,nr_inodes=60")
    store = place / "store"
    lab.shelf.publish("many", 1, saved_model("many", assets=100))
    lab.shelf.publish("few", 1, saved_model("few"))
    lab.shelf.publish("later", 1, saved_model("later"))
    with lab.puller(wants("many", "few"), store=store) as puller:
        puller.wait_until_complete("few")
        puller.wait(lambda: failed(puller, "many", "NO_SPACE"))
        puller.wanted = wants("many", "few", "later")
        puller.wait_until_complete("few", "later")
        assert complaints(store, lab.shelf.versions) == []
        remount(place, "nr_inodes=1000")
        puller.wait_until_complete("few", "later", "many")
    assert complaints(store, lab.shelf.versions) == []


@mounts
def test_a_store_that_cannot_be_written_is_said_so_and_used_again_when_it_can(lab, disk):
    place = disk("size=48m")
    store = place / "store"
    lab.shelf.publish("m", 1, saved_model("m"))
    lab.shelf.publish("n", 1, saved_model("n"))
    with lab.puller(wants("m"), store=store) as puller:
        puller.wait_until_complete("m")
        remount(place, "ro")
        puller.wanted = wants("m", "n")
        puller.wait(
            lambda: (
                failed(puller, "n", "STORE_UNUSABLE")
                or (puller.puller.status().error or {}).get("code") == "STORE_UNUSABLE"
            )
        )
        assert complaints(store, lab.shelf.versions) == []
        remount(place, "rw")
        puller.wait_until_complete("m", "n")
    assert complaints(store, lab.shelf.versions) == []


def test_a_store_below_a_file_is_said_so(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    lab.store.parent.joinpath("file").write_bytes(b"")
    with lab.puller(wants("m"), store=lab.store.parent / "file" / "store") as puller:
        puller.wait(
            lambda: (
                failed(puller, "m", "STORE_UNUSABLE")
                or (puller.puller.status().error or {}).get("code") == "STORE_UNUSABLE"
            )
        )


@pytest.mark.parametrize(
    "harm", ["a file deleted", "a file cut", "the version deleted", "the model deleted", "the store deleted"]
)
def test_what_a_hand_took_away_comes_back(lab, harm):
    lab.shelf.publish("m", 1, saved_model("m", MIB))
    shard = lab.store / "m/1/variables/variables.data-00000-of-00001"
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
        if harm == "a file deleted":
            shard.unlink()
        elif harm == "a file cut":
            os.truncate(shard, 1000)
        else:
            shutil.rmtree(lab.store / {"the version deleted": "m/1", "the model deleted": "m"}.get(harm, ""))
        puller.wait(lambda: shard.is_file() and complaints(lab.store, lab.shelf.versions) == [])
        puller.wait_until_complete("m")
        assert puller.steps("m").count("Published") == 2


def test_a_byte_that_turned_on_disk_is_found_and_the_version_brought_anew(lab):
    lab.shelf.publish("m", 1, saved_model("m", MIB))
    shard = lab.store / "m/1/variables/variables.data-00000-of-00001"
    with lab.puller(wants("m"), scrub_s=0.3) as puller:
        puller.wait_until_complete("m")
        before = shard.stat()
        with shard.open("r+b") as stream:
            stream.seek(4711)
            byte = stream.read(1)[0]
            stream.seek(4711)
            stream.write(bytes([byte ^ 1]))
        os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
        with never_missing(shard):
            puller.wait(lambda: complaints(lab.store, lab.shelf.versions) == [])
            puller.wait(lambda: puller.puller.status().counters["damaged_versions"] == 1)
            puller.wait_until_complete("m")
        assert puller.steps("m").count("Published") == 2


def test_a_start_looks_for_what_happened_while_nobody_ran(lab):
    lab.shelf.publish("m", 1, saved_model("m", MIB))
    lab.shelf.publish("n", 1, saved_model("n", MIB))
    with lab.puller(wants("m", "n")) as puller:
        puller.wait_until_complete("m", "n")
    for name in ("gone.1", "removed.gone.1.0123", "unheard-of"):
        (lab.store / ".staging" / name / "deep").mkdir(parents=True)
        (lab.store / ".staging" / name / "deep" / "file").write_bytes(bytes(1000))
    (lab.store / ".staging" / "gone.2.lock").write_bytes(b"1\n")
    shutil.rmtree(lab.store / "m")
    stray = lab.store / "stray" / "1"
    stray.mkdir(parents=True)
    (stray / "saved_model.pb").write_bytes(b"somebody's")
    lab.proxy.forget()
    with lab.puller(wants("m", "n")) as puller:
        puller.wait_until_complete("m", "n")
        puller.wait(lambda: list((lab.store / ".staging").iterdir()) == [])
    assert lab.proxy.seen("/o/n/") == []
    assert (stray / "saved_model.pb").read_bytes() == b"somebody's"
    shutil.rmtree(stray.parent)
    assert complaints(lab.store, lab.shelf.versions) == []


@pytest.mark.parametrize("right", [True, False])
def test_a_directory_of_unknown_origin_is_kept_only_when_it_is_the_source(lab, right):
    files = saved_model("m", MIB)
    lab.shelf.publish("m", 1, files)
    for path, data in files.items():
        place = lab.store / "m" / "1" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data if right else bytes(len(data)))
    with lab.puller(wants("m")) as puller:
        puller.wait_until_complete("m")
    assert complaints(lab.store, lab.shelf.versions) == []
    assert (lab.proxy.body_bytes("/o/m/") == 0) == right
