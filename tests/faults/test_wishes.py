"""What is wanted changes while bytes are on their way."""

from __future__ import annotations

import time

from modelfleet.pull_status import PullState

from tests.support.faulty_proxy import Fault
from tests.support.pull_lab import MIB, complaints, saved_model, versions_of
from tests.support.running_puller import wants


def leftovers(store):
    return [path for path in (store / ".staging").rglob("*") if path.is_file()]


def test_a_model_that_is_no_longer_wanted_stops_within_seconds(lab):
    lab.shelf.publish("m", 1, saved_model("m", 100 * MIB, shards=2))
    lab.shelf.publish("n", 1, saved_model("n"))
    lab.proxy.add(Fault("/o/m/", rate=4 * MIB))
    with lab.puller(wants("m", "n"), workers=4, stall_s=5) as puller:
        puller.wait_until_complete("n")
        assert lab.proxy.wait_for_bytes("/o/m/", 2 * MIB)
        began = time.monotonic()
        puller.wanted = wants("n")
        puller.wait(lambda: all(item.ended for item in lab.proxy.seen("/o/m/")) and not leftovers(lab.store))
        assert time.monotonic() - began < 2
        puller.wait(lambda: puller.report("m") is None)
        transferred = lab.proxy.body_bytes("/o/m/")
        puller.wait_for_passes(3)
        assert lab.proxy.body_bytes("/o/m/") == transferred < 20 * MIB
    assert set(versions_of(lab.store)) == {("n", 1)}
    assert complaints(lab.store, lab.shelf.versions) == []


def test_a_download_that_hangs_is_cancelled_as_well(lab):
    lab.shelf.publish("m", 1, saved_model("m", 4 * MIB))
    lab.proxy.add(Fault("/o/m/", hang=1000))
    with lab.puller(wants("m"), stall_s=60) as puller:
        puller.wait_for("m", PullState.PULLING)
        assert lab.proxy.wait_for_bytes("/o/m/", 100)
        began = time.monotonic()
        puller.wanted = {}
        puller.wait(lambda: all(item.ended for item in lab.proxy.seen("/o/m/")) and not leftovers(lab.store))
        assert time.monotonic() - began < 2


def test_an_operator_can_cancel_while_the_repository_hangs(lab):
    lab.shelf.publish("m", 1, saved_model("m", 40 * MIB))
    lab.proxy.add(Fault("/o/m/", rate=4 * MIB))
    with lab.puller(wants("m"), stall_s=5) as puller:
        assert lab.proxy.wait_for_bytes("/o/m/", MIB)
        hang = lab.proxy.add(Fault(r"/o\?", hang=-1))
        puller.wait(lambda: hang.hits)
        began = time.monotonic()
        assert puller.puller.cancel("m") == (("m", 1),)
        puller.wait(lambda: all(item.ended for item in lab.proxy.seen("/o/m/")) and not leftovers(lab.store))
        assert time.monotonic() - began < 2
        assert puller.puller.status().node == "node"
        lab.proxy.remove(hang)


def test_a_model_that_is_withdrawn_in_mid_pull_leaves_nothing_and_comes_back(lab):
    files = saved_model("m", 8 * MIB)
    lab.shelf.publish("m", 1, files)
    slow = lab.proxy.add(Fault("/o/m/", rate=4 * MIB))
    with lab.puller(wants("m"), stall_s=5, segment_bytes=2 * MIB) as puller:
        assert lab.proxy.wait_for_bytes("/o/m/", MIB)
        lab.shelf.withdraw("m", 1)
        puller.wait_for("m", PullState.REFUSED, "SOURCE_NOT_FOUND")
        assert versions_of(lab.store) == {}
        lab.proxy.remove(slow)
        lab.shelf.publish("m", 1, files)
        puller.wait_until_complete("m")
    assert complaints(lab.store, lab.shelf.versions) == []


def test_an_operator_s_cancel_holds_until_the_next_sync(lab):
    lab.shelf.publish("m", 1, saved_model("m", 20 * MIB))
    slow = lab.proxy.add(Fault("/o/m/", rate=2 * MIB))
    with lab.puller(wants("m"), stall_s=5) as puller:
        assert lab.proxy.wait_for_bytes("/o/m/", MIB)
        assert puller.puller.cancel("m") == (("m", 1),)
        puller.wait_for("m", PullState.CANCELLED)
        puller.wait(lambda: all(item.ended for item in lab.proxy.seen("/o/m/")))
        requests = len(lab.proxy.seen("/o/m/"))
        puller.wait_for_passes(3)
        assert len(lab.proxy.seen("/o/m/")) == requests
        lab.proxy.remove(slow)
        puller.puller.sync()
        puller.wait_until_complete("m")


def test_flips_that_end_with_the_model_wanted_cost_at_most_two_downloads(lab):
    size = lab.shelf.publish("m", 1, saved_model("m", 12 * MIB))
    slow = lab.proxy.add(Fault("/o/m/", rate=6 * MIB))
    with lab.puller({}, stall_s=5) as puller:
        puller.wait_for_passes(1)
        for _ in range(10):
            puller.wanted = wants("m")
            time.sleep(0.03)
            puller.wanted = {}
            time.sleep(0.03)
        puller.wanted = wants("m")
        lab.proxy.remove(slow)
        puller.wait_until_complete("m")
        assert lab.proxy.body_bytes("/o/m/") <= 2 * size
        assert puller.steps("m").count("Published") == 1
    assert complaints(lab.store, lab.shelf.versions) == []


def test_a_hundred_wishes_during_a_slow_download_are_taken_at_once(lab):
    lab.shelf.publish("slow", 1, saved_model("slow", 20 * MIB))
    lab.proxy.add(Fault("/o/slow/", rate=2 * MIB))
    with lab.puller(wants("slow"), workers=1, stall_s=5) as puller:
        assert lab.proxy.wait_for_bytes("/o/slow/", MIB)
        began = time.monotonic()
        for _ in range(100):
            puller.puller.sync()
        assert time.monotonic() - began < 0.1
        names = [f"missing{number}" for number in range(100)]
        puller.wanted = wants("slow", *names)
        puller.wait(lambda: all(puller.report(name) for name in names), timeout_s=2)
        assert puller.report("slow").state is PullState.PULLING


def test_a_pause_lets_nothing_begin_and_ends(lab):
    lab.shelf.publish("m", 1, saved_model("m"))
    with lab.puller({}) as puller:
        puller.wait_for_passes(1)
        puller.puller.pause()
        puller.wanted = wants("m")
        time.sleep(0.5)
        assert versions_of(lab.store) == {}
        assert puller.puller.status().paused
        puller.puller.resume()
        puller.wait_until_complete("m")
