"""One line for each event, made for people with grep and for machines that read JSON."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMATS = ("logfmt", "json")

#: Keys of every line; a field of such a name gets another one.
_OWN = frozenset({"at", "level", "step"})
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;/@%+*~^()<>{}\[\]#&?!$|-]+")
_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"?#]+@")
#: Of whole URLs, and of paths as HTTP libraries name what they asked for.
_QUERY_OF_URL = re.compile(r"(?P<url>(?:[A-Za-z][A-Za-z0-9+.-]*:/)?/[^\s'\"?]*)\?[^\s'\"]+")


def without_secrets(text: str) -> str:
    """Return a text with users, passwords and query strings (signed URLs) taken out of its URLs."""
    return _QUERY_OF_URL.sub(r"\g<url>?…", _USER_IN_URL.sub("…@", text))


def _value(value: object) -> str:
    """Return a value of a logfmt line: bare where it is unmistakable, else quoted on one line."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _clean(value: object) -> Any:  # noqa: ANN401  (what JSON can say)
    """Return a value as plain JSON data without secrets."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return without_secrets(str(value))


class EventLog:
    """Writes events; any thread may.

    Args:
        stream: Where to; standard error by default.
        style: ``logfmt`` for ``key=value`` pairs or ``json`` for one object, each on one line.
        now: The wall clock, in seconds since the epoch.
    """

    def __init__(
        self, stream: TextIO | None = None, style: str = "logfmt", now: Callable[[], float] | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._json = style == "json"
        self._now = now or (lambda: datetime.now(UTC).timestamp())
        self._lock = threading.Lock()

    def write(self, step: str, fields: Mapping[str, object] | None = None, *, level: str = "info") -> None:
        """Write one line; a log that cannot be written never stops the work.

        Args:
            step: What happens, in words that stay the same.
            fields: What it happens to, and how.
            level: ``info``, ``warning`` or ``error``.
        """
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event: dict[str, Any] = {"at": at, "level": level, "step": step}
        for key, item in (fields or {}).items():
            event[f"{key}_" if key in _OWN else key] = _clean(item)
        if self._json:
            line = json.dumps(event, ensure_ascii=False)
            # What ends lines for some readers, or moves a terminal's cursor.
            line = line if line.isprintable() else json.dumps(event)
        else:
            line = " ".join(f"{key}={_value(item)}" for key, item in event.items())
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return

    def crash(self, step: str, error: BaseException) -> None:
        """Write an unexpected error with the place where it happened."""
        trace = "".join(traceback.format_exception(error)).strip()
        self.write(step, {"error": f"{type(error).__name__}: {error}", "trace": trace}, level="error")


class LibraryLogs(logging.Handler):
    """Brings what libraries log into the same lines."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record of a library."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        fields: dict[str, object] = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["trace"] = "".join(traceback.format_exception(record.exc_info[1])).strip()
        self._log.write("Library", fields, level=level)


def take_over_library_logs(log: EventLog) -> None:
    """Send the warnings of every library to the log from now on."""
    logging.basicConfig(level=logging.WARNING, handlers=[LibraryLogs(log)], force=True)
    logging.captureWarnings(capture=True)
