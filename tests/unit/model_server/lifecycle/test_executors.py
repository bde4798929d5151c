"""Pools that run, bound and drain."""

from __future__ import annotations

import threading

import pytest
from modelfleet_services.model_server.lifecycle.executors import InlineExecutor, ThreadPool, executor

DEADLINE_S = 5


def test_inline_runs_on_the_thread_that_submits():
    pool = executor(0, "x")
    assert isinstance(pool, InlineExecutor)
    ran = []
    pool.submit(lambda: ran.append(threading.current_thread()))
    assert ran == [threading.current_thread()]
    assert pool.close()


def test_a_pool_runs_as_many_jobs_at_once_as_it_has_threads_and_no_more():
    pool = executor(2, "x")
    started, release = threading.Semaphore(0), threading.Event()
    most, running, lock = [0], [0], threading.Lock()

    def job():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        started.release()
        assert release.wait(DEADLINE_S)
        with lock:
            running[0] -= 1

    for _ in range(5):
        pool.submit(job)
    assert started.acquire(timeout=DEADLINE_S)
    assert started.acquire(timeout=DEADLINE_S)
    assert not started.acquire(timeout=0.05)
    release.set()
    assert pool.close(DEADLINE_S)
    assert most == [2]
    assert started._value == 3


def test_an_idle_thread_is_used_again():
    pool = ThreadPool(4, "x")
    for _ in range(10):
        done = threading.Event()
        pool.submit(done.set)
        assert done.wait(DEADLINE_S)
    assert pool.close(DEADLINE_S)
    assert len(pool._threads) <= 2


def test_close_finishes_what_is_queued_and_takes_no_more():
    pool = ThreadPool(1, "x")
    ran = []
    for number in range(20):
        pool.submit(lambda number=number: ran.append(number))
    assert pool.close()
    assert ran == list(range(20))
    with pytest.raises(RuntimeError, match="x is closed"):
        pool.submit(list)


def test_close_gives_up_after_its_timeout():
    pool = ThreadPool(1, "x")
    release = threading.Event()
    pool.submit(release.wait)
    assert not pool.close(0.02)
    release.set()
    assert pool.close(DEADLINE_S)
