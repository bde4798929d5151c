"""tools/bootstrap.sh and .ci/run, run for real with stand-ins for the programs that they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tools(tmp_path):
    """Return a function that puts a shell script on an otherwise empty PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()

    def add(name, body):
        path = directory / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return directory

    return add


def bootstrap(directory, python="python3"):
    return subprocess.run(
        ["/bin/sh", "tools/bootstrap.sh", "controller"],
        cwd=PROJECT,
        env={"PATH": str(directory), "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def fails_with_one_line(result, *parts):
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.10", "3.14"])
def test_a_python_of_another_age_is_named_with_the_cure(tools, version):
    directory = tools("python3", f"echo {version}")
    fails_with_one_line(
        bootstrap(directory), f"python3: is Python {version}", "3.11, 3.12 or 3.13", "make PYTHON=python3.12"
    )


def test_a_missing_python_is_named(tools):
    fails_with_one_line(bootstrap(tools("other", ""), "python3.12"), "python3.12: not found", "make PYTHON=")


def test_a_python_that_does_not_run_is_named(tools):
    fails_with_one_line(bootstrap(tools("python3", "exit 127")), "python3: does not run")


WITHOUT_ENSUREPIP = 'case "$2" in *ensurepip*) exit 1 ;; esac\necho 3.11'


def test_without_ensurepip_and_apt_the_cure_is_one_line(tools):
    fails_with_one_line(bootstrap(tools("python3", WITHOUT_ENSUREPIP)), "has no ensurepip", "install")


def test_without_ensurepip_and_rights_the_command_is_shown(tools):
    tools("apt-get", "exit 1")
    tools("id", "echo 1000")
    directory = tools("python3", WITHOUT_ENSUREPIP)
    fails_with_one_line(bootstrap(directory), "has no ensurepip", "sudo apt-get install python3.11-venv")


def test_without_ensurepip_root_gets_it_installed(tools, tmp_path):
    tools("id", "echo 0")
    tools("apt-get", f'echo "$@" >> {tmp_path}/apt.log')
    directory = tools("python3", f'case $1 in tools/*) echo "$@"; exit ;; esac\n{WITHOUT_ENSUREPIP}')
    result = bootstrap(directory)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "tools/environment.py --directory .venv controller\n"
    assert (tmp_path / "apt.log").read_text() == "install -y -qq python3.11-venv\n"


def ci(tools, tmp_path, make):
    (tmp_path / "project" / ".ci").mkdir(parents=True)
    shutil.copy(PROJECT / ".ci" / "run", tmp_path / "project" / ".ci" / "run")
    directory = tools("make", make)
    return subprocess.run(
        ["/bin/bash", tmp_path / "project" / ".ci" / "run"],
        env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("make", "status", "closing"),
    [
        ('case $1 in test) echo "12 passed, 0 failed" ;; esac', 0, "12 passed, 0 failed"),
        ('case $1 in test) echo "12 passed, 0 failed, 1 skipped" ;; esac', 0, "12 passed, 0 failed, 1 skipped"),
        ('case $1 in test) echo "12 passed, 3 failed"; exit 1 ;; esac', 1, "12 passed, 3 failed"),
        ('case $1 in lint) exit 1;; *) echo "9 passed, 0 failed, 2 skipped"; esac', 1, "9 passed, 1 failed, 2 skipped"),
        ("exit 1", 1, "0 passed, 2 failed"),
        ("true", 1, "0 passed, 1 failed"),
    ],
)  # fmt: skip
def test_ci_closes_with_an_honest_count(tools, tmp_path, make, status, closing):
    result = ci(tools, tmp_path, make)
    assert result.stdout.splitlines()[-1] == closing
    assert result.returncode == status
