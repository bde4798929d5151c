"""The program as it runs on a node: start, work, API, healthcheck, end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.puller_process import PullerProcess, wait_for

TOKEN = "0123456789abcdef"


def publish(repository, model, version, content=b"x"):
    directory = repository / model / str(version)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(content)


@pytest.fixture
def repository(tmp_path):
    repository = tmp_path / "repository"
    publish(repository, "digits", 1)
    publish(repository, "words", 7)
    return repository


def pulled(puller, model, version):
    path = puller.store / model / str(version) / "saved_model.pb"
    return path.read_bytes() if path.is_file() else None


def test_it_pulls_what_the_runbook_s_variables_say_tells_about_it_and_ends(tmp_path, repository):
    variables = {"REMOTE_MODEL_DIRECTORY": str(repository)}
    with PullerProcess(tmp_path, environment=variables) as puller:
        client = puller.client
        assert puller.wait_ready().json["missing"] == 0
        assert pulled(puller, "digits", 1) == b"x"
        status = client.get("/status").json
        assert status["node"] == "node-1"
        assert [(one["model"], one["version"], one["state"]) for one in status["versions"]] == [
            ("digits", 1, "COMPLETE"),
            ("words", 7, "COMPLETE"),
        ]
        assert client.get("/health").status == 200
        assert puller.sample('modelfleet_puller_versions{state="COMPLETE"}') == 2
        assert puller.lines("Worker initialized")
        for step in ("Need to add model", "Started job", "Should download", "hash=", "Downloading", "Published"):
            assert puller.lines(step, "model=digits", "version=1"), step
        status, seconds = puller.end()
        assert status == 0
        assert seconds < 5
        assert puller.lines("step=Stopped")


def test_the_port_is_open_within_a_second_of_processor_time(tmp_path, repository):
    with PullerProcess(tmp_path, f"--repository={repository}") as puller:
        assert puller.client.get("/health").status == 200
        fields = Path(f"/proc/{puller.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        assert (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") < 1.5


def test_a_changed_manifest_is_followed_without_being_told(tmp_path, repository):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"models": {"digits": {}}}))
    with PullerProcess(
        tmp_path, f"--repository={repository}", f"--manifest={manifest}", "--watch-seconds=0.1"
    ) as puller:
        puller.wait_ready()
        assert pulled(puller, "words", 7) is None
        manifest.write_text(json.dumps({"models": {"digits": {}, "words": {}}}))
        wait_for(lambda: pulled(puller, "words", 7), 10, puller)
        manifest.write_text("{")
        wait_for(lambda: puller.lines("Look failed"), 10, puller)
        assert puller.client.get("/ready").status == 503
        assert puller.client.get("/health").status == 200
        assert pulled(puller, "words", 7)


def test_sync_finds_a_new_version_at_once(tmp_path, repository):
    with PullerProcess(tmp_path, f"--repository={repository}", "--resync-seconds=600") as puller:
        puller.wait_ready()
        publish(repository, "digits", 2, b"two")
        assert puller.client.post("/sync").status == 202
        wait_for(lambda: pulled(puller, "digits", 2), 10, puller)


def test_a_pause_holds_until_resume(tmp_path, repository):
    with PullerProcess(tmp_path, f"--repository={repository}") as puller:
        puller.wait_ready()
        assert puller.client.post("/pause").json == {"paused": True}
        publish(repository, "digits", 2)
        puller.client.post("/sync")
        wait_for(lambda: puller.client.get("/status").json["versions"][0]["version"] == 2, 10, puller)
        time.sleep(0.3)
        assert pulled(puller, "digits", 2) is None
        assert puller.client.post("/resume").json == {"paused": False}
        wait_for(lambda: pulled(puller, "digits", 2), 10, puller)


def test_other_addresses_are_served_with_a_token(tmp_path, repository):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    with PullerProcess(tmp_path, f"--repository={repository}", "--bind=0.0.0.0", f"--token-file={token}") as puller:
        assert puller.client.post("/sync").status == 401
        assert puller.client.post("/sync", headers={"Authorization": f"Bearer {TOKEN}"}).status == 202
        assert not puller.lines(TOKEN)


def started(*arguments, environment=None):
    return subprocess.run(
        [sys.executable, "-m", "modelfleet_services", *arguments],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_start_without_settings_names_each_of_them_on_a_line():
    done = started("puller", "--num-workers=0", "--bind=0.0.0.0")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("modelfleet puller: ") for line in lines)
    for name in ("$HOSTNAME", "$REMOTE_MODEL_DIRECTORY", "--num-workers", "--token-file"):
        assert any(name in line for line in lines)


def test_a_taken_port_and_an_unwritable_directory_are_told_in_one_line(tmp_path, repository):
    environment = {"HOSTNAME": "n", "REMOTE_MODEL_DIRECTORY": str(repository)}
    flags = ["puller", f"--model-dir={tmp_path}/store"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = started(*flags, f"--app-dir={tmp_path}/app", f"--port={port}", environment=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"modelfleet puller: port {port} of 127.0.0.1: is taken by another program; end that, or choose another --port"
    ]
    done = started(*flags, f"--app-dir={repository}/digits/1/saved_model.pb", "--port=0", environment=environment)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr


def test_the_healthcheck_s_command_sees_a_stopped_process(tmp_path, repository):
    with PullerProcess(tmp_path, f"--repository={repository}", "--heartbeat-limit-seconds=61") as puller:
        url = f"http://127.0.0.1:{puller.client.port}/health"
        wait_for((puller.app / "heartbeats" / "loop").is_file, 10, puller)
        assert started("health", "--app-dir", str(puller.app)).stdout == "healthy\n"
        assert started("health", "--url", url).stdout == "healthy\n"
        puller.process.send_signal(signal.SIGSTOP)
        done = started("health", "--url", url, "--timeout=0.5")
        assert (done.returncode, "does not answer" in done.stdout) == (1, True)
        for path in (puller.app / "heartbeats").iterdir():
            os.utime(path, (time.time() - 62, time.time() - 62))
        done = started("health", "--app-dir", str(puller.app))
        assert done.returncode == 1
        assert "thread loop: has shown no life" in done.stdout
        puller.process.send_signal(signal.SIGCONT)


def test_it_is_small_and_quiet_when_there_is_nothing_to_do(tmp_path, repository):
    with PullerProcess(tmp_path, f"--repository={repository}") as puller:
        puller.wait_ready()
        assert puller.sample("process_resident_memory_bytes") < 64 << 20
        before = puller.sample("process_cpu_seconds_total")
        time.sleep(2)
        assert puller.sample("process_cpu_seconds_total") - before < 0.1
