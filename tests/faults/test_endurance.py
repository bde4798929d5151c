"""What stays open, and what two pullers do to each other."""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.support.faulty_proxy import Fault
from tests.support.pull_lab import MIB, complaints, content, saved_model, versions_of
from tests.support.pull_process import Job, Pullers
from tests.support.running_puller import open_files, wants


def test_threads_and_files_stay_as_many_as_they_were_over_200_pulls(lab):
    models = [f"m{number}" for number in range(20)]
    figures = []
    with lab.puller({}, workers=4) as puller:
        for version in range(1, 11):
            for name in models:
                lab.shelf.publish(name, version, {"saved_model.pb": content(f"{name} {version}", 500)})
            wanted = wants(**dict.fromkeys(models, version))
            puller.wanted = wanted
            puller.wait(
                lambda wanted=wanted: {(name, wanted[name]["versions"][0]) for name in wanted}.issubset(
                    versions_of(lab.store)
                )
            )
            puller.wait_for_passes(1)
            figures.append((threading.active_count(), open_files()))
        assert puller.puller.status().counters["pulled_versions"] == 200
    threads, files = zip(*figures[1:], strict=True)
    assert max(threads) - min(threads) <= 4, figures  # the proxy's, one a connection
    assert max(files) - min(files) <= 12, figures
    assert complaints(lab.store, lab.shelf.versions) == []


def test_two_pullers_on_one_store_never_break_each_other(lab):
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    for number in range(4):
        lab.shelf.publish(f"m{number}", 1, saved_model(f"m{number}", 2 * MIB, assets=5))
    job = Job(lab.shelf.bucket.uri, lab.proxy.url, str(lab.store), workers=2)
    jobs = (job, replace(job, service=True))
    with Pullers() as one, Pullers() as other, ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            both = [
                threads.submit(pullers.run, task, dice.uniform(0, 0.3))
                for pullers, task in zip((one, other), jobs, strict=True)
            ]
            for ending in both:
                ending.result()
            assert complaints(lab.store, lab.shelf.versions) == [], f"seed {seed}"
        both = [threads.submit(pullers.run, task) for pullers, task in zip((one, other), jobs, strict=True)]
        for ending in both:
            assert ending.result().did["refused"] == [], f"seed {seed}"
    assert set(versions_of(lab.store)) == set(lab.shelf.versions)
    assert complaints(lab.store, lab.shelf.versions) == [], f"seed {seed}"


def test_a_process_that_was_stopped_in_mid_pull_is_not_waited_for_without_end(lab):
    lab.shelf.publish("m", 1, saved_model("m", 8 * MIB))
    lab.shelf.publish("n", 1, saved_model("n"))
    slow = lab.proxy.add(Fault("/o/m/", rate=8 * MIB))
    job = Job(lab.shelf.bucket.uri, lab.proxy.url, str(lab.store), stall_s=0.2)
    with Pullers() as one, Pullers() as other:
        pid = one.start(job)
        assert lab.proxy.wait_for_bytes("/o/m/", 2 * MIB)
        os.kill(pid, signal.SIGSTOP)
        try:
            (refusal,) = other.run(job).did["refused"]
            assert f"process {pid}" in refusal
            assert set(versions_of(lab.store)) == {("n", 1)}
        finally:
            os.kill(pid, signal.SIGCONT)
        lab.proxy.remove(slow)
        assert one.wait().did["refused"] == []
    assert set(versions_of(lab.store)) == set(lab.shelf.versions)
    assert complaints(lab.store, lab.shelf.versions) == []
