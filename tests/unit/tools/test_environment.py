from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import environment


@pytest.fixture
def laid(tmp_path, monkeypatch):
    """A directory that looks as if the development level had been laid."""
    directory = tmp_path / "venv"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "python").symlink_to(sys.executable)
    lock = tmp_path / "lock.txt"
    lock.write_text("a==1\n")
    monkeypatch.setitem(environment.LEVELS, "controller", environment.Level(lock))
    for name in environment.LEVELS:
        environment.stamp(directory, name).write_text(environment.digest(environment.LEVELS[name]))
    return directory, lock


def test_a_current_environment_is_left_alone(laid):
    directory, _ = laid
    assert environment.is_current(directory, "controller")
    assert not environment.lay(directory, "controller")


def test_a_changed_lock_makes_it_stale(laid):
    directory, lock = laid
    lock.write_text("a==2\n")
    assert not environment.is_current(directory, "controller")
    assert environment.is_current(directory, "development")


def test_a_vanished_interpreter_makes_it_stale(laid):
    directory, _ = laid
    python = directory / "bin" / "python"
    python.unlink()
    python.symlink_to(directory / "gone")
    assert not environment.is_current(directory, "controller")


def test_another_python_makes_it_stale():
    level = environment.LEVELS["controller"]
    assert environment.digest(level, (3, 11)) != environment.digest(level, (3, 12))


def test_uv_follows_pip_less_what_is_ignored(tmp_path, monkeypatch):
    configuration = tmp_path / "pip.conf"
    configuration.write_text("[global]\nindex-url = https://index.example/simple\nfind-links = /wheels\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    found = environment.uv_environment(Path(sys.executable))
    assert found["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert found["UV_FIND_LINKS"] == "/wheels"
    assert "UV_FIND_LINKS" not in environment.uv_environment(Path(sys.executable), ignored=["UV_FIND_LINKS"])


def test_a_failing_step_is_named():
    with pytest.raises(environment.EnvironmentProblem, match=r"laying x failed \(exit status 7\)"):
        environment.run("laying x", [sys.executable, "-c", "raise SystemExit(7)"])


def test_linked_packages_are_importable_by_their_names(tmp_path, monkeypatch):
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    monkeypatch.setattr(environment, "PROJECT", tmp_path / "project")
    environment.link_packages(tmp_path / "venv")
    environment.link_packages(tmp_path / "venv")
    links = tmp_path / "project" / "build" / "python"
    assert (site / "modelfleet.pth").read_text() == f"{links}\n"
    assert {path.name: str(path.readlink()) for path in links.iterdir()} == {
        "modelfleet": "../../module_utils/modelfleet",
        "modelfleet_services": "../../services",
    }


def test_an_unusable_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert environment.main(["--directory", str(tmp_path / "file" / "venv"), "controller"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_nodes_and_controller_translate_pip_s_configuration_with_the_same_program():
    assert environment.INSTALLER_ENVIRONMENT.is_file()
    json.loads(json.dumps(environment.uv_environment(Path(sys.executable))))
