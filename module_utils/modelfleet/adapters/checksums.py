"""CRC-32C (Castagnoli), the checksum that object stores announce."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Callable, Union

from ..errors import MissingDependency

if TYPE_CHECKING:
    from pathlib import Path

#: Castagnoli's polynomial, its bits reversed.
_POLYNOMIAL = 0x82F63B78
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


def combine(first: int, second: int, second_length: int) -> int:
    """Return the checksum of two pieces of content from the checksums of each.

    Appending zeros is a linear map of the checksum's 32 bits; the map for a length is composed of those for powers of
    two.

    Args:
        first: Checksum of the first piece.
        second: Checksum of the piece that follows it.
        second_length: Length of the second piece, in bytes.
    """
    position = 0
    while second_length:
        if second_length & 1:
            first = _apply(_zeros(position), first)
        second_length >>= 1
        position += 1
    return first ^ second


@lru_cache(maxsize=64)
def _zeros(power: int) -> tuple[int, ...]:
    """Return the map that appends 2**power zero bytes, as the images of the 32 bits."""
    if power == 0:
        one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
        return _squared(_squared(_squared(one_bit)))
    return _squared(_zeros(power - 1))


def _squared(images: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_apply(images, image) for image in images)


def _apply(images: tuple[int, ...], value: int) -> int:
    result = 0
    for image in images:
        if value & 1:
            result ^= image
        value >>= 1
    return result


def crc32c_of(path: Path, read: Callable[[int], None] = lambda _count: None) -> int:
    """Return the checksum of a file.

    Args:
        path: The file.
        read: Told how many bytes were read, after each piece.

    Raises:
        MissingDependency: no library for it is installed.
        OSError: the file cannot be read.
    """
    function, checksum = crc32c_function(), 0
    buffer = memoryview(bytearray(BUFFER_SIZE))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            checksum = function(buffer[:count], checksum)
            read(count)
    return checksum
