"""Signs of life and progress, written while a puller runs."""

from __future__ import annotations

import threading
from dataclasses import replace

from modelfleet.pull_status import PullEvent, PullState, VersionReport
from modelfleet_services.common import heartbeats
from modelfleet_services.common.event_log import EventLog
from modelfleet_services.common.heartbeats import HeartbeatFiles, Pulse
from modelfleet_services.puller import vitals as module
from modelfleet_services.puller.progress import Progress, described
from modelfleet_services.puller.serving import telling
from modelfleet_services.puller.vitals import Vitals

from tests.support.played_engine import PlayedEngine

COMING = VersionReport(
    "digits", 4, PullState.PULLING, bytes_done=40, bytes_total=100, bytes_per_s=20.0, since="2023-11-14T22:13:20Z"
)


def test_progress_is_told_of_pulls_that_last():
    told = []
    engine, progress = PlayedEngine(COMING), Progress(told.append)
    progress.look(engine.now)
    assert told == []
    progress.look(engine.now)
    assert told == [
        {
            "model": "digits",
            "version": 4,
            "percent": 40,
            "bytes_done": 40,
            "bytes_total": 100,
            "bytes_per_s": 20,
            "left_s": 3,
        }
    ]
    progress.look(replace(engine.now, versions=(replace(COMING, since="2023-11-14T22:14:20Z"),)))
    progress.look(replace(engine.now, versions=(replace(COMING, state=PullState.VERIFYING),)))
    progress.look(engine.now)
    assert len(told) == 1


def test_a_pull_without_sizes_or_rate_promises_no_time():
    fields = described(replace(COMING, bytes_done=0, bytes_total=0, bytes_per_s=0.0))
    assert fields["percent"] == 0
    assert "left_s" not in fields


def test_signs_of_life_are_written_again_and_again_until_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    engine = PlayedEngine(COMING)
    files = HeartbeatFiles(tmp_path, 60.0)
    files.prepare()
    told, often, stop = [], threading.Event(), threading.Event()

    def tell(fields):
        told.append(fields)
        often.set()

    vitals = Vitals(engine, Pulse(), files, Progress(tell))
    thread = threading.Thread(target=vitals.run, args=(stop,))
    thread.start()
    assert often.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert {beat.thread for beat in heartbeats.read(tmp_path)} == {"loop", "worker-1", "vitals"}
    assert vitals.problems() == []


def test_steps_of_the_engine_become_lines_with_the_model_s_name(capsys):
    tell = telling(EventLog())
    tell(PullEvent("Need to add model", "digits", 3))
    tell(PullEvent("Failed download", "digits", 3, {"reason": "FORBIDDEN", "problem": "may not"}, failure=True))
    tell(PullEvent("Paused"))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.endswith('level=info step="Need to add model" model=digits version=3')
    assert 'level=warning step="Failed download" model=digits version=3 reason=FORBIDDEN problem="may not"' in second
    assert third.endswith("level=info step=Paused")
