"""Small files that people write, read without waiting and without trusting their size."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from .errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

#: In bytes; a manifest of thousands of models takes a hundredth of it.
SIZE_LIMIT = 64 << 20


def read_text(path: Path, what: str) -> str:
    """Return the text of a file.

    Args:
        path: The file; a pipe, which could keep a reader waiting for ever, and the like are none.
        what: What messages call it.

    Raises:
        InvalidInput: it is too large, or not UTF-8.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(SIZE_LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > SIZE_LIMIT:
        raise InvalidInput(what, f"is larger than {SIZE_LIMIT} bytes", "name the right file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(what, f"is not UTF-8 ({error.reason})", "write it in UTF-8") from error
