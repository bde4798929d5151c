"""What is written for the supervisor, read back by the supervisor's own parser."""

from __future__ import annotations

import shlex

import pytest
from modelfleet.errors import InvalidInput
from modelfleet.supervision import Layout, program_from_dict, render_program, render_supervisor, restart_digest
from supervisor.options import ServerOptions

DESCRIPTION = {"name": "x", "command": ["/bin/sleep", "60"], "directory": "/"}


def program(**changes):
    return program_from_dict({**DESCRIPTION, **changes})


def read_back(tmp_path, *programs, launcher=()):
    """Return the process configurations that the supervisor itself sees."""
    layout = Layout(tmp_path)
    for folder in (layout.programs, layout.logs, layout.socket.parent):
        folder.mkdir(parents=True)
    layout.config.write_text(render_supervisor(layout, "r1"))
    for item in programs:
        layout.program_config(item.name).write_text(render_program(item, layout, launcher))
    options = ServerOptions()
    options.realize(["-c", str(layout.config)])
    return {config.name: config for group in options.process_group_configs for config in group.process_configs}


@pytest.mark.parametrize(
    "words",
    [["/bin/echo", "a b"], ["/bin/echo", "100%"], ["/bin/echo", "it's", '"q"', "$HOME", "#1", ";"], ["/bin/echo", ""]],
)
def test_the_supervisor_reads_the_words_that_were_meant(tmp_path, words):
    seen = read_back(tmp_path, program(command=words))["x"]
    assert shlex.split(seen.command) == words


def test_the_supervisor_reads_the_environment_that_was_meant(tmp_path):
    seen = read_back(tmp_path, program(environment={"A": "1,2", "B": "50% b=c"}))["x"]
    assert {"A": "1,2", "B": "50% b=c"}.items() <= seen.environment.items()


def test_a_program_is_brought_back_for_ever_and_its_log_is_bounded(tmp_path):
    seen = read_back(tmp_path, program(), launcher=("/usr/bin/env",))["x"]
    assert seen.startretries >= 1_000_000
    assert seen.command.startswith("/usr/bin/env ")
    assert seen.stdout_logfile == str(tmp_path / "log" / "x.log")
    assert 0 < seen.stdout_logfile_maxbytes <= 2**24


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "a b"}, "'a b'"),
        ({"command": ["/bin/echo", "a\nb"]}, "line break"),
        ({"command": ["/bin/echo", "a ;b"]}, "comment sign"),
        ({"environment": {"A": 'a"b'}}, "variable A"),
        ({"environment": {"A-B": "1"}}, "variable A-B"),
        (
            {"ports": [{"number": 1, "variable": "one_port"}, {"number": 1, "variable": "two_port"}]},
            "one_port and two_port",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(changes, told):
    with pytest.raises(InvalidInput, match=told):
        program(**changes)


def test_a_changed_file_restarts_and_a_seed_does_not():
    def digest(content, *, seed):
        return restart_digest(program(files=[{"path": "/f", "content": content, "seed": seed}]))

    assert digest("a", seed=False) != digest("b", seed=False)
    assert digest("a", seed=True) == digest("b", seed=True)
    assert restart_digest(program()) != restart_digest(program(restart_token="other"))


def test_a_file_that_the_program_watches_does_not_restart_it():
    def digest(content):
        return restart_digest(program(files=[{"path": "/f", "content": content, "watched": True}]))

    assert digest("a") == digest("b")


def test_a_secret_shows_neither_in_a_program_s_text_nor_in_its_configuration(tmp_path):
    told = program(files=[{"path": "/f", "secret": "the key", "mode": "0600"}])
    assert "the key" not in repr(told)
    assert "the key" not in render_program(told, Layout(tmp_path))
    assert (told.files[0].content, told.files[0].mode) == ("the key", 0o600)


@pytest.mark.parametrize("mode", ["rw", "9", "06000", "0o600"])
def test_permissions_that_are_none_are_refused(mode):
    with pytest.raises(InvalidInput, match="octal"):
        program(files=[{"path": "/f", "content": "", "mode": mode}])
