"""Watches the threads of a puller and leaves their signs of life where a healthcheck finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelfleet.errors import InvalidInput

if TYPE_CHECKING:
    import threading

    from modelfleet.errors import ModelfleetError

    from ..common.heartbeats import HeartbeatFiles, Pulse, Sign
    from .engine import Engine
    from .progress import Progress

#: How often files are written and progress is looked at, in seconds.
INTERVAL_S = 5.0
_NAME = "vitals"


class Vitals:
    """Signs of life of the engine's threads and of the service's own.

    Args:
        engine: What pulls.
        pulse: Signs of life of the service's own threads; this one adds its own.
        files: Where they are written.
        progress: Told to look at every turn.

    Attributes:
        limit_s: How long a thread may show no life, in seconds.
    """

    def __init__(self, engine: Engine, pulse: Pulse, files: HeartbeatFiles, progress: Progress) -> None:
        self.limit_s = files.limit_s
        self._engine = engine
        self._pulse = pulse
        self._files = files
        self._progress = progress
        self._problem: InvalidInput | None = None

    def signs(self) -> dict[str, Sign]:
        """Return the last sign of life of each thread."""
        return {**self._pulse.signs(), **self._engine.heartbeats()}

    def problems(self) -> list[ModelfleetError]:
        """Return what keeps signs of life from being written."""
        return [] if self._problem is None else [self._problem]

    def run(self, stop: threading.Event) -> None:
        """Write and look, again and again, until told to stop."""
        while True:
            self._pulse.beat(_NAME, "writing signs of life")
            self.write()
            self._progress.look(self._engine.status())
            if stop.wait(INTERVAL_S):
                return

    def write(self) -> None:
        """Write the signs of life; a disk that does not take them is told by ``problems``."""
        try:
            self._files.write(self.signs())
        except OSError as error:
            self._problem = InvalidInput(
                str(self._files.directory), f"cannot be written ({error.strerror})", "make room, or let this user write"
            )
        else:
            self._problem = None
