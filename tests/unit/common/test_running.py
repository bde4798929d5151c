"""The threads of a service end together: by a signal, by a failure of one, within a bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

PROGRAM = """
    import os, sys, threading, time
    from modelfleet_services.common import running
    from modelfleet_services.common.event_log import EventLog

    running.PATIENCE_S = 0.3
    def works(stop):
        print("works", flush=True)
        stop.wait()
    def hangs(stop):
        time.sleep(60)
    def fails(stop):
        raise ZeroDivisionError("oops")
    def ends(stop):
        pass
    def lingers(stop):
        running.PATIENCE_S = 60
        time.sleep(60)
    threads = {name: globals()[name] for name in sys.argv[1:]}
    os._exit(running.Running(EventLog()).until_stopped(threads, stops=(lambda: print("told", flush=True),)))
"""


def start(*threads):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *threads],
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    output, log = process.communicate(timeout=20)
    return process.returncode, output, log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_thread_and_the_program_well(number):
    with start("works") as process:
        assert process.stdout.readline() == "works\n"
        process.send_signal(number)
        status, output, log = ended(process)
    assert (status, output) == (0, "told\n")
    assert "step=Stopping" in log
    assert "step=Stopped" in log
    assert "Left behind" not in log


def test_a_thread_that_hangs_is_left_behind_and_named():
    with start("hangs", "works") as process:
        assert process.stdout.readline() == "works\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status, _, log = ended(process)
    assert status == 0
    assert time.monotonic() - begin < 5
    assert 'step="Left behind" threads=hangs' in log


@pytest.mark.parametrize(("name", "said"), [("fails", "ZeroDivisionError: oops"), ("ends", "Thread ends ended")])
def test_a_thread_that_fails_or_ends_by_itself_ends_the_program_badly(name, said):
    with start("works", name) as process:
        status, _, log = ended(process)
    assert status == 1
    assert "level=error" in log
    assert said in log


def test_a_second_signal_ends_it_at_once_and_a_double_one_does_not():
    with start("works", "lingers") as process:
        assert process.stdout.readline() == "works\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.6)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        status, _, log = ended(process)
    assert status == 128 + signal.SIGINT
    assert "step=Stopped" not in log
