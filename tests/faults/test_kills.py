"""A puller that is killed leaves nothing wrong behind, and the next one goes on from there."""

from __future__ import annotations

import os
import random
import time
from dataclasses import replace

import pytest

from tests.support.pull_lab import MIB, complaints, saved_model, versions_of
from tests.support.pull_process import Job, Pullers

KILLS = int(os.environ.get("MODELFLEET_KILLS", "24"))
SEED = int(os.environ.get("MODELFLEET_SEED", "0")) or random.randrange(1, 1 << 32)
WORKERS = 3
SEGMENT = 2 * MIB


@pytest.fixture(scope="module")
def pullers():
    with Pullers() as pullers:
        yield pullers


@pytest.mark.parametrize("service", [False, True], ids=["once", "service"])
def test_kills_at_random_moments(lab, pullers, tmp_path, capsys, service):
    dice = random.Random(f"{SEED} {service}")
    for number in range(6):
        lab.shelf.publish(f"small{number}", 1, saved_model(f"small{number}", 50_000, assets=6))
    lab.shelf.publish("large", 1, saved_model("large", 48 * MIB, shards=3))

    def job(round_number):
        store = tmp_path / f"round{round_number}"
        return Job(
            lab.shelf.bucket.uri, lab.proxy.url, str(store), workers=WORKERS, segment_bytes=SEGMENT, service=service
        ), store

    began = time.monotonic()
    whole, _ = job("whole")
    assert not pullers.run(whole).killed
    duration = time.monotonic() - began
    kills, rounds, worst, moved = 0, 0, 0.0, 0
    while kills < KILLS // 2:
        rounds += 1
        task, store = job(rounds)
        lab.proxy.forget()
        here = 0
        while (ending := pullers.run(task, dice.uniform(0, duration * 0.7))).killed:
            here += 1
            assert complaints(store, lab.shelf.versions) == [], f"seed {SEED}, kill {kills + here}"
            if kills + here >= KILLS // 2:
                ending = pullers.run(task)
                break
        assert not ending.killed
        assert set(versions_of(store)) == set(lab.shelf.versions)
        assert complaints(store, lab.shelf.versions) == [], f"seed {SEED}, after kill {kills + here}"
        read = lab.proxy.body_bytes("alt=media")
        assert read <= lab.shelf.size + here * WORKERS * SEGMENT, f"seed {SEED}, round {rounds}"
        kills += here
        moved += read
        worst = max(worst, read / lab.shelf.size)
    with capsys.disabled():
        print(  # noqa: T201  (figures to read)
            f"\n{kills} kills in {rounds} rounds, seed {SEED}, {time.monotonic() - began:.1f} s:"
            f" read {moved / rounds / lab.shelf.size:.1%} of the size in the mean, {worst:.1%} at worst"
        )


def test_a_kill_before_any_change_of_the_disk(lab, pullers, tmp_path):
    lab.shelf.publish("m", 1, saved_model("m", 3 * MIB, assets=2))
    lab.shelf.publish("n", 1, saved_model("n"))
    job = Job(lab.shelf.bucket.uri, lab.proxy.url, str(tmp_path / "whole"), workers=1)
    count = pullers.run(replace(job, die_at=1 << 30)).did["changes"]
    assert count > 20
    points = random.Random(SEED).sample(range(1, count + 1), min(count, KILLS // 3))
    died = 0
    for point in points:
        store = tmp_path / f"change{point}"
        task = replace(job, store=str(store))
        died += pullers.run(replace(task, die_at=point)).killed
        assert complaints(store, lab.shelf.versions) == [], f"killed before change {point}"
        assert not pullers.run(task).killed
        assert set(versions_of(store)) == set(lab.shelf.versions), f"killed before change {point}"
        assert complaints(store, lab.shelf.versions) == [], f"killed before change {point}"
    assert died >= 0.8 * len(points)


def test_kills_before_any_change_forget_nothing_that_was_noted(lab, pullers, tmp_path):
    lab.shelf.publish("m", 1, saved_model("m", 8 * MIB))
    size, piece = lab.shelf.size, MIB
    dice = random.Random(SEED)
    for number in range(KILLS // 4):
        store = tmp_path / f"store{number}"
        job = Job(lab.shelf.bucket.uri, lab.proxy.url, str(store), workers=1, segment_bytes=piece)
        lab.proxy.forget()
        # The first is killed while bytes come, the second while it takes up what the first one left.
        points = (dice.randint(10, 60), dice.randint(1, 40))
        killed = [pullers.run(replace(job, die_at=point)).killed for point in points]
        assert not pullers.run(job).killed
        assert complaints(store, lab.shelf.versions) == [], f"killed before changes {points}"
        read = lab.proxy.body_bytes("alt=media")
        assert read <= size + sum(killed) * piece, f"killed before changes {points}"
