"""No model waits for another one."""

from __future__ import annotations

import time
from datetime import datetime

from modelfleet.pull_status import PullState

from tests.support.faulty_proxy import Fault
from tests.support.pull_lab import MIB, complaints, saved_model
from tests.support.running_puller import wants


def test_a_short_model_does_not_wait_for_a_long_one(lab):
    lab.shelf.publish("long", 1, saved_model("long", 8 * MIB))
    lab.shelf.publish("short", 1, saved_model("short", MIB))
    slow = lab.proxy.add(Fault("/o/long/", rate=MIB))
    began = time.monotonic()
    with lab.puller(wants("long", "short"), workers=2, stall_s=5) as puller:
        puller.wait_until_complete("short")
        assert time.monotonic() - began < 2
        puller.wait(lambda: puller.bytes_done("long"))
        report = puller.wait_for("long", PullState.PULLING)
        assert 0 < report.bytes_done < report.bytes_total
        lab.proxy.remove(slow)
        puller.wait_until_complete("long", "short")


def test_one_worker_more_than_slow_models_is_enough(lab):
    count = 4
    slow = [f"slow{number}" for number in range(count)]
    for name in slow:
        lab.shelf.publish(name, 1, saved_model(name, 8 * MIB))
    fault = lab.proxy.add(Fault("/o/slow", rate=MIB))
    with lab.puller(wants(*slow), workers=count + 1, stall_s=5) as puller:
        for name in slow:
            puller.wait_for(name, PullState.PULLING)
        quick = [f"quick{number}" for number in range(10)]
        for name in quick:
            lab.shelf.publish(name, 1, saved_model(name))
        began = time.monotonic()
        puller.wanted = wants(*slow, *quick)
        puller.wait_until_complete(*quick)
        assert time.monotonic() - began < 3
        assert [puller.report(name).state for name in slow] == [PullState.PULLING] * count
        lab.proxy.remove(fault)
        puller.wait_until_complete(*slow, *quick)


def test_models_that_hang_do_not_hold_their_neighbours(lab):
    for name in ("dead1", "dead2", "alive"):
        lab.shelf.publish(name, 1, saved_model(name))
    hang = lab.proxy.add(Fault("/o/dead", hang=-1))
    with lab.puller(wants("dead1", "dead2"), workers=2) as puller:
        for name in ("dead1", "dead2"):
            puller.wait_for(name, PullState.RETRYING, "STALLED")
        puller.wanted = wants("dead1", "dead2", "alive")
        puller.wait_until_complete("alive")
        assert puller.puller.status().counters["stalls"] >= 2
        lab.proxy.remove(hang)
        puller.wait_until_complete("alive", "dead1", "dead2")


def test_a_slow_way_is_not_taken_for_a_dead_one(lab):
    lab.shelf.publish("m", 1, saved_model("m", MIB + MIB // 2))
    lab.proxy.add(Fault("/o/m/", rate=500_000))
    with lab.puller(wants("m"), stall_s=2) as puller:
        puller.wait(lambda: 0 < puller.bytes_done("m") < MIB)
        puller.wait_until_complete("m")
        assert puller.puller.status().counters["stalls"] == 0


def test_fifty_small_models_at_once(lab, capsys):
    names = [f"m{number:02}" for number in range(50)]
    for name in names:
        lab.shelf.publish(name, 1, saved_model(name, 20_000))
    began = datetime.now().astimezone()
    with lab.puller(wants(*names), workers=4) as puller:
        puller.wait_until_complete(*names)
        published = [event for event in puller.events if event.step == "Published"]
    assert sorted(event.model for event in published) == names
    times = sorted(path.stat().st_mtime - began.timestamp() for path in lab.store.glob(".receipts/*/1.json"))
    p95 = times[47]
    with capsys.disabled():
        print(f"\n50 small models at once: p95 {p95:.2f} s, last {times[-1]:.2f} s")  # noqa: T201  (a figure to read)
    assert p95 < 5
    assert complaints(lab.store, lab.shelf.versions) == []
