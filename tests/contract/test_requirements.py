"""The table of requirements names tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.contract.project import PROJECT

ROW = re.compile(r"`(?P<path>(?:tests|molecule)/[\w/.]+)(?:::(?P<test>\w+))?`")
NAMED = sorted(
    {(found["path"], found["test"]) for found in ROW.finditer((PROJECT / "docs/requirements.md").read_text("utf-8"))},
    key=str,
)


def test_the_table_names_tests():
    assert len(NAMED) > 10


@pytest.mark.parametrize(("path", "test"), NAMED)
def test_what_it_names_exists(path, test):
    assert (PROJECT / path).exists()
    if test:
        assert re.search(rf"^\s*def {test}\(", (PROJECT / path).read_text("utf-8"), re.MULTILINE)
