"""Our own pull: ours.py URI DIRECTORY. Checksums, receipts and durability as everywhere."""

from __future__ import annotations

import sys

from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.manifest import track
from modelfleet.pull import converge
from modelfleet.store import Store


def main(uri: str, directory: str) -> None:
    """Pull every model of a repository."""
    store = Store(directory)
    repository = open_repository(uri, Access())
    with store.lock(0):
        _, report = converge(track(), repository, store, "node")
    assert report.pulled, report
    assert not report.refused, report


if __name__ == "__main__":
    main(*sys.argv[1:])
