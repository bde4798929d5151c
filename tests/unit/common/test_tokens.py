"""Changes need the token, or the machine itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from modelfleet.errors import InvalidInput
from modelfleet_services.common.refusals import NotAllowed, NoToken, TokenUnusable
from modelfleet_services.common.tokens import Guard, TokenFile, is_loopback

TOKEN = "0123456789abcdef"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def allowed(guard, **headers):
    try:
        guard.check({name.replace("_", "-"): value for name, value in headers.items()})
    except NoToken:
        return False
    return True


def test_only_the_whole_token_is_let_in(path):
    guard = Guard(TokenFile(path))
    assert allowed(guard, authorization=f"Bearer {TOKEN}")
    assert allowed(guard, authorization=f"bearer  {TOKEN} ")
    for wrong in (TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer \udcff", ""):
        assert not allowed(guard, authorization=wrong)
    assert not allowed(guard)


def test_a_new_token_holds_at_once_and_the_old_one_no_longer(path):
    guard = Guard(TokenFile(path))
    assert allowed(guard, authorization=f"Bearer {TOKEN}")
    other = path.with_name("other")
    other.touch(0o600)
    other.write_text("f" * 16)
    other.replace(path)
    assert not allowed(guard, authorization=f"Bearer {TOKEN}")
    assert allowed(guard, authorization="Bearer " + "f" * 16)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_token_that_others_may_touch_is_refused_with_the_command_to_run(path, mode):
    path.chmod(mode)
    with pytest.raises(InvalidInput) as refused:
        TokenFile(path).digest()
    assert f"mode {mode:04o}" in refused.value.problem
    assert refused.value.remedy == f"run: chmod 600 {path}"


@pytest.mark.parametrize("content", ["", "short", "with blanks in the middle", "ümlaut-ümlaut-ümlaut", "x" * 5000])
def test_what_is_no_token_is_refused_and_not_shown(path, content):
    path.write_text(content)
    with pytest.raises(InvalidInput) as refused:
        TokenFile(path).digest()
    assert not content or content not in refused.value.one_line()


def test_a_missing_file_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (tmp_path / "missing", tmp_path, pipe):
        with pytest.raises(InvalidInput, match=str(path)):
            TokenFile(path).digest()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_becomes_unusable_lets_nobody_in(path):
    guard = Guard(TokenFile(path))
    assert allowed(guard, authorization=f"Bearer {TOKEN}")
    path.chmod(0o644)
    for _ in range(2):
        with pytest.raises(TokenUnusable, match="chmod 600"):
            guard.check({"authorization": f"Bearer {TOKEN}"})
    path.unlink()
    with pytest.raises(TokenUnusable, match="cannot be read"):
        guard.check({"authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        ({"host": "127.0.0.1:8001"}, True),
        ({"host": "localhost:8001"}, True),
        ({"host": "[::1]:8001"}, True),
        ({"host": "127.0.0.1:8001", "origin": "http://127.0.0.1:8001"}, True),
        ({"host": "127.0.0.1:8001", "origin": "https://elsewhere.example"}, False),
        ({"host": "127.0.0.1:8001", "origin": "null"}, False),
        ({"host": "rebound.example:8001"}, False),
        ({"host": "rebound.example:8001", "origin": "http://rebound.example:8001"}, False),
        ({"host": "10.0.0.1:8001"}, False),
        ({}, False),
    ],
)
def test_without_a_token_only_this_machine_and_no_web_page_may_change_things(headers, welcome):
    guard = Guard(None)
    if welcome:
        guard.check(headers)
    else:
        with pytest.raises(NotAllowed):
            guard.check(headers)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("LOCALHOST", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_addresses_are_known(host, expected):
    assert is_loopback(host) is expected
