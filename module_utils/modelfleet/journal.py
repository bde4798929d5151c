"""What of a version under preparation has arrived, written piece by piece so that a killed pull goes on from there.

A line says that a piece of an object is in its file, and with which checksum. The bytes themselves may be lost again
(power failure), so whoever goes on reads the pieces and compares.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Changes when pieces of an older release can no longer be used.
FORMAT = 1
_FIELDS = 4


@dataclass(frozen=True)
class Piece:
    """A part of an object that arrived.

    Attributes:
        path: The object's path.
        start: Offset of its first byte.
        length: Its length in bytes.
        crc32c: Its checksum.
    """

    path: str
    start: int
    length: int
    crc32c: int

    @property
    def end(self) -> int:
        """Offset behind its last byte."""
        return self.start + self.length


class Journal:
    """An open journal; lines are whole, or ignored when it is read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def resume(self, fingerprint: str) -> list[Piece] | None:
        """Return the pieces of an earlier attempt; None when there is none, or it was about another source.

        Raises:
            OSError: the journal cannot be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return None
        # Without its line end the last one may be torn.
        rows = [_row(line) for line in lines[:-1]]
        if not rows or rows[0] != [FORMAT, fingerprint]:
            return None
        pieces: list[Piece] = []
        for row in rows[1:]:
            if row is not None and len(row) == 1:
                pieces = [piece for piece in pieces if piece.path != row[0]]
            elif row is not None and len(row) == _FIELDS:
                pieces.append(Piece(*row))
        return pieces

    def begin(self, fingerprint: str, pieces: Iterable[Piece] = ()) -> None:
        """Start the journal anew, with the pieces that were found sound. The old one holds until all of them are noted.

        Raises:
            OSError: it cannot be written.
        """
        self.close()
        fresh = self.path.with_name(f"{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(fresh, flags, 0o644)
        self._write([FORMAT, fingerprint])
        for piece in pieces:
            self.add(piece)
        fresh.replace(self.path)

    def add(self, piece: Piece) -> None:
        """Note a piece whose bytes were written.

        Raises:
            OSError: it cannot be written.
        """
        self._write([piece.path, piece.start, piece.length, piece.crc32c])

    def forget(self, path: str) -> None:
        """Note that no piece of an object counts any more.

        Raises:
            OSError: it cannot be written.
        """
        self._write([path])

    def close(self) -> None:
        """Give the file back; harmless when it is not open."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, row: list[object]) -> None:
        os.write(self._descriptor, json.dumps(row).encode() + b"\n")


def _row(line: bytes) -> list[Any] | None:
    """Return what a line says; None when it is damaged."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, list):
        return None
    header = len(row) == 2 and isinstance(row[0], int)  # noqa: PLR2004  (format and fingerprint)
    forgotten = len(row) == 1 and isinstance(row[0], str)
    numbers = row[1:]
    piece = (
        len(row) == _FIELDS
        and isinstance(row[0], str)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
    )
    return row if header or forgotten or piece else None
