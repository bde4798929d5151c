"""Files that are either the old ones or the new ones, also after a power failure."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import NoSpace, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

# linux/fcntl.h, linux/fs.h
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write the content beside the path, bring it to disk and rename it into place.

    Raises:
        OSError: the directory cannot be written; the old file is untouched then.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two existing paths change places in one step; return whether the system can.

    Raises:
        OSError: a path is missing, or may not be renamed.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.ENOSYS, errno.EINVAL}:
        return False  # an old kernel, or a file system that cannot do it
    raise OSError(number, os.strerror(number), str(one))


def sync_directory(path: Path) -> None:
    """Bring the entries of a directory to disk.

    Raises:
        OSError: the directory cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> bool:
    """Bring everything that was written to the file system of a directory to disk; return whether that can be told.

    Raises:
        OSError: it cannot be written, or the directory cannot be opened.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
    return True


def sync_tree(folder: Path) -> None:
    """Bring every file and directory below a directory to disk.

    Raises:
        OSError: something cannot be read or written.
    """
    if sync_file_system(folder):
        return
    for inner, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync_file(Path(inner, name))
        sync_directory(Path(inner))


def sync_file(path: Path) -> None:
    """Bring a file to disk.

    Raises:
        OSError: it cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(descriptor: int, size: int) -> None:
    """Take the disk space of an open file before its bytes come, where the file system can; set its size.

    Raises:
        OSError: there is no room.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if fallocate is not None and size:
        if fallocate(descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(size)) == 0:
            return
        number = ctypes.get_errno()
        # The function of the C library would write zeros instead where the file system cannot: twice the work.
        if number not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            raise OSError(number, os.strerror(number))
    os.ftruncate(descriptor, size)


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents, and bring the new entries to disk.

    Raises:
        OSError: it cannot be created.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors of the store.

    Args:
        path: Where it happens, for errors that do not say it themselves.

    Raises:
        NoSpace: the file system is full.
        StoreError: anything else went wrong.
    """
    try:
        yield
    except OSError as error:
        where = str(error.filename or path)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(where, "the file system is full", "make room, or lower how many versions are kept") from error
        problem = f"cannot be used ({error.strerror or error})"
        raise StoreError(where, problem, "check that the directory exists, is writable and is ours") from error
