"""Signs of life of a service's threads, as files that another process can read.

``<directory>/heartbeats/<thread>`` was modified when the thread showed life last, and says after how many seconds
without life something is wrong. A service that hangs as a whole no longer writes, so its files grow old as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfleet.errors import InvalidInput, ModelfleetError

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

#: How long ago a thread showed life, in seconds, and what it did then.
Sign = tuple[float, str]
#: The last sign of life of each thread, by its name.
Signs = Mapping[str, Sign]

_DIRECTORY = "heartbeats"
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
_NEW = ".new"
_ABOUT = "delete it, and look whether the service writes to this directory"


class Hanging(ModelfleetError):
    """A thread of a service shows no life."""

    code = "HANGING"


@dataclass(frozen=True)
class Beat:
    """The last sign of life of one thread.

    Attributes:
        thread: Its name.
        age_s: How long ago that was, in seconds.
        doing: What it did then; empty where nobody knows.
        limit_s: How long it may be, in seconds.
    """

    thread: str
    age_s: float
    doing: str
    limit_s: float

    def judge(self) -> Hanging | None:
        """Return what is wrong; None when the thread lives."""
        if self.age_s <= self.limit_s:
            return None
        return Hanging(
            f"thread {self.thread}",
            f"has shown no life for {self.age_s:.0f} s (limit {self.limit_s:.0f} s)"
            + (f" since {self.doing}" if self.doing else ""),
            "look into the service's log, and restart it",
        )


class HeartbeatFiles:
    """Writes the files of one service.

    Args:
        directory: A writable directory of this service alone.
        limit_s: After how many seconds without life a thread counts as hanging.
        now: The wall clock, as file times have it.

    Attributes:
        directory: Where the files lie.
        limit_s: As given.
    """

    def __init__(self, directory: Path, limit_s: float, now: Callable[[], float] = time.time) -> None:
        self.directory = directory / _DIRECTORY
        self.limit_s = limit_s
        self._now = now
        self._written: dict[str, str] = {}

    def prepare(self) -> None:
        """Make the directory and take away what an earlier process left.

        Raises:
            InvalidInput: it cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._forget_all_but(())
            probe = self.directory / _NEW
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise InvalidInput(
                str(self.directory),
                f"cannot be written ({error.strerror})",
                "give --app-dir a directory that this user may write",
            ) from error

    def write(self, signs: Signs) -> None:
        """Write the last sign of life of each thread; others are forgotten.

        Raises:
            OSError: a file cannot be written.
        """
        now = self._now()
        contents: dict[str, str] = {}
        for thread, (age_s, doing) in signs.items():
            name, moment = _ODD.sub("-", thread), now - max(0.0, age_s)
            contents[name] = json.dumps({"thread": thread, "doing": doing, "limit_s": self.limit_s})
            path = self.directory / name
            try:
                if self._written.get(name) == contents[name]:
                    os.utime(path, (moment, moment))
                    continue
            except FileNotFoundError:
                pass  # somebody took it away: it is written anew
            partial = self.directory / _NEW
            partial.write_text(contents[name], encoding="utf-8")
            os.utime(partial, (moment, moment))
            partial.replace(path)
        self._written = contents
        self._forget_all_but(contents)

    def _forget_all_but(self, names: Container[str]) -> None:
        for path in self.directory.iterdir():
            if path.name not in names:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


def read(directory: Path, now: Callable[[], float] = time.time) -> tuple[Beat, ...]:
    """Return the last sign of life of every thread of the service that writes to ``directory``, by name.

    Raises:
        InvalidInput: there is none, or a file is not one of a heartbeat.
    """
    folder = directory / _DIRECTORY
    beats = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name == _NEW:
                continue
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                age_s = now() - path.stat().st_mtime
                beats.append(Beat(str(told["thread"]), age_s, str(told["doing"]), float(told["limit_s"])))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError) as error:
                raise InvalidInput(str(path), "is not the heartbeat of a thread", _ABOUT) from error
    except OSError as error:
        raise InvalidInput(
            str(folder), f"cannot be read ({error.strerror})", "start the service with this directory as its --app-dir"
        ) from error
    if not beats:
        raise InvalidInput(str(folder), "holds no heartbeat", "start the service with this directory as its --app-dir")
    return tuple(beats)


class Pulse:
    """Signs of life of the threads that this process watches itself."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: dict[str, tuple[float, str]] = {}

    def beat(self, thread: str, doing: str) -> None:
        """Note that a thread lives, and what it does."""
        self._last[thread] = (self._now(), doing)

    def signs(self) -> dict[str, Sign]:
        """Return the last sign of life of each thread."""
        now = self._now()
        return {thread: (now - last, doing) for thread, (last, doing) in self._last.copy().items()}
