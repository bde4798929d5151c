from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SUPERVISORD = str(Path(sys.executable).with_name("supervisord"))
#: Listens on the ports that follow; a stand-in for any service, quicker to start than a real one.
LISTEN = (
    "import socket, sys, time\n"
    "listeners = [socket.create_server(('127.0.0.1', int(port))) for port in sys.argv[1:]]\n"
    "time.sleep(600)\n"
)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def described(name, *ports, code=LISTEN, **changes):
    return {
        "name": name,
        "command": [sys.executable, "-I", "-S", "-c", f"exec({code!r})", *map(str, ports)],
        "directory": "/",
        "ports": [{"number": port, "variable": f"{name}_port"} for port in ports],
        **changes,
    }


@dataclass
class Home:
    path: Path
    call: object

    def ensure(self, *programs, **options):
        given = {"home": str(self.path), "supervisord": SUPERVISORD, "ready_timeout": 20, **options}
        return self.call("modelfleet_process", programs=list(programs), **given)

    def written(self):
        return [path for path in (self.path / "etc").rglob("*") if path.is_file()]

    def stop(self, **options):
        return self.call("modelfleet_process", home=str(self.path), supervisord=SUPERVISORD, state="stopped", **options)


@pytest.fixture
def home(tmp_path_factory, call):
    path = tmp_path_factory.mktemp("h")
    for folder in ("etc/conf.d", "log", "run"):
        (path / folder).mkdir(parents=True)
    place = Home(path, call)
    yield place
    place.stop()


def pids(result):
    return {item["name"]: item["pid"] for item in result["processes"]}


def test_programs_start_stay_and_only_the_changed_one_restarts(home):
    one, two = described("one", free_port()), described("two", free_port())
    told = home.ensure(one, two, check=True, diff=True)
    assert told["changed"]
    assert home.written() == []
    done = home.ensure(one, two, diff=True)
    assert done["actions"] == told["actions"]
    assert done["diff"] == told["diff"]
    again = home.ensure(one, two)
    assert not again["changed"]
    assert pids(again) == pids(done)
    changed = home.ensure({**one, "restart_token": "2"}, two)
    assert "restarted one" in changed["actions"]
    assert pids(changed)["one"] != pids(done)["one"]
    assert pids(changed)["two"] == pids(done)["two"]
    assert home.stop(check=True)["changed"]
    assert home.stop()["changed"]
    assert not home.stop()["changed"]
    with pytest.raises(ProcessLookupError):
        os.kill(pids(changed)["one"], 0)


def test_a_killed_program_and_a_killed_supervisor_come_back(home):
    program = described("one", free_port())
    pid = pids(home.ensure(program))["one"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (now := pids(home.ensure(program)).get("one")) == pid:
        assert time.monotonic() < deadline
    supervisor = int((home.path / "run" / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    back = home.ensure(program)
    assert back["actions"] == ["start the supervisor"]
    assert pids(back)["one"] not in {0, now}


def test_a_program_that_a_person_stopped_is_started(home):
    program = described("one", free_port())
    home.ensure(program)
    control = [str(Path(SUPERVISORD).with_name("supervisorctl")), "-c", str(home.path / "etc/supervisord.conf")]
    subprocess.run([*control, "stop", "one"], check=True, capture_output=True)
    assert home.ensure(program, check=True)["actions"] == ["start one"]
    assert home.ensure(program)["actions"] == ["start one"]


def test_a_taken_port_is_refused_by_its_variable_before_anything_changes(home):
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        result = home.ensure(described("one", port))
    assert result["failed"]
    assert f"port {port}: is in use by process {os.getpid()}" in result["msg"]
    assert "set one_port to a free port" in result["msg"]
    assert home.written() == []


def test_a_program_that_never_becomes_ready_fails_with_the_end_of_its_log(home):
    code = "print('cannot read the model'); raise SystemExit(3)"
    result = home.ensure(described("one", free_port(), code=code), ready_timeout=3)
    assert result["failed"]
    assert "program one: does not answer" in result["msg"]
    assert "cannot read the model" in result["msg"]


def test_files_are_written_and_seeds_only_where_nothing_lies(home):
    settings, seed = home.path / "settings", home.path / "seed"
    seed.write_text("mine")

    def program(content):
        files = [
            {"path": str(settings), "content": content},
            {"path": str(seed), "content": "theirs", "seed": True},
        ]
        return described("one", free, files=files)

    free = free_port()
    home.ensure(program("a"))
    assert (settings.read_text(), seed.read_text()) == ("a", "mine")
    assert "restarted one" in home.ensure(program("b"))["actions"]
    assert settings.read_text() == "b"


def test_a_secret_is_written_for_its_owner_alone_and_never_shown(home):
    path = home.path / "etc" / "key"

    def program(secret, **changes):
        return described("one", port, files=[{"path": str(path), "secret": secret, "mode": "0600", **changes}])

    port = free_port()
    result = home.ensure(program("first-key", seed=True), diff=True)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first-key", 0o600)
    assert "first-key" not in str(result)
    path.chmod(0o644)
    told = home.ensure(program("another-key", seed=True), check=True)
    assert told["actions"] == [f"set the permissions of {path} to 0600"]
    assert home.ensure(program("another-key", seed=True))["actions"] == told["actions"]
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first-key", 0o600)
    assert not home.ensure(program("another-key", seed=True))["changed"]
    watched = home.ensure(program("another-key", watched=True), diff=True)
    assert watched["actions"] == [f"write {path}"]
    assert "secret" in watched["diff"]["after"]
    assert "-key" not in str(watched)
    assert pids(watched) == pids(result)


#: Answers 503 for a while, then 200, with the path that was asked.
HEALTH = """
import http.server, sys, time
begin = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        well = self.path == "/health" and time.monotonic() - begin > float(sys.argv[2])
        self.send_response(200 if well else 503)
        self.end_headers()
        self.wfile.write(sys.argv[3].encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def unwell(port, *, seconds, words=""):
    program = described("one", port, seconds, words, code=HEALTH)
    return {**program, "ports": [{"number": port, "variable": "one_port", "health": "/health"}]}


def test_a_program_is_ready_when_it_says_that_it_is_well(home):
    begin = time.monotonic()
    assert home.ensure(unwell(free_port(), seconds=1))["changed"]
    assert time.monotonic() - begin > 1


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("a  worker hangs ", "a worker hangs"),
        (json.dumps({"reasons": [{"subject": "a", "problem": "hangs", "remedy": "look"}]}), "a: hangs; look"),
    ],
)
def test_a_program_that_stays_unwell_fails_with_its_own_reason(home, words, shown):
    port = free_port()
    result = home.ensure(unwell(port, seconds=600, words=words), ready_timeout=2)
    assert result["failed"]
    assert f"program one: answers 503 on {port}/health: {shown} after" in result["msg"]


def test_what_a_shell_says_about_stores_does_not_reach_the_programs(home, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of a person")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("MODELFLEET_TEST_WORD", "kept")
    pid = pids(home.ensure(described("one", free_port())))["one"]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"MODELFLEET_TEST_WORD=kept" in environment
    assert b"AWS_" not in environment
    assert b"STORAGE_EMULATOR_HOST" not in environment


def test_another_release_replaces_the_supervisor(home):
    program = described("one", free_port())
    first = pids(home.ensure(program, release="1"))
    second = home.ensure(program, release="2")
    assert "replace the supervisor" in second["actions"]
    assert pids(second) != first
