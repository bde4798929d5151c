"""Where loads and unloads run: on a pool of threads, or inline on the caller's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Executor(Protocol):
    """Runs jobs; a job must not raise."""

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job now or later."""

    def close(self, timeout_s: float | None = None) -> bool:
        """Finish every submitted job, taking no more; return whether all were done within the timeout."""


class InlineExecutor:
    """Runs every job on the thread that submits it."""

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job before returning."""
        job()

    def close(self, timeout_s: float | None = None) -> bool:  # noqa: ARG002  (the protocol's shape)
        """Return at once: nothing is ever left to do."""
        return True


class ThreadPool:
    """Runs jobs on at most ``size`` threads, started as they are needed.

    The threads are daemons: a load that hangs must not keep the process from ending.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        """Queue the job.

        Raises:
            RuntimeError: the pool is closed.
        """
        with self._changed:
            if self._closed:
                message = f"{self._name} is closed"
                raise RuntimeError(message)
            self._jobs.append(job)
            if len(self._jobs) > self._idle and len(self._threads) < self._size:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            else:
                self._changed.notify()

    def close(self, timeout_s: float | None = None) -> bool:
        """Finish every queued job and end the threads; wait for ever without a timeout."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._jobs and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            job()


def executor(threads: int, name: str) -> Executor:
    """Return a pool of that many threads, or the inline executor for none."""
    return ThreadPool(threads, name) if threads > 0 else InlineExecutor()
