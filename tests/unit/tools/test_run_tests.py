from __future__ import annotations

import pytest

from tools.run_tests import Count, count_junit, count_recap

JUNIT = """<?xml version="1.0"?><testsuites>
<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" time="1">
</testsuite></testsuites>"""
RECAP = """\
SCENARIO RECAP
\x1b[32mdefault                   \x1b[0m: \x1b[36mactions=5\x1b[0m  \x1b[32msuccessful=3\x1b[0m  disabled=1  skipped=0  missing=1  failed=0
swarm                     : actions=2  successful=1  disabled=0  skipped=1  missing=0  failed=1
"""  # noqa: E501  (a recap, as it is printed)


def test_junit_counts_what_passed_failed_and_was_skipped():
    assert count_junit(JUNIT) == Count(passed=4, failed=3, skipped=3)


def test_recap_counts_actions_and_a_missing_playbook_as_failed():
    assert count_recap(RECAP) == Count(passed=4, failed=2, skipped=1)


@pytest.mark.parametrize(
    ("count", "status", "expected"),
    [
        (Count(3, 0), 0, Count(3, 0)),
        (Count(3, 1), 1, Count(3, 1)),
        (Count(3, 0), 2, Count(3, 1)),
        (Count(), 5, Count(0, 1)),
        (Count(), 0, Count(0, 1)),
        (Count(0, 0, 4), 0, Count(0, 1, 4)),
    ],
)
def test_no_failing_program_and_no_empty_run_counts_as_success(count, status, expected):
    assert count.held_to(status) == expected


def test_closing_line():
    assert (Count(3, 0) + Count(1, 2)).line() == "4 passed, 2 failed"
    assert Count(3, 0, 1).line() == "3 passed, 0 failed, 1 skipped"
