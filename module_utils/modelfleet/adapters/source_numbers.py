"""Which numbers the versions of one source get on a node, where the sources of a model may change. Pure.

A version that was published on a node never changes, so a model whose source changes comes under numbers that are not
taken. The numbers of one source keep their distances: they are shifted by one offset, which is read off what is on
disk, so that nothing has to be remembered beside it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..names import VERSION_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: The number of a source that is not divided into versions.
UNDIVIDED = 1
_DIGITS = re.compile(r"[0-9]{1,19}")


def number_of(name: str) -> int:
    """Return the version that the name of a directory means, also with leading zeros; 0 when it means none."""
    number = int(name) if _DIGITS.fullmatch(name) else 0
    return number if number < VERSION_LIMIT else 0


def offset(uri: str, numbers: Collection[int], stored: Mapping[int, str]) -> int:
    """Return what is added to a version's number at its source to get its number on the node.

    Where versions of the source are on disk, their offset holds on, the one of the highest such number first: so a
    source that a model had before needs no download. Where there is none, or it would hit a number that something
    else has, the versions come after all that is on disk.

    Args:
        uri: The source, without a slash at its end.
        numbers: The versions that it has, or that are wanted of it.
        stored: Every number that is taken on disk, with the URI that this version came from; empty where that is not
            known.

    Raises:
        InvalidInput: the numbers are too large to be shifted.
    """
    remote = {local: number_at(uri, origin) for local, origin in stored.items()}
    for local in sorted(stored, reverse=True):
        if remote[local] and _fits(local - remote[local], numbers, remote):
            return local - remote[local]
    fresh = max(stored, default=0)
    if not _fits(fresh, numbers, remote):
        raise InvalidInput(
            f"source {uri}",
            f"has a version {max(numbers)}, and no number above {fresh} is left for it on this node",
            "publish versions of smaller numbers, or remove the model's versions from this node",
        )
    return fresh


def number_at(uri: str, origin: str) -> int:
    """Return which version of a source an origin is; 0 when it is none of them."""
    if not uri or not origin:
        return 0
    if origin == uri:
        return UNDIVIDED
    above, _, name = origin.rpartition("/")
    return number_of(name) if above == uri else 0


def _fits(shift: int, numbers: Collection[int], remote: Mapping[int, int]) -> bool:
    """Return whether every version gets a number that is free, or on disk as that very version."""
    return all(
        0 < number + shift < VERSION_LIMIT and remote.get(number + shift, number) == number for number in numbers
    )
