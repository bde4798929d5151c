"""What the members of an archive may be, so that unpacking writes nothing unexpected anywhere."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TYPE_CHECKING, Callable, NoReturn

from ..errors import DigestMismatch, InvalidInput, NoSpace, SourceIncomplete

if TYPE_CHECKING:
    from pathlib import Path

#: How much is read and written at a time, in bytes: the libraries copy it several times, which is three times as slow
#: with pieces that memory is mapped anew for.
PIECE = 1 << 18
#: More members than any model has, and few enough to be kept in mind.
MEMBER_LIMIT = 100_000
#: How many characters all paths may have together, those of directories included: they are kept in mind as well.
NAMES_LIMIT = 16 << 20
#: Longest path that is unpacked, in characters, and how deep it may lead.
PATH_LIMIT, DEPTH_LIMIT = 1024, 32
#: Longest name of a file, in bytes (NAME_MAX of Linux' file systems).
NAME_LIMIT = 255
_DRIVE = re.compile(r"[A-Za-z]:")
_REMEDY = "pack the version anew, with plain files and directories only"


class Members:
    """The names of one archive's members, each checked against all that came before.

    Args:
        subject: What messages call the version.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._count = 0
        self._length = 0
        # How a path looks where case and composition of letters do not count -> its spelling, and whether it is a file.
        self._known: dict[str, tuple[str, bool]] = {}

    def add(self, name: str, *, folder: bool) -> str:
        """Return the path below the version's directory that a member gets; empty for that directory itself.

        Raises:
            InvalidInput: the name leads elsewhere, cannot be a file here, or is that of another member.
        """
        self._count += 1
        if self._count > MEMBER_LIMIT:
            self._refuse(f"holds more than {MEMBER_LIMIT} members")
        path = name[:-1] if folder and name.endswith("/") else name
        while path.startswith("./"):
            path = path[2:]
        if folder and path in {"", "."}:
            return ""
        self._check(path, name)
        parts = path.split("/")
        for end in range(1, len(parts)):
            self._claim("/".join(parts[:end]), is_file=False)
        self._claim(path, is_file=not folder)
        return path

    def refuse(self, name: str, problem: str) -> NoReturn:
        """Refuse the archive for one of its members.

        Raises:
            InvalidInput: always.
        """
        shown = repr(name) if len(name) <= NAME_LIMIT else f"{name[:40]!r}…"
        self._refuse(f"holds {shown}, {problem}")

    def _check(self, path: str, name: str) -> None:
        parts = path.split("/")
        if path.startswith("/") or _DRIVE.match(path) or ".." in parts:
            self.refuse(name, "which leads out of the version's directory")
        if any(part in {"", "."} for part in parts) or not path.isprintable() or "\\" in path:
            self.refuse(name, "which cannot be the name of a file")
        if len(path) > PATH_LIMIT or len(parts) > DEPTH_LIMIT or any(len(os.fsencode(p)) > NAME_LIMIT for p in parts):
            self.refuse(name, "which is longer or deeper than file systems bear")

    def _claim(self, path: str, *, is_file: bool) -> None:
        key = unicodedata.normalize("NFC", path).casefold()
        known = self._known.get(key)
        if known is None:
            self._length += len(path)
            if len(self._known) == MEMBER_LIMIT or self._length > NAMES_LIMIT:
                self._refuse(f"makes more than {MEMBER_LIMIT} files and directories, or too long names of them")
            self._known[key] = (path, is_file)
            return
        if known[0] != path:
            self.refuse(path, f"which differs from {known[0]!r} in the case or composition of letters only")
        if known[1] != is_file:
            self.refuse(path, "which is a file and a directory at once")
        if is_file:
            self.refuse(path, "twice")

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidInput(self._subject, f"its archive {problem}", _REMEDY)


class Writer:
    """Writes members below a directory, and no more than may be written.

    Args:
        top: The directory.
        limit: How much the files may take together, in bytes.
        check: Called for every file and directory and after every piece; what it raises ends the work.
        subject: What messages call the version.
    """

    def __init__(self, top: Path, limit: int, check: Callable[[], None], subject: str) -> None:
        self._top = top
        self._limit = limit
        self._left = limit
        self._check = check
        self._subject = subject
        self._made = {""}

    def reserve(self, size: int) -> None:
        """Refuse what is announced to take too much.

        Raises:
            NoSpace: it does.
        """
        if size > self._left:
            raise NoSpace(
                self._subject,
                f"unpacks to more than the {self._limit} bytes that are left for it",
                "make room, or publish a smaller version",
            )

    def folder(self, path: str) -> None:
        """Make a directory and those above it."""
        if path in self._made:
            return
        self.folder(path.rpartition("/")[0])
        self._check()
        place = self._top / path
        place.mkdir()
        place.chmod(0o755)
        self._made.add(path)

    def file(self, path: str, size: int, read: Callable[[int], bytes]) -> None:
        """Write one file.

        Raises:
            SourceIncomplete: there are not as many bytes as the archive announces.
            NoSpace: there are more than may be written.
        """
        self.folder(path.rpartition("/")[0])
        self._check()
        count = 0
        descriptor = os.open(self._top / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o644)
            while data := read(PIECE):
                self.reserve(len(data))
                self._left -= len(data)
                count += len(data)
                stream.write(data)
                self._check()
        if count != size:
            raise unreadable(self._subject, f"{path} has {count} bytes instead of {size}")


def unreadable(subject: str, words: str) -> SourceIncomplete:
    """Return the error for what is no archive, or not all of one, with the words of what reads it."""
    return SourceIncomplete(
        subject,
        f"its archive cannot be unpacked ({words})",
        "look whether the address leads to the archive, and publish it again",
    )


def damaged(subject: str, words: str) -> DigestMismatch:
    """Return the error for an archive whose own checksums do not fit what arrived."""
    return DigestMismatch(
        subject,
        f"its archive arrived damaged ({words})",
        "it is pulled again; publish it again when that does not help",
    )
