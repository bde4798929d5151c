"""Whether the bytes of a version on disk are still those that were pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .adapters.checksums import crc32c_of

if TYPE_CHECKING:
    from .store import Store


def damaged_files(store: Store, model: str, version: int) -> tuple[str, ...]:
    """Return the files that are missing or hold other bytes than their receipt says; none without a receipt.

    Every file is read.

    Raises:
        MissingDependency: the library for checksums is not installed.
    """
    receipt = store.receipt(model, version)
    folder = store.root / model / str(version)
    damaged = []
    for obj in receipt.objects if receipt else ():
        try:
            sound = crc32c_of(folder / obj.path) == obj.crc32c
        except OSError:
            sound = False
        if not sound:
            damaged.append(obj.path)
    return tuple(damaged)
