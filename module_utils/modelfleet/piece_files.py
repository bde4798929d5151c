"""The files of a version in preparation: filled in place, compared, or shared with a published one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable

from .adapters.checksums import crc32c_of

if TYPE_CHECKING:
    from pathlib import Path

    from .adapters.repository import RemoteObject
    from .journal import Piece

#: How much is written at once, in bytes. For more the kernel takes larger pages of memory, which are those that a
#: virtual machine has given back to its host and must fetch anew: three times the time of a whole pull was measured.
WRITE = 128 << 10


def open_for_writing(path: Path) -> int:
    """Open a file to be filled in place; never one that is shared with a published version."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    if os.fstat(descriptor).st_nlink == 1:
        return descriptor
    os.close(descriptor)
    path.unlink()
    return os.open(path, flags, 0o644)


def write_at(descriptor: int, piece: memoryview, offset: int) -> None:
    """Write a piece to its place in an open file."""
    while piece:
        count = os.pwrite(descriptor, piece[:WRITE], offset)
        piece, offset = piece[count:], offset + count


def checksum_at(
    descriptor: int, piece: Piece, buffer: memoryview, crc32c: Callable[[memoryview, int], int]
) -> int | None:
    """Return the checksum of a part of an open file; None when it is not all there."""
    checksum, position = 0, piece.start
    while position < piece.end:
        count = os.preadv(descriptor, [buffer[: piece.end - position]], position)
        if not count:
            return None
        checksum = crc32c(buffer[:count], checksum)
        position += count
    return checksum


def share(existing: Path, known: RemoteObject, target: Path) -> bool:
    """Make the target another name of an existing file if that is still what was pulled; return whether it is."""
    try:
        if existing.stat().st_size != known.size or crc32c_of(existing) != known.crc32c:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(existing, target)
    except OSError:
        # Another file system, or one without links: the file is read from the repository as any other.
        return False
    return True
