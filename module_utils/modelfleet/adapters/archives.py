"""Versions that are published as one archive: unpacked member by member, and not trusted in any of them.

An archive holds plain files and directories or is refused as a whole. Modes, owners and times of its members are of
no interest: what is unpacked looks like everything else that is pulled.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Callable

from ..errors import InvalidInput
from ..names import is_version_number
from ..saved_model import ROOTS
from .archive_members import Writer
from .tar_archives import untar
from .zip_archives import unzip

_SUFFIXES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tgz": "tar"}
_UNPACK = {"zip": unzip, "tar": untar}


def archive_kind(name: str) -> str:
    """Return ``zip`` or ``tar`` (also when compressed with gzip) for the name of an archive; empty for others."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.lower().endswith(suffix)), "")


def unpack(  # noqa: PLR0913  (an archive, a place, and what bounds the way from one to the other)
    archive: Path,
    kind: str,
    into: Path,
    *,
    limit_bytes: int,
    check: Callable[[], None] = lambda: None,
    subject: str = "",
) -> None:
    """Unpack the version that an archive holds; what is written is not brought to disk yet.

    Where the SavedModel lies in a directory of the archive, that directory is the version, and what lies beside it is
    dropped.

    Args:
        archive: The file.
        kind: What ``archive_kind`` says of it.
        into: A directory. What it holds is removed first; it is empty after an error.
        limit_bytes: How much the files may take together.
        check: Called after every piece of less than a mebibyte and for every file; what it raises ends the work.
        subject: What messages call the version; empty means the archive's name.

    Raises:
        InvalidInput: a member leads elsewhere, is no plain file, or collides with another; or there are several
            SavedModels.
        SourceIncomplete: the archive is cut off or meddled with, or it is none of that kind.
        DigestMismatch: its own checksums do not fit: it may have been damaged on its way.
        NoSpace: the files take more than ``limit_bytes``.
        OSError: the archive cannot be read, or the directory cannot be written.
    """
    subject = subject or archive.name
    _clear(into)
    try:
        with archive.open("rb", buffering=0) as raw:
            _UNPACK[kind](raw, Writer(into, limit_bytes, check, subject), subject)
        _lift(into, subject)
    except BaseException:
        _clear(into)
        raise


def _lift(top: Path, subject: str) -> None:
    """Let the directory that holds the SavedModel be the top, where the top is none.

    Raises:
        InvalidInput: there are several.
    """
    found: list[str] = []
    for folder, below, files in os.walk(top):
        if any(root in files for root in ROOTS):
            found.append(folder)
            below.clear()
    if len(found) > 1:
        names = sorted(os.path.relpath(folder, top) for folder in found)
        numbers = all(is_version_number(name.rpartition("/")[2]) for name in names)
        what = "versions" if numbers else "SavedModels"
        raise InvalidInput(
            subject,
            f"its archive holds {len(names)} {what}: {', '.join(names[:5])}",
            "give each version an archive of its own",
        )
    if not found or Path(found[0]) == top:
        return
    inner = Path(tempfile.mkdtemp(dir=top, prefix="."))
    Path(found[0]).rename(inner)
    for entry in list(top.iterdir()):
        if entry != inner:
            _remove(entry)
    for entry in list(inner.iterdir()):
        entry.rename(top / entry.name)
    inner.rmdir()


def _clear(folder: Path) -> None:
    for entry in list(folder.iterdir()):
        _remove(entry)


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry)
    else:
        entry.unlink()
