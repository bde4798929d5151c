"""``modelfleet puller`` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from tests.support.http_service import HttpClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.http_service import Answer

#: Variables of the tests' own environment that would tell the puller something.
_TELLING = ("AWS_", "CLOUDSDK_", "GOOGLE_", "STORAGE_EMULATOR_HOST", "HOSTNAME", "REMOTE_MODEL", "LOCAL_MODEL")
_START_S = 20.0


class PullerProcess:
    """Started by the constructor, on a free port.

    Args:
        directory: Where store, signs of life and log are, below it.
        arguments: Flags beside those.
        environment: Variables beside those of the tests.
    """

    def __init__(self, directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.store, self.app, self.log = directory / "store", directory / "app", directory / "log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_TELLING)}
        with self.log.open("ab") as log:
            self.began = time.monotonic()
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "modelfleet_services", "puller", "--port=0", "--headroom=0"),
                    *(f"--app-dir={self.app}", f"--model-dir={self.store}"),
                    *arguments,
                ],
                env={**inherited, "HOSTNAME": "node-1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def lines(self, *words: str) -> list[str]:
        """Return the lines of the log that hold all of these words."""
        text = self.log.read_text(encoding="utf-8")
        return [line for line in text.splitlines() if all(word in line for word in words)]

    @property
    def client(self) -> HttpClient:
        """A client of its port, once that is known."""
        if not self._port:
            wait_for(lambda: self.lines("step=Started"), _START_S, self)
            found = re.search(r"\bport=(\d+)", self.lines("step=Started")[-1])
            assert found
            self._port = int(found[1])
        return HttpClient(self._port)

    def sample(self, name: str) -> float:
        """Return the value of a metric, given with its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name)

    def wait_ready(self, timeout_s: float = 20.0) -> Answer:
        """Wait until everything that is wanted is here."""
        wait_for(lambda: self.client.get("/ready").status == 200, timeout_s, self)
        return self.client.get("/ready")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit status and how long the end took, in seconds."""
        begin = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(15), time.monotonic() - begin


def wait_for(condition: Callable[[], Any], timeout_s: float, told: PullerProcess | None = None) -> None:
    """Wait until a condition holds; fail with the log when it does not in time, or when the process ends."""
    end = time.monotonic() + timeout_s
    while not condition():
        ended = told is not None and told.process.poll() is not None
        if ended or time.monotonic() > end:
            log = told.log.read_text(encoding="utf-8")[-4000:] if told else ""
            raise AssertionError(f"{'the process ended' if ended else f'not within {timeout_s} s'}\n{log}")
        time.sleep(0.02)
