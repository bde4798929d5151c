"""Tar archives, plain or compressed with gzip, read with Python's library and kept from what it would allow."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, cast

from .archive_members import PIECE, Members, damaged, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .archive_members import Writer

#: How much a header may take that says more about the next member, in bytes: it is held in memory.
HEADER_LIMIT = 1 << 20
#: How much padding may follow the end, in bytes; what packs archives writes 10 KiB at most.
PADDING_LIMIT = 16 << 20
#: How much may be read, in bytes, to learn what the next member is: the library keeps all of it in memory.
HEADERS_LIMIT = 4 * PIECE
#: How many characters may be said about all members at once: the library repeats them for each.
COMMON_LIMIT = 4096
_GZIP = b"\x1f\x8b"
#: What the libraries raise for archives that are cut off or made to hurt.
_UNREADABLE = (EOFError, RuntimeError, ValueError, tarfile.TarError)
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
#: Headers that say more about the next member, such as its long name.
_EXTENSIONS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


def untar(raw: io.RawIOBase, writer: Writer, subject: str) -> None:
    """Unpack a tar archive in one pass, up to its very end: that is where gzip's checksum is.

    Raises:
        InvalidInput: a member is not acceptable.
        SourceIncomplete: it is no archive, or not all of one.
        DigestMismatch: the checksum of its compression does not fit.
        NoSpace: the files take more than may be written.
    """
    with ExitStack() as held:
        buffered = held.enter_context(io.BufferedReader(raw, PIECE))
        zipped = buffered.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
        # The tar library would decompress by itself, but check no checksum.
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=buffered, mode="rb") if zipped else buffered)
        held.enter_context(plain)
        metered = _Metered(plain)
        with _reading(subject), metered.headers():
            through = cast("IO[bytes]", metered)
            opened = held.enter_context(tarfile.open(fileobj=through, mode="r|", bufsize=PIECE, tarinfo=_Header))
        _take_members(opened, metered, writer, subject)
        padding = 0
        while count := len(_read(plain, subject, PIECE)):
            padding += count
            if padding > PADDING_LIMIT:
                raise unreadable(subject, "it goes on after its end")


def _take_members(opened: tarfile.TarFile, metered: _Metered, writer: Writer, subject: str) -> None:
    members = Members(subject)
    while True:
        with _reading(subject), metered.headers():
            entry = opened.next()
        if entry is None:
            return
        # The library would remember every member, with all that its headers say.
        opened.members.clear()  # type: ignore[attr-defined] # missing in its types only
        if sum(len(key) + len(value) for key, value in opened.pax_headers.items()) > COMMON_LIMIT:
            raise unreadable(subject, "its headers say too much about all members")
        path = members.add(entry.name, folder=entry.isdir())
        if entry.isdir():
            writer.folder(path)
            continue
        if entry.issparse():
            members.refuse(entry.name, "which has holes")
        writer.reserve(entry.size)
        with _reading(subject):
            member = opened.extractfile(entry)
        if member is None or entry.size < 0:
            raise unreadable(subject, f"{path} has no content")
        with member:
            writer.file(path, entry.size, partial(_read, member, subject))


class _Header(tarfile.TarInfo):
    """A header that is checked before anything follows from it.

    The library takes a damaged header for the end of the archive, and reads long names as long as they say they are.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            problem = f"{error} where a member or the end should be"
            raise tarfile.ReadError(problem) from error
        if header.type in _EXTENSIONS:
            if not 0 <= header.size <= HEADER_LIMIT:
                problem = f"a header claims to have {header.size} bytes"
                raise tarfile.ReadError(problem)
        elif header.type not in {*_FILES, tarfile.DIRTYPE}:
            raise _NoPlainFile(header.name)
        return header


class _Metered:
    """A stream of which no more than a little is read while the library reads headers.

    It follows chains of headers, and lists in them, however long they are.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left: int | None = None

    @contextmanager
    def headers(self) -> Iterator[None]:
        self._left = HEADERS_LIMIT
        try:
            yield
        finally:
            self._left = None

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                problem = f"a header goes on for more than {HEADERS_LIMIT} bytes"
                raise tarfile.ReadError(problem)
        return data


class _NoPlainFile(Exception):
    """A member is a link, a device, a pipe or something unknown; holds its name."""


def _read(stream: IO[bytes], subject: str, size: int) -> bytes:
    with _reading(subject):
        return stream.read(size)


@contextmanager
def _reading(subject: str) -> Iterator[None]:
    try:
        yield
    except _NoPlainFile as error:
        Members(subject).refuse(str(error), "which is no plain file")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(subject, str(error)) from error
    except _UNREADABLE as error:
        raise unreadable(subject, str(error) or type(error).__name__) from error
