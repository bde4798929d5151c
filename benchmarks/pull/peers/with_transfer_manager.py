"""google-cloud-storage's transfer manager: with_transfer_manager.py processes|threads|chunks BUCKET PREFIX DIRECTORY.

Its own defaults: eight workers, checksums on. Two and four workers were not quicker on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager


def main(how: str, bucket: str, prefix: str, directory: str) -> None:
    """Download everything below a prefix."""
    client = storage.Client(project="benchmark", credentials=AnonymousCredentials())
    blobs = list(client.list_blobs(bucket, prefix=prefix))
    pairs = [(blob, Path(directory) / blob.name.removeprefix(prefix)) for blob in blobs]
    for folder in {path.parent for _, path in pairs}:
        folder.mkdir(parents=True, exist_ok=True)
    if how == "chunks":
        for blob, path in pairs:
            transfer_manager.download_chunks_concurrently(blob, str(path))
    else:
        kind = transfer_manager.THREAD if how == "threads" else transfer_manager.PROCESS
        named = [(blob, str(path)) for blob, path in pairs]
        transfer_manager.download_many(named, worker_type=kind, raise_exception=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
