"""A line for each event: for grep, for machines, never with a secret, never in the way."""

from __future__ import annotations

import io
import json
import logging
import warnings

import pytest
from modelfleet_services.common.event_log import EventLog, take_over_library_logs, without_secrets

NOW = 1_700_000_000.5


def written(style="logfmt", **fields):
    stream = io.StringIO()
    EventLog(stream, style, lambda: NOW).write("Downloading", fields)
    return stream.getvalue()


def test_a_line_has_time_level_step_and_its_fields():
    line = written(model="digits", version=3, rate=1.5, done=True, nothing=None)
    assert line == (
        "at=2023-11-14T22:13:20.500Z level=info step=Downloading "
        "model=digits version=3 rate=1.5 done=true nothing=null\n"
    )


def test_values_with_blanks_quotes_and_ends_of_lines_stay_one_value_on_one_line():
    line = written(problem='a "b"\nstep=Published x=1', name="größer als", odd="\u2028\x1b[31m", empty="")
    assert line.count("\n") == 1
    assert r'problem="a \"b\"\nstep=Published x=1"' in line
    assert 'name="größer als"' in line
    assert r'odd="\u2028\u001b[31m"' in line
    assert 'empty=""' in line


def test_a_field_cannot_take_the_place_of_what_every_line_has():
    assert "level=info step=Downloading step_=Published level_=error" in written(step="Published", level="error")


def test_json_has_an_object_on_each_line():
    data = json.loads(written("json", model="digits", version=3, parts=[1, "gs://b"], more={"a": None}))
    assert data == {
        "at": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "step": "Downloading",
        "model": "digits",
        "version": 3,
        "parts": [1, "gs://b"],
        "more": {"a": None},
    }


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_nothing_ends_a_line_before_its_end_or_reaches_a_terminal(style):
    line = written(style, problem="one\u2028two\x85three\x9b31mfour\u202e")
    assert len(line.splitlines()) == 1
    assert line.rstrip("\n").isprintable()


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_secrets_in_urls_never_reach_the_log(style):
    line = written(
        style,
        a="https://user:hunter2@host/x",
        b=["see https://b.s3.amazonaws.com/k?X-Amz-Signature=hunter2 for more"],
        c={"d": "proxy http://hunter2@proxy:3128"},
        e="HTTPS://user:with@hunter2@host/x?sig=hunter2",
        f="Max retries exceeded with url: /k?X-Amz-Signature=hunter2",
    )
    assert "hunter2" not in line
    assert "host/x" in line
    assert "for more" in line


def test_texts_without_secrets_stay_as_they_are():
    for text in ("gs://bucket/a@b", "why? because", "user@host", "http://host/path"):
        assert without_secrets(text) == text


class Full(io.StringIO):
    def write(self, _text):
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_stop_the_work():
    EventLog(Full()).write("Downloading")
    closed = io.StringIO()
    closed.close()
    EventLog(closed).write("Downloading")


def test_a_crash_is_told_with_its_place_on_one_line():
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError) as oops:
        1 / 0  # noqa: B018  (raises)
    EventLog(stream).crash("Failed", oops.value)
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "level=error step=Failed" in line
    assert "ZeroDivisionError: division by zero" in line
    assert "test_event_log.py" in line


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield root
    logging.captureWarnings(capture=False)
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_warnings_of_libraries_come_in_the_same_lines(root_logger):
    stream = io.StringIO()
    take_over_library_logs(EventLog(stream))
    logging.getLogger("some.library").info("nobody needs this")
    logging.getLogger("some.library").warning("retrying https://user:hunter2@host/")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old API", DeprecationWarning, stacklevel=1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert "level=warning step=Library logger=some.library message=" in lines[0]
    assert "hunter2" not in lines[0]
    assert "old API" in lines[1]
