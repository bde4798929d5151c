"""The threads of a service: started together, ended together, within a bounded time."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING

from modelfleet.waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .event_log import EventLog

_STOPPED, _CRASHED = 0, 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: What a shell says of a program that a signal ended.
_SIGNALLED = 128
#: Signals so close to each other, in seconds, are one order.
_SAME_S = 0.5
#: How long threads may take to put down their work, in seconds.
PATIENCE_S = 5.0


class Running:
    """Runs threads until a signal comes, or until one of them fails or ends by itself.

    A thread that fails ends the process: a supervisor starts that anew, and nobody can mend a single thread.

    Args:
        log: Where the end is told.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        # May be used by a signal's handler, which an event or a lock may not.
        self._ends: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._signalled_at: float | None = None
        self._stopping = threading.Event()

    def until_stopped(
        self, threads: Mapping[str, Callable[[threading.Event], None]], stops: Sequence[Callable[[], None]] = ()
    ) -> int:
        """Run every thread, with an event that is set when it is to end; return the exit status.

        Args:
            threads: What each runs, by its name.
            stops: What else is called when they are to end.
        """
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        started = [self._started(name, run) for name, run in threads.items()]
        status = self._ends.get()
        self._log.write("Stopping")
        self._stopping.set()
        for stop in stops:
            stop()
        deadline = Deadline(PATIENCE_S, Clock())
        for thread in started:
            thread.join(deadline.remaining_s)
        hanging = [thread.name for thread in started if thread.is_alive()]
        if hanging:
            self._log.write("Left behind", {"threads": " ".join(hanging)}, level="warning")
        self._log.write("Stopped")
        return status

    def _on_signal(self, number: int, _frame: object) -> None:
        """Begin to end; the second time end at once, unless it comes with the first, as when a whole group is told."""
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
            self._ends.put(_STOPPED)
        elif now - self._signalled_at > _SAME_S:
            os._exit(_SIGNALLED + number)

    def _started(self, name: str, run: Callable[[threading.Event], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                run(self._stopping)
            except BaseException as error:  # noqa: BLE001  (told, and the end of the process)
                self._log.crash(f"Thread {name} failed", error)
                self._ends.put(_CRASHED)
            else:
                if not self._stopping.is_set():
                    self._log.write(f"Thread {name} ended", level="error")
                    self._ends.put(_CRASHED)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread
