"""A thread that hangs is named, by the service itself and by whoever reads its files."""

from __future__ import annotations

import os

import pytest
from modelfleet.errors import InvalidInput
from modelfleet_services.common import health, heartbeats
from modelfleet_services.common.heartbeats import Beat, HeartbeatFiles, Pulse


class Time:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def files(tmp_path, time):
    files = HeartbeatFiles(tmp_path, 60.0, time)
    files.prepare()
    return files


def test_files_tell_how_long_ago_each_thread_showed_life_and_what_it_did(files, tmp_path, time):
    files.write({"loop": (0.0, "waiting"), "worker 1": (50.0, "reading digits 3")})
    time.now += 20
    beats = heartbeats.read(tmp_path, time)
    assert beats == (Beat("loop", 20.0, "waiting", 60.0), Beat("worker 1", 70.0, "reading digits 3", 60.0))
    assert beats[0].judge() is None
    assert beats[1].judge().one_line() == (
        "thread worker 1: has shown no life for 70 s (limit 60 s) since reading digits 3; "
        "look into the service's log, and restart it"
    )


def test_a_service_that_no_longer_writes_grows_old_as_a_whole(files, tmp_path, time):
    files.write({"loop": (0.0, "waiting")})
    time.now += 61
    assert [beat.judge() is None for beat in heartbeats.read(tmp_path, time)] == [False]


def test_threads_that_ended_are_forgotten_and_new_deeds_are_told(files, tmp_path, time):
    files.write({"loop": (0.0, "waiting"), "worker-1": (0.0, "reading")})
    files.write({"loop": (0.0, "looking")})
    assert [(beat.thread, beat.doing) for beat in heartbeats.read(tmp_path, time)] == [("loop", "looking")]


def test_a_file_that_somebody_took_away_is_written_anew(files, tmp_path, time):
    files.write({"loop": (0.0, "waiting")})
    (tmp_path / "heartbeats" / "loop").unlink()
    files.write({"loop": (1.0, "waiting")})
    assert heartbeats.read(tmp_path, time) == (Beat("loop", 1.0, "waiting", 60.0),)


def test_names_of_threads_cannot_lead_out_of_the_directory(files, tmp_path, time):
    files.write({"../../escape": (0.0, ""), ".new": (0.0, "")})
    assert sorted(path.name for path in (tmp_path / "heartbeats").iterdir()) == ["-escape", "-new"]
    assert {beat.thread for beat in heartbeats.read(tmp_path, time)} == {"../../escape", ".new"}


def test_a_start_takes_away_what_an_earlier_process_left(files, tmp_path, time):
    files.write({"gone": (0.0, "")})
    HeartbeatFiles(tmp_path, 60.0, time).prepare()
    with pytest.raises(InvalidInput, match="holds no heartbeat"):
        heartbeats.read(tmp_path, time)


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="--app-dir"):
        HeartbeatFiles(tmp_path / "file", 60.0).prepare()


def test_a_pulse_knows_its_threads(time):
    pulse = Pulse(time)
    pulse.beat("http", "answering")
    time.now += 3
    pulse.beat("vitals", "writing")
    assert pulse.signs() == {"http": (3.0, "answering"), "vitals": (0.0, "writing")}


def told(capsys, *arguments):
    status = health.main([str(argument) for argument in arguments])
    return status, capsys.readouterr().out.splitlines()


def test_the_health_command_judges_files(tmp_path, capsys):
    files = HeartbeatFiles(tmp_path, 60.0)
    files.prepare()
    status, lines = told(capsys, "--app-dir", tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert "holds no heartbeat" in lines[0]
    files.write({"loop": (0.0, "waiting"), "worker-1": (0.0, "reading")})
    assert told(capsys, "-app-dir", tmp_path) == (0, ["healthy"])
    os.utime(tmp_path / "heartbeats" / "worker-1", (0, 0))
    status, lines = told(capsys, "--app-dir", tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert lines[0].startswith("thread worker-1: has shown no life")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"thread": "a", "doing": "", "limit_s": "x"}', "\x00"])
def test_what_is_no_heartbeat_is_told(tmp_path, capsys, content):
    HeartbeatFiles(tmp_path, 60.0).prepare()
    (tmp_path / "heartbeats" / "odd").write_text(content)
    status, lines = told(capsys, "--app-dir", tmp_path)
    assert (status, len(lines)) == (1, 1)
    assert "is not the heartbeat of a thread" in lines[0]


@pytest.mark.parametrize("url", ["http://h:99999/", "http://[::1/", "https://h/", "h:8001"])
def test_the_health_command_tells_what_is_no_address(capsys, url):
    status, lines = told(capsys, "--url", url)
    assert status == 1
    assert "write http://127.0.0.1:8001/health" in lines[0]


@pytest.mark.parametrize("timeout", ["-1", "0", "nan", "inf", "soon"])
def test_the_health_command_does_not_wait_for_ever(capsys, tmp_path, timeout):
    status, lines = told(capsys, "--app-dir", tmp_path, "--timeout", timeout)
    assert status == 1
    assert lines[0].startswith("--timeout: ")


def test_the_health_command_without_a_service_says_so(tmp_path, capsys):
    status, lines = told(capsys, "--app-dir", tmp_path / "missing")
    assert (status, len(lines)) == (1, 1)
    assert "cannot be read" in lines[0]
