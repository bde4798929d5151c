"""Read every byte on disk again from time to time: disks lose bits without telling anybody."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable

from .bandwidth import Limiter
from .errors import ModelfleetError
from .integrity import damaged_files
from .waiting import Clock

if TYPE_CHECKING:
    from .store import Store

#: Under this name the store remembers when the last cycle ended.
SCRUBBED = "scrubbed"
#: How often it is asked whether the next cycle is due, in seconds.
_LOOK_S = 60.0


class Scrub:
    """A thread that reads complete versions at a gentle rate, and tells which are damaged."""

    def __init__(
        self, store: Store, interval_s: float, bytes_per_s: int, found: Callable[[str, int, tuple[str, ...]], None]
    ) -> None:
        """Make a scrub.

        Args:
            store: What to read.
            interval_s: How often, in seconds; 0 means never.
            bytes_per_s: How fast; 0 means without a limit.
            found: Told a model, a version and its damaged files.
        """
        self._store = store
        self._interval_s = interval_s
        self._found = found
        self._limiter = Limiter(bytes_per_s, Clock())
        self._stop = threading.Event()
        self._life = (time.monotonic(), "waiting for the next scrub")
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    def start(self) -> None:
        """Begin, if an interval is set."""
        if self._interval_s:
            self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1)

    def heartbeats(self) -> dict[str, tuple[float, str]]:
        """Return the seconds since the thread last showed life and what it does; nothing when it is not to run."""
        if self._thread.ident is None or self._stop.is_set():
            return {}
        life, doing = self._life
        waiting = doing.startswith("waiting") and self._thread.is_alive()
        return {"scrub": (0.0 if waiting else time.monotonic() - life, doing)}

    def cycle(self) -> None:
        """Read everything once.

        Raises:
            ModelfleetError: the store cannot be read.
        """
        for model, versions in self._store.scan().items():
            for version, item in versions.items():
                if self._stop.is_set():
                    return
                if item.complete:
                    damaged = damaged_files(self._store, model, version, self._read(model, version))
                    still_there = self._store.receipt(model, version) == item.receipt
                    if damaged and still_there:
                        self._found(model, version, damaged)
        self._store.note(SCRUBBED, datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def _read(self, model: str, version: int) -> Callable[[int], None]:
        """Return what is told how many bytes were read, and waits as long as the rate asks for."""

        def read(count: int) -> None:
            self._life = (time.monotonic(), f"reading model {model} version {version} on disk")
            self._stop.wait(self._limiter.wait_s(count))

        return read

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._due():
                with suppress(ModelfleetError, OSError):  # the store's trouble is told by those who need it
                    self.cycle()
            self._life = (time.monotonic(), "waiting for the next scrub")
            self._stop.wait(min(_LOOK_S, self._interval_s))

    def _due(self) -> bool:
        try:
            last = datetime.fromisoformat(self._store.noted(SCRUBBED)).timestamp()
        except (ModelfleetError, ValueError):
            return True
        return not 0 <= time.time() - last < self._interval_s
