"""Run pytest, then the molecule scenario, and close with one line that counts both: ``N passed, N failed``.

Every pytest test and every molecule action (create, converge, idempotence, verify, ...) counts as one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
#: Seconds after which a stage is ended; a hanging test is a failed test.
PYTEST_LIMIT = 1200
MOLECULE_LIMIT = 1200
#: The closing table of molecule has one such line for each scenario.
RECAP = re.compile(
    r":\s+actions=\d+\s+successful=(?P<successful>\d+)\s+disabled=\d+\s+skipped=(?P<skipped>\d+)"
    r"\s+missing=(?P<missing>\d+)\s+failed=(?P<failed>\d+)"
)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Count:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def line(self) -> str:
        """Return the closing line."""
        line = f"{self.passed} passed, {self.failed} failed"
        return f"{line}, {self.skipped} skipped" if self.skipped else line

    def held_to(self, status: int) -> Count:
        """Return a count that shows a failure when the program said that it failed, or when it ran nothing."""
        if self.failed or (status == 0 and self.passed):
            return self
        return Count(self.passed, 1, self.skipped)


def count_junit(report: str) -> Count:
    """Return the count of a JUnit report, as pytest writes it."""
    total = Count()
    for suite in ET.fromstring(report).iter("testsuite"):  # noqa: S314  (our own pytest wrote it a moment ago)
        tests, failures, errors, skipped = (
            int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
        )
        bad = failures + errors
        total += Count(max(tests - bad - skipped, 0), bad, skipped)
    return total


def count_recap(output: str) -> Count:
    """Return the count of molecule's closing table; a playbook that is missing counts as failed."""
    total = Count()
    for found in RECAP.finditer(ESCAPES.sub("", output)):
        number = {name: int(value) for name, value in found.groupdict().items()}
        total += Count(number["successful"], number["failed"] + number["missing"], number["skipped"])
    return total


def run_pytest() -> Count:
    """Run every pytest suite."""
    with tempfile.TemporaryDirectory(prefix="modelfleet-tests-") as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}"]
        try:
            status = subprocess.run(command, check=False, cwd=PROJECT, timeout=PYTEST_LIMIT).returncode
        except subprocess.TimeoutExpired:
            print(f"pytest: did not end within {PYTEST_LIMIT} s", file=sys.stderr)
            status = 1
        count = count_junit(report.read_text(encoding="utf-8")) if report.is_file() else Count()
    return count.held_to(status)


def run_molecule() -> Count:
    """Run the molecule scenario, showing its output as it comes."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    # Molecule brings its own configuration of Ansible, and a scenario must not depend on the caller's.
    environment.pop("ANSIBLE_CONFIG", None)
    command = ["timeout", "--kill-after=30", str(MOLECULE_LIMIT), str(tools / "molecule"), "test"]
    lines = []
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
    return count_recap("".join(lines)).held_to(process.returncode)


def main() -> int:
    """Run both; return the exit status."""
    tests = run_pytest()
    print(f"pytest: {tests.line()}", flush=True)
    scenario = run_molecule()
    print(f"molecule: {scenario.line()}", flush=True)
    total = tests + scenario
    print(total.line())
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
