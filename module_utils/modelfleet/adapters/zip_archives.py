"""Zip archives, read with Python's library and kept from what it would allow."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, cast

from .archive_members import Members, damaged, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .archive_members import Writer

#: How much the list of the members may take, in bytes: the library holds all of it in memory.
DIRECTORY_LIMIT = 16 << 20
_ENCRYPTED = 1
#: What the library raises for archives that are damaged or made to hurt.
_DAMAGE = (EOFError, NotImplementedError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


def unzip(raw: io.RawIOBase, writer: Writer, subject: str) -> None:
    """Unpack a zip archive. Its list of members is judged as a whole before anything is written.

    Raises:
        InvalidInput: a member is not acceptable.
        SourceIncomplete: it is no archive, or not all of one.
        DigestMismatch: a checksum in it does not fit.
        NoSpace: the files take more than may be written.
    """
    with _reading(subject):
        opened = zipfile.ZipFile(cast("IO[bytes]", _Measured(raw)))
    with opened:
        members = Members(subject)
        entries = opened.infolist()
        for entry in entries:
            _check(entry, members)
        paths = [members.add(entry.filename, folder=_is_folder(entry)) for entry in entries]
        if sum(entry.compress_size for entry in entries) > raw.seek(0, os.SEEK_END):
            raise unreadable(subject, "its members overlap")
        writer.reserve(sum(entry.file_size for entry in entries))
        for entry, path in zip(entries, paths):
            if _is_folder(entry):
                writer.folder(path)
                continue
            with _reading(subject):
                member = opened.open(entry)
            with member:
                writer.file(path, entry.file_size, partial(_read, member, subject))


def _check(entry: zipfile.ZipInfo, members: Members) -> None:
    """Check that a member is a plain file or a directory that can be read.

    Raises:
        InvalidInput: it is not.
    """
    if entry.orig_filename.partition("\0")[0] != entry.orig_filename:
        members.refuse(entry.orig_filename, "which cannot be the name of a file")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFDIR if _is_folder(entry) else stat.S_IFREG}:
        members.refuse(entry.filename, "which is no plain file")
    if entry.flag_bits & _ENCRYPTED:
        members.refuse(entry.filename, "which is encrypted")
    # Other methods take as much memory as the archive demands.
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        members.refuse(entry.filename, "which is compressed by another method than deflate")


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    """Return whether a member is a directory; the library's own answer fails for one without a name."""
    return entry.filename.endswith("/")


class _Measured(io.RawIOBase):
    """A file that gives neither too much at once nor what is not there.

    The library reads the list of members in one piece, however large and wherever the archive says it is.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._size = raw.seek(0, os.SEEK_END)

    def read(self, size: int = -1) -> bytes | None:
        if size > DIRECTORY_LIMIT:
            problem = f"a part of it claims to have {size} bytes"
            raise zipfile.BadZipFile(problem)
        return self._raw.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and not 0 <= offset <= self._size:
            problem = f"a part of it claims to lie at byte {offset}"
            raise zipfile.BadZipFile(problem)
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def seekable(self) -> bool:
        return True


def _read(member: IO[bytes], subject: str, size: int) -> bytes:
    with _reading(subject):
        return member.read(size)


@contextmanager
def _reading(subject: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        words = str(error) or type(error).__name__
        if isinstance(error, zlib.error) or "CRC" in words:
            raise damaged(subject, words) from error
        raise unreadable(subject, words) from error
