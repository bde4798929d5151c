"""How the content of a version is cut into work, and put together again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .adapters.checksums import combine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .adapters.repository import RemoteObject
    from .journal import Piece

#: Objects up to this size are read in one go, several of them by one worker in turn; in bytes.
SMALL = 1 << 20
#: How many small objects make one unit of work.
BATCH = 16


@dataclass(frozen=True)
class Segment:
    """A part of an object that is still to be read; offsets in bytes."""

    obj: RemoteObject
    start: int
    length: int


def missing(obj: RemoteObject, pieces: Iterable[Piece], segment_bytes: int) -> list[Segment]:
    """Return what of an object is not covered by pieces, in parts of at most ``segment_bytes``.

    An object that cannot be read in parts is missing as a whole unless it is there as a whole.
    """
    gaps, position = [], 0
    for piece in ordered(pieces):
        if piece.start > position:
            gaps.append((position, piece.start))
        position = max(position, piece.end)
    if position < obj.size:
        gaps.append((position, obj.size))
    if not obj.divisible:
        return [Segment(obj, 0, obj.size)] if gaps else []
    return [
        Segment(obj, start, min(segment_bytes, end - start))
        for begin, end in gaps
        for start in range(begin, end, segment_bytes)
    ]


def ordered(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces that follow each other, without any that overlaps an earlier one."""
    result: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start, -piece.length)):
        if piece.length and (not result or piece.start >= result[-1].end):
            result.append(piece)
    return result


def checksum_of(obj: RemoteObject, pieces: Iterable[Piece]) -> int | None:
    """Return the checksum of an object from those of its pieces; None while some are missing."""
    checksum, position = 0, 0
    for piece in ordered(pieces):
        if piece.start != position:
            return None
        checksum = combine(checksum, piece.crc32c, piece.length) if position else piece.crc32c
        position = piece.end
    return checksum if position == obj.size else None


def batches(segments: Iterable[Segment]) -> list[Sequence[Segment]]:
    """Return units of work: every large segment is one, small ones go together; large ones first."""
    large: list[Segment] = []
    small: list[Segment] = []
    for segment in segments:
        (small if segment.length <= SMALL else large).append(segment)
    units: list[Sequence[Segment]] = [(segment,) for segment in sorted(large, key=lambda item: -item.length)]
    return units + [small[begin : begin + BATCH] for begin in range(0, len(small), BATCH)]
