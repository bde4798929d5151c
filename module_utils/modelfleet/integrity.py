"""Whether the bytes of a version on disk are still those that were pulled."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Callable

from .adapters.checksums import crc32c_of
from .durable import reported

#: What hinders a reader whatever it reads.
_OWN_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

if TYPE_CHECKING:
    from .store import Store


def damaged_files(
    store: Store, model: str, version: int, read: Callable[[int], None] = lambda _count: None
) -> tuple[str, ...]:
    """Return the files that are missing or hold other bytes than their receipt says; none without a receipt.

    Every file is read.

    Args:
        store: Where the version is.
        model: The model's name.
        version: Its version.
        read: Told how many bytes were read, now and then.

    Raises:
        MissingDependency: the library for checksums is not installed.
        StoreError: this program lacks memory or descriptors; that says nothing about the files.
    """
    receipt = store.receipt(model, version)
    folder = store.root / model / str(version)
    damaged = []
    for obj in receipt.objects if receipt else ():
        try:
            sound = crc32c_of(folder / obj.path, read) == obj.crc32c
        except OSError as error:
            if error.errno in _OWN_TROUBLE:
                with reported(folder):
                    raise
            sound = False
        if not sound:
            damaged.append(obj.path)
    return tuple(damaged)
