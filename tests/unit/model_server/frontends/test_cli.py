"""The command ``modelfleet``."""

from __future__ import annotations

import subprocess
import sys

import pytest
from modelfleet.errors import InvalidInput
from modelfleet_services import cli


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "modelfleet_services", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_model_server_gets_its_arguments_untouched():
    result = run("model-server", "--help")
    assert result.returncode == 255
    assert result.stdout.startswith("usage: modelfleet model-server")
    result = run("model-server", "--version")
    assert result.returncode == 0
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [
        "TensorFlow ModelServer",
        "TensorFlow Library",
    ]


def test_a_wrong_value_prints_the_usage_and_the_problem():
    result = run("model-server", "--port=x")
    assert result.returncode == 255
    assert result.stdout.startswith("usage: ")
    assert result.stderr == "--port: 'x' is not of type int32\n"


def test_protos_says_whether_it_wrote(tmp_path, capsys):
    output = tmp_path / "below" / "protos.binpb"
    assert cli.main(["protos", "--output", str(output)]) == 0
    assert cli.main(["protos", "--output", str(output)]) == 0
    assert capsys.readouterr().out == "written\nunchanged\n"
    assert output.stat().st_size > 10_000


def test_an_expected_error_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["protos", "--output", str(tmp_path / "file" / "x")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"modelfleet protos: {tmp_path}/file/x: cannot be written")


@pytest.mark.parametrize("arguments", [[], ["no-such-command"]])
def test_an_unknown_command_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: modelfleet" in capsys.readouterr().err


def test_the_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"  {name} " not in text] == []


def test_an_interrupt_is_no_traceback(monkeypatch):
    def interrupted(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "protos", interrupted)
    assert cli.main(["protos"]) == 130


def test_errors_name_the_command(monkeypatch, capsys):
    def failing(_arguments):
        raise InvalidInput("it", "is wrong", "do better")

    monkeypatch.setattr(cli, "protos", failing)
    assert cli.main(["protos"]) == 2
    assert capsys.readouterr().err == "modelfleet protos: it: is wrong; do better\n"
