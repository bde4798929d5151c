"""Our own pull: ours.py all|nothing URI DIRECTORY. Checksums, receipts and durability as everywhere.

``nothing`` holds that everything is there already.
"""

from __future__ import annotations

import sys

from modelfleet import manifest_source
from modelfleet.adapters.opening import open_repository
from modelfleet.pull import converge
from modelfleet.store import Store


def main(what: str, uri: str, directory: str) -> None:
    """Pull what the repository's manifest wants, or every model of a repository without one."""
    store, repository = Store(directory), open_repository(uri)
    manifest = manifest_source.find({}, repository, store)
    _, report = converge(manifest, repository, store, "node")
    assert bool(report.pulled) == (what == "all"), report
    assert not report.refused, report


if __name__ == "__main__":
    main(*sys.argv[1:])
