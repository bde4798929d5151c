"""CRC-32C (Castagnoli), the checksum that object stores announce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Union

from ..errors import MissingDependency

if TYPE_CHECKING:
    from pathlib import Path

Buffer = Union[bytes, bytearray, memoryview]
#: How much is read at a time, in bytes: large enough that calls do not count, small enough to stay in the cache.
BUFFER_SIZE = 1 << 20


def crc32c_function() -> Callable[[Buffer, int], int]:
    """Return the function that continues a checksum: ``f(buffer, checksum so far) -> checksum``.

    Raises:
        MissingDependency: no library for it is installed.
    """
    try:
        from crc32c import crc32c
    except ImportError as error:
        library = "Python library crc32c"
        raise MissingDependency(library, "verifying what is pulled") from error
    function: Callable[[Buffer, int], int] = crc32c
    return function


def crc32c_of(path: Path) -> int:
    """Return the checksum of a file.

    Raises:
        MissingDependency: no library for it is installed.
        OSError: the file cannot be read.
    """
    function, checksum = crc32c_function(), 0
    buffer = memoryview(bytearray(BUFFER_SIZE))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            checksum = function(buffer[:count], checksum)
    return checksum
