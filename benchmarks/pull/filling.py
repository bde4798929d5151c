"""A store that holds what a bucket holds, without a pull.

A pull of thousands of versions takes minutes here: the emulator walks its whole bucket for every version that is
published.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.receipts import Receipt
from modelfleet.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def fill(bucket: Path, root: Path, endpoint: str) -> None:
    """Copy the models of a bucket into a store, and write the receipts that a pull would have written.

    Args:
        bucket: Where the emulator keeps it; its name is the bucket's.
        root: The store's directory, which does not exist yet.
        endpoint: The emulator.
    """
    shutil.copytree(bucket, root, ignore=shutil.ignore_patterns("*.json"))
    repository, store = open_repository(f"gs://{bucket.name}", Access(gcs_endpoint=endpoint)), Store(root)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    for model, versions in repository.list_models().items():
        for version in map(int, versions):
            objects = repository.objects(model, version)
            store.certify(model, version, Receipt(repository.origin(model, version), objects, at))
