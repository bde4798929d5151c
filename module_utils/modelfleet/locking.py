"""One holder at a time, across processes."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: How often a busy lock is tried again, in seconds.
INTERVAL_S = 0.05


@contextmanager
def exclusive(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock file, which tells others the process that holds it. The kernel releases it when that process ends.

    Args:
        path: The lock file, created when missing and never removed.
        timeout_s: How long to wait for another holder, in seconds.

    Raises:
        StoreBusy: another holder kept it for longer; the message names its process.
        OSError: the file cannot be created.
    """
    deadline = time.monotonic() + timeout_s
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _taken(descriptor):
            left = deadline - time.monotonic()
            if left <= 0:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                problem = f"process {holder} holds the store's lock"
                raise StoreBusy(str(path), problem, "wait until it ended, or stop it")
            time.sleep(min(INTERVAL_S, left))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
