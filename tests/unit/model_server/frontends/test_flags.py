"""The command line as the real server reads it."""

from __future__ import annotations

from dataclasses import fields

import pytest
from modelfleet_services.model_server.flags import FLAGS, Flags, parse, usage, warnings


def test_the_table_and_the_values_name_the_same_48_flags():
    names = [flag.name for flag in FLAGS]
    assert names == [field.name for field in fields(Flags)]
    assert len(set(names)) == 48


def test_defaults():
    flags = parse([]).flags
    assert (flags.port, flags.rest_api_port, flags.rest_api_timeout_in_ms) == (8500, 0, 30000)
    assert (flags.file_system_poll_wait_seconds, flags.num_load_threads, flags.num_unload_threads) == (1, 0, 0)
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert (flags.model_name, flags.saved_model_tags, flags.enable_model_warmup) == ("default", "serve", True)


@pytest.mark.parametrize(
    "argument", ["--port 9", "-port=9", "port=9", "--port", "--Port=9", "--no_such=1", "--enable_batchings", "8500", ""]
)
def test_what_is_no_flag_is_left_over_and_changes_nothing(argument):
    parsed = parse([argument])
    assert parsed.leftover == (argument,)
    assert parsed.flags == parse([]).flags
    assert not parsed.wants_usage


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", True),
        ("=true", True),
        ("=TRUE", True),
        ("=1", True),
        ("=false", False),
        ("=False", False),
        ("=0", False),
    ],
)
def test_booleans(text, value):
    assert parse([f"--enable_model_warmup{text}"]).flags.enable_model_warmup is value


@pytest.mark.parametrize(
    "argument",
    [
        "--port=",
        "--port=80x",
        "--port=1.0",
        "--port=99999999999",
        "--port=8 ",
        "--port=" + "1" * 5000,
        "--load_retry_interval_micros=-" + "1" * 5000,
        "--port=0x10",
        "--port=1_000",
        "--enable_batching=yes",
        "--enable_batching=",
        "--load_retry_interval_micros=9223372036854775808",
        "--per_process_gpu_memory_fraction=much",
    ],
)
def test_a_value_of_the_wrong_kind_ends_in_the_usage(argument):
    parsed = parse([argument])
    assert parsed.wants_usage
    assert len(parsed.errors) == 1
    assert argument.split("=")[0] in parsed.errors[0]


def test_integers_may_have_a_sign_and_leading_blanks():
    parsed = parse(["--file_system_poll_wait_seconds=-1", "--port= +9000"])
    assert (parsed.flags.file_system_poll_wait_seconds, parsed.flags.port) == (-1, 9000)
    assert parse(["--port=" + "0" * 5000 + "80"]).flags.port == 80
    assert parse(["--port=-00"]).flags.port == 0


def test_the_last_of_repeated_flags_wins_and_text_may_hold_anything():
    parsed = parse(["--model_name=a", "--model_name=b=c --d", "--model_base_path="])
    assert (parsed.flags.model_name, parsed.flags.model_base_path) == ("b=c --d", "")


def test_help_counts_only_as_the_first_leftover():
    assert parse(["--port=1", "--help"]).wants_usage
    assert not parse(["typo", "--help"]).wants_usage


def test_the_usage_names_every_flag_and_says_what_this_program_is():
    text = usage("program")
    assert "stand-in for tensorflow_model_server" in text
    assert [name for name in (flag.name for flag in FLAGS) if f"\t--{name}=" not in text] == []


def test_a_warning_for_each_flag_without_effect_and_only_where_it_was_changed():
    assert warnings(parse(["--enable_batching=false", "--port=9000", "--enable_profiler"]).flags) == []
    lines = warnings(parse(["--xla_cpu_compilation_enabled", "--enable_batching"]).flags)
    assert [line.split(" ")[0] for line in lines] == ["--enable_batching", "--xla_cpu_compilation_enabled"]
