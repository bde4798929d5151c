"""The memory a version is expected to take, from the size of its files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..rpc_status import Code, StatusError

#: Memory per byte on disk.
_FACTOR = 1.2
_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.ELOOP: Code.FAILED_PRECONDITION,
}


def estimate_ram_bytes(path: str) -> int:
    """Return 1.2 times the bytes of all files below a version's directory, stray ones included.

    Raises:
        StatusError: the directory or something below cannot be listed or measured: vanished, not a directory, a
            dangling link, not permitted.
    """
    try:
        return int(_FACTOR * _bytes_below(Path(path)))
    except OSError as error:
        code = _CODES.get(error.errno or 0, Code.UNKNOWN)
        raise StatusError(code, f"{error.filename}; {os.strerror(error.errno or 0)}") from error


def _bytes_below(directory: Path) -> int:
    total = 0
    for child in directory.iterdir():
        total += _bytes_below(child) if child.is_dir() else child.stat().st_size
    return total
