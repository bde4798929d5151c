from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from tools import release

CLI = "def main():\n    print('hello')\n    return 3\n"


@pytest.fixture
def project(tmp_path):
    for name, text in {
        "module_utils/modelfleet/__init__.py": "",
        "module_utils/modelfleet/errors.py": "VALUE = 1\n",
        "services/__init__.py": "",
        "services/cli.py": CLI,
        "services/Dockerfile": "FROM x\n",
        "services/__pycache__/cli.cpython-311.pyc": "bytes",
    }.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def test_artefact_holds_both_packages_and_runs(project, tmp_path):
    output = tmp_path / "modelfleet.pyz"
    assert release.write(output, release.archive(project))
    with zipfile.ZipFile(output) as file:
        assert file.namelist() == [
            "__main__.py",
            "modelfleet/__init__.py",
            "modelfleet/errors.py",
            "modelfleet_services/__init__.py",
            "modelfleet_services/cli.py",
        ]
    result = subprocess.run([sys.executable, output], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (3, "hello\n")


def test_same_sources_give_the_same_bytes_whatever_their_times_and_modes(project):
    before = release.archive(project)
    os.utime(project / "services" / "cli.py", (1, 1))
    (project / "services" / "cli.py").chmod(0o600)
    assert release.archive(project) == before


def test_a_changed_source_changes_the_artefact(project):
    before = release.archive(project)
    (project / "services" / "cli.py").write_text(CLI + "# more\n")
    assert release.archive(project) != before


def test_an_equal_artefact_is_left_alone(project, tmp_path):
    output = tmp_path / "build" / "modelfleet.pyz"
    data = release.archive(project)
    assert release.write(output, data)
    os.utime(output, (1, 1))
    assert not release.write(output, data)
    assert output.stat().st_mtime == 1
    assert list(output.parent.iterdir()) == [output]


def test_command_says_what_it_did(tmp_path, capsys):
    output = tmp_path / "modelfleet.pyz"
    assert release.main(["--output", str(output)]) == 0
    assert release.main(["--output", str(output)]) == 0
    assert capsys.readouterr().out == f"written {output}\nunchanged {output}\n"


def test_unwritable_output_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert release.main(["--output", str(tmp_path / "file" / "modelfleet.pyz")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert str(tmp_path / "file") in lines[0]
