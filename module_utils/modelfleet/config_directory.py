"""A directory of definitions, read as one consistent revision.

It holds plain files, or is a volume that Kubernetes projects: there ``..data`` is a symbolic link to a hidden
directory, which is never changed but replaced as a whole, by a rename of the link.

Changes are found by a token that costs a stat per file, not by notifications of the kernel: a replaced ``..data``, an
edit in place, a rename over a file and a removal all show in it, also on network file systems, which notify nobody of
what other machines do; and nothing is missed while nobody listens.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from .errors import InvalidInput, ModelfleetError, SourceForbidden, SourceNotFound, SourceUnavailable
from .waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: In bytes; Kubernetes allows as much for a whole volume.
SIZE_LIMIT = 2**20
#: More files, or more bytes in them, are no directory of definitions.
COUNT_LIMIT = 10_000
TOTAL_LIMIT = 64 * SIZE_LIMIT
#: What has such a name is meant to be a file: a container's engine makes a directory where the file of a mount is not.
_SUFFIX = ".json"
#: The link that Kubernetes replaces.
DATA = "..data"
#: How long to wait for a quiet moment, in seconds.
_PATIENCE_S = 1.0
_PAUSE_S = 0.02
#: A file that was changed so recently may change again without a trace in its times, in nanoseconds.
_SETTLING_NS = 50_000_000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Without waiting for a writer, should it be a pipe.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
#: What an operating system says of something that is just being replaced.
_FLEETING = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP, errno.EIO, errno.EAGAIN})
#: Device, inode, size and the times of change of a file; None where it cannot be looked at.
_Trace = Optional[tuple[int, int, int, int, int]]


@dataclass(frozen=True)
class Revision:
    """What a directory held at one moment.

    Attributes:
        files: Contents by name; without hidden files, and without whatever is no file and not named like one.
        unreadable: Files that could not be read, each with the reason, as half a sentence.
        token: What ``token`` returns as long as nothing changes.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    token: str = ""


@dataclass(frozen=True)
class _Look:
    """A directory as it looks from outside: the link to its data, where it has one, and the files there."""

    link: tuple[int, ...]
    traces: Mapping[str, _Trace]

    @property
    def token(self) -> str:
        seen = repr((self.link, sorted(self.traces.items())))
        return hashlib.sha256(seen.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def settled(self) -> bool:
        """Whether a further change is bound to show. Data behind a link are complete before the link is there."""
        newest = max((trace[-1] for trace in self.traces.values() if trace), default=0)
        return bool(self.link) or not 0 <= time.time_ns() - newest < _SETTLING_NS


def token(path: Path) -> str:
    """Return what changes whenever a directory of definitions, or a single file, does. Never fails.

    What leaves name, inode and size as they are shows as soon as the clock of the file system has moved on.
    """
    try:
        with _folder(path) as (folder, link):
            return _look(path, folder, link).token
    except NotADirectoryError:
        return _file_token(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    except ModelfleetError as error:
        return f"unreadable: {error.problem}"


def _file_token(path: Path) -> str:
    try:
        return repr(_trace(path.stat()))
    except OSError as error:
        return f"unreadable: {error.strerror}"


def read(path: Path, clock: Clock | None = None) -> Revision:
    """Return the files of a directory as they were at one moment.

    While somebody changes it, it is read again, up to about a second. A single file that cannot be read is told among
    the ``unreadable`` ones.

    Raises:
        SourceNotFound: there is no such directory.
        SourceForbidden: it may not be read.
        SourceUnavailable: it keeps changing, or cannot be read now.
        InvalidInput: it holds more files than a directory of definitions may.
    """
    clock = clock or Clock()
    deadline = Deadline(_PATIENCE_S, clock)
    while True:
        try:
            look, revision, hurt = _attempt(path)
        except OSError as error:
            if error.errno not in _FLEETING or deadline.expired:
                raise _failure(path, error) from error
        else:
            quiet = look.settled and token(path) == revision.token
            if quiet and (not hurt or deadline.expired):
                return revision
            if deadline.expired:
                raise SourceUnavailable(str(path), "keeps changing", "wait; nothing changes until it is quiet")
        deadline.pause(_PAUSE_S)


def _attempt(path: Path) -> tuple[_Look, Revision, bool]:
    """Return how the directory looks, what it holds, and whether a file of it may only be unreadable for a moment."""
    files: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    hurt = False
    with _folder(path) as (folder, link):
        look = _look(path, folder, link)
        for name in look.traces:
            try:
                content = _content(folder, name)
            except OSError as error:
                hurt = hurt or error.errno in _FLEETING
                unreadable[name] = f"cannot be read: {error.strerror}"
            else:
                if len(content) > SIZE_LIMIT:
                    unreadable[name] = f"is larger than {SIZE_LIMIT} bytes"
                else:
                    files[name] = content
    return look, Revision(files, unreadable, look.token), hurt


@contextmanager
def _folder(path: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Open the directory that holds the files, and tell the link that led to it; empty where none did.

    The link is resolved once, by opening it: whatever is read from then on is of one revision.
    """
    top = os.open(path, _DIRECTORY)
    try:
        link = _link(top)
        if not link:
            yield top, ()
            return
        folder = os.open(DATA, _DIRECTORY, dir_fd=top)
        try:
            there = os.fstat(folder)
            yield folder, (*link, there.st_dev, there.st_ino)
        finally:
            os.close(folder)
    finally:
        os.close(top)


def _link(top: int) -> tuple[int, ...]:
    try:
        found = os.stat(DATA, dir_fd=top, follow_symlinks=False)
    except FileNotFoundError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns) if stat.S_ISLNK(found.st_mode) else ()


def _look(path: Path, folder: int, link: tuple[int, ...]) -> _Look:
    names = os.listdir(folder)
    if not link and DATA not in names and any(name.startswith("..") for name in names):
        raise OSError(errno.ESTALE, f"{DATA} is missing")
    shown = sorted(name for name in names if not name.startswith("."))
    if len(shown) > COUNT_LIMIT:
        problem = f"holds {len(shown)} files, and a directory of definitions has up to {COUNT_LIMIT}"
        raise InvalidInput(str(path), problem, "name another directory, or remove what is no definition")
    traces = dict(_traces(folder, shown))
    if sum(min(trace[2], SIZE_LIMIT) for trace in traces.values() if trace) > TOTAL_LIMIT:
        problem = f"holds more than {TOTAL_LIMIT} bytes, which are no definitions"
        raise InvalidInput(str(path), problem, "name another directory, or remove what is no definition")
    return _Look(link, traces)


def _traces(folder: int, names: list[str]) -> Iterator[tuple[str, _Trace]]:
    """Tell the files among the names, and what should be one: a link to nothing may be one the next moment."""
    for name in names:
        try:
            found = os.stat(name, dir_fd=folder)
        except OSError:
            yield name, None
        else:
            if stat.S_ISREG(found.st_mode):
                yield name, _trace(found)
            elif name.endswith(_SUFFIX):
                yield name, None


def _trace(found: os.stat_result) -> _Trace:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(folder: int, name: str) -> bytes:
    """Return the content of a file, or its beginning, which is more than a definition may have."""
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        parts = []
        left = SIZE_LIMIT + 1
        while left and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _failure(path: Path, error: OSError) -> ModelfleetError:
    stays = "nothing changes until it can be read"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceNotFound(str(path), f"is no directory of definitions: {error.strerror}", f"make it; {stays}")
    if isinstance(error, PermissionError):
        return SourceForbidden(str(path), "may not be read", f"let this user read it; {stays}")
    return SourceUnavailable(str(path), f"cannot be read: {error.strerror}", stays)
