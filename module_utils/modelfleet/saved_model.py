"""The shape of a complete SavedModel, judged from names and sizes alone."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .errors import SourceIncomplete

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Any of these makes a directory a model.
ROOTS = ("saved_model.pb", "saved_model.pbtxt", "model.tflite")
_INDEX = "variables/variables.index"
_SHARD = re.compile(r"variables/variables\.data-([0-9]{5,})-of-([0-9]{5,})")
_REMEDY = "publish the whole SavedModel again as a new version"


def check_shape(files: Mapping[str, int], subject: str) -> None:
    """Check that the files can be a whole SavedModel.

    Args:
        files: Path below the version's directory to size in bytes.
        subject: What messages call the version.

    Raises:
        SourceIncomplete: something is missing or empty; the message names it.
    """
    roots = [name for name in ROOTS if name in files]
    if not roots:
        raise SourceIncomplete(subject, f"has no {ROOTS[0]}", _REMEDY)
    empty = [name for name in (*roots, _INDEX) if files.get(name) == 0]
    if empty:
        raise SourceIncomplete(subject, f"{empty[0]} is empty", _REMEDY)
    shards = [(path, match) for path in sorted(files) if (match := _SHARD.fullmatch(path))]
    if shards and _INDEX not in files:
        raise SourceIncomplete(subject, f"has {shards[0][0]} but no {_INDEX}", _REMEDY)
    if _INDEX in files and not shards:
        raise SourceIncomplete(subject, f"has {_INDEX} but no variables.data", _REMEDY)
    totals = {int(match[2]) for _, match in shards}
    if len(totals) > 1:
        raise SourceIncomplete(subject, "mixes variables of different numbers of shards", _REMEDY)
    for total in totals:
        present = {int(match[1]) for _, match in shards}
        if len(present) < total:
            missing = next(number for number in range(total) if number not in present)
            raise SourceIncomplete(
                subject, f"lacks shard {missing} of {total} of its variables ({len(present)} are there)", _REMEDY
            )


def validate_saved_model(directory: Path, subject: str = "") -> None:
    """Check that a directory can be a whole SavedModel; see ``check_shape``.

    Raises:
        SourceIncomplete: something is missing or empty.
        OSError: the directory cannot be read.
    """
    check_shape(dict(files_below(str(directory))), subject or str(directory))


def files_below(top: str) -> list[tuple[str, int]]:
    """Return the path below a directory and the size in bytes of every file in it.

    Raises:
        OSError: it cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found = []
    for folder, _, names in os.walk(top, onerror=fail):
        below = os.path.relpath(folder, top)
        start = "" if below == "." else f"{below}/"
        for name in names:
            size = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116  (thousands of files: no Path for each)
            found.append((f"{start}{name}", size))
    return found
