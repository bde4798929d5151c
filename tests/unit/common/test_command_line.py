"""Flags are written in full, with one dash or two, and everything that is wrong is told at once."""

from __future__ import annotations

import pytest
from modelfleet.errors import InvalidInput
from modelfleet_services.common import arguments
from modelfleet_services.common.command_line import Flag, Parser, Problems, SettingsRefused, add_flags, read_flags

GROUPS = {
    "one": (
        Flag(name="--config-dir", metavar="DIR", meaning="definitions", read=arguments.path),
        Flag(name="--num-workers", metavar="N", meaning="workers", read=arguments.whole(1, 8), default="4"),
        Flag(name="--strict", meaning="be strict, 100 %"),
    ),
    "two": (
        Flag(name="--node", metavar="NAME", meaning="name", variable="HOSTNAME", required="set it"),
        Flag(name="--store", metavar="DIR", meaning="store", variable="STORE", default="/mnt", read=arguments.path),
    ),
}


def read(*given, environment=None):
    parser, problems = Parser("program", "does things"), Problems()
    add_flags(parser, GROUPS)
    values = read_flags(parser, GROUPS, given, {"HOSTNAME": "n"} if environment is None else environment, problems)
    problems.refuse()
    return values


@pytest.mark.parametrize(
    "given",
    [
        ["--config-dir", "/c", "--num-workers", "2"],
        ["-config-dir", "/c", "-num-workers", "2"],
        ["--config-dir=/c", "--num-workers=2"],
        ["-config-dir=/c", "-num-workers=2"],
        ["-config-dir=/other", "--num-workers=7", "-config-dir", "/c", "-num-workers=2"],
    ],
)
def test_a_flag_has_one_dash_or_two_and_its_value_a_blank_or_an_equals_sign(given):
    values = read(*given)
    assert str(values.found["config_dir"]) == "/c"
    assert values.found["num_workers"] == 2
    assert {"config_dir", "num_workers"} <= values.said
    assert "node" not in values.said


def test_defaults_hold_where_nothing_is_said():
    found = read().found
    assert (found["config_dir"], found["num_workers"], found["strict"], str(found["store"])) == ("", 4, False, "/mnt")


@pytest.mark.parametrize(
    "given", [["--config", "/c"], ["-config", "/c"], ["--num_workers", "2"], ["--nope"], ["-n", "2"], ["word"]]
)
def test_abbreviations_underscores_and_unknown_flags_are_usage_errors(given, capsys):
    with pytest.raises(SystemExit) as ended:
        read(*given)
    assert ended.value.code == 2
    assert "usage: program" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--help", "-help", "-h"])
def test_help_shows_hyphens_defaults_and_variables(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        read(flag)
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--num-workers N workers (default: 4)" in shown
    assert "--store DIR store (default: $STORE, else /mnt)" in shown
    assert "--node NAME name (default: $HOSTNAME)" in shown
    assert "be strict, 100 %" in shown
    assert "num_workers" not in shown


def test_a_flag_wins_over_the_environment_and_that_over_the_default():
    assert str(read("--store=/flag", environment={"HOSTNAME": "n", "STORE": "/env"}).found["store"]) == "/flag"
    assert str(read(environment={"HOSTNAME": "n", "STORE": "/env"}).found["store"]) == "/env"
    assert str(read(environment={"HOSTNAME": "n", "STORE": ""}).found["store"]) == "/mnt"


def test_every_problem_is_told_and_names_where_its_value_came_from():
    with pytest.raises(SettingsRefused) as refused:
        read("-num-workers=0", "--config-dir=c", environment={"STORE": "relative"})
    assert [problem.subject for problem in refused.value.problems] == [
        "--config-dir",
        "--num-workers",
        "$HOSTNAME",
        "$STORE",
    ]
    assert str(refused.value).count("\n") == 3


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        (arguments.port, "0", 0),
        (arguments.port, "65535", 65535),
        (arguments.seconds(0), "0.5", 0.5),
        (arguments.amount, "1Gi", 2**30),
        (arguments.one_of("a", "b"), "b", "b"),
        (arguments.address, "::1", "::1"),
        (arguments.address, "0.0.0.0", "0.0.0.0"),
        (arguments.endpoint, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (arguments.url, "gs://bucket/prefix", "gs://bucket/prefix"),
        (arguments.url, "/directory/with@sign?", "/directory/with@sign?"),
    ],
)
def test_values_are_read(reader, text, value):
    assert reader(text, "it") == value


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (arguments.port, "65536"),
        (arguments.port, "-1"),
        (arguments.port, "٨"),
        (arguments.port, "1_0"),
        (arguments.port, "9" * 5000),
        (arguments.seconds(0.1), "0"),
        (arguments.seconds(0), "nan"),
        (arguments.seconds(0), "inf"),
        (arguments.seconds(0), "soon"),
        (arguments.amount, "many"),
        (arguments.one_of("a", "b"), "c"),
        (arguments.path, "relative"),
        (arguments.path, "/with\0nul"),
        (arguments.address, "localhost"),
        (arguments.endpoint, "127.0.0.1:9000"),
        (arguments.endpoint, "http:///path"),
        (arguments.endpoint, "http://[broken"),
        (arguments.endpoint, "https://user:secret@host"),
        (arguments.url, "https://user:secret@host/models"),
    ],
)
def test_wrong_values_are_refused_with_what_to_do_and_without_passwords(reader, text):
    with pytest.raises(InvalidInput) as refused:
        reader(text, "--it")
    assert refused.value.subject == "--it"
    assert refused.value.remedy
    assert "secret" not in refused.value.one_line()
