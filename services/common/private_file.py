"""Files with secrets: nobody but this user may read them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from modelfleet.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = 0o077
#: Identity, size, mode and times of a file: equal ones mean that it was not changed.
Signature = tuple[int, int, int, int, int]


def signature(path: Path, what: str) -> Signature:
    """Return what changes whenever the file may have changed.

    Raises:
        InvalidInput: there is no such file.
    """
    try:
        return _of(path.stat())
    except OSError as error:
        raise unreadable(path, what, error) from error


def read(path: Path, what: str, most: int) -> tuple[bytes, Signature]:
    """Return the content of a secret file, and its signature.

    Args:
        path: The file.
        what: What it is, for messages; the path follows.
        most: The largest size, in bytes.

    Raises:
        InvalidInput: it cannot be read, others may read it, or it is too large.
    """
    subject = f"{what} {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise InvalidInput(subject, "is not a file", "give the path of a file")
            if found.st_mode & _OTHERS:
                mode = f"{stat.S_IMODE(found.st_mode):04o}"
                raise InvalidInput(subject, f"is open to others (mode {mode})", f"run: chmod 600 {path}")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unreadable(path, what, error) from error
    if len(content) > most:
        raise InvalidInput(subject, f"is larger than {most} bytes", "give the right file")
    return content, _of(found)


def unreadable(path: Path, what: str, error: OSError) -> InvalidInput:
    """Return the error for a file that cannot be read."""
    return InvalidInput(
        f"{what} {path}", f"cannot be read ({error.strerror})", "make it, readable by the user of this service alone"
    )


def _of(found: os.stat_result) -> Signature:
    return (found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns)
