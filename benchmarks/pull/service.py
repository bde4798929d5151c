"""The puller's service in a process of its own, and what the system says about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_S = 0.1


class Service:
    """A puller that runs.

    Attributes:
        pid: Its process.
    """

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, *, post: bool = False) -> dict[str, Any]:
        """Return what it answers, also where that is bad news."""
        request = urllib.request.Request(self._url + path, method="POST" if post else "GET")  # noqa: S310  (its own URL)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  (the same)
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                found = json.load(error)
        return found

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until everything wanted is on disk.

        Raises:
            TimeoutError: it is not.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = self.ask("/ready")
            except OSError:
                found = {}
            if found.get("ready"):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the puller is not ready: {found}")
            time.sleep(LOOK_S)

    def look(self, rest_s: float = LOOK_S, timeout_s: float = 60.0) -> float:
        """Let it look at everything anew; return how long that took in seconds.

        Args:
            rest_s: How long it is left alone before it is asked whether it is done: its answer costs it time.
            timeout_s: How long it may take.

        Raises:
            TimeoutError: it takes longer.
        """
        passes = self.ask("/status")["passes"]
        self.ask("/sync", post=True)
        deadline = time.monotonic() + timeout_s
        while True:
            time.sleep(rest_s)
            status = self.ask("/status")
            if status["passes"] > passes:
                took: float = status["last_pass_s"]
                return took
            if time.monotonic() > deadline:
                raise TimeoutError("the puller does not look")

    @property
    def cpu_s(self) -> float:
        """User and system time up to now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, field: str) -> float:
        """Return a figure of memory (``VmRSS``, ``VmHWM``) in units of 10^6 bytes."""
        found = re.search(rf"^{field}:\s*(\d+) kB$", self._read("status"), re.MULTILINE)
        assert found, field
        return int(found[1]) * 1024 / 1e6

    @property
    def threads(self) -> int:
        """How many threads it has."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())

    @property
    def descriptors(self) -> int:
        """How many files, sockets and the like it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text(encoding="utf-8")


@contextmanager
def service(repository: str, store: Path, endpoint: str, port: int) -> Iterator[Service]:
    """Run ``modelfleet puller`` with its usual settings.

    Args:
        repository: Where the models are.
        store: Where they go.
        endpoint: The emulator.
        port: Where it listens.
    """
    command = [sys.executable, "-m", "modelfleet_services", "puller", "--repository", repository]
    command += ["--model-dir", str(store), "--node", "node", "--port", str(port), "--app-dir", f"{store}.app"]
    with Path(f"{store}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  (the project's own program)
            command, env={**os.environ, "STORAGE_EMULATOR_HOST": endpoint}, stdout=log, stderr=log
        )
    try:
        yield Service(process.pid, port)
    finally:
        process.terminate()
        process.wait()
