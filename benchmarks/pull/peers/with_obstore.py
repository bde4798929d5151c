"""obstore: with_obstore.py bare|sound ENDPOINT BUCKET PREFIX DIRECTORY.

It has no download of many objects, so this is one: threads that stream whole objects in large pieces. Four threads and
pieces of 1 MiB were the quickest on two cores. obstore itself checks no checksum; ``sound`` computes crc32c on the way
and brings every file to disk.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from crc32c import crc32c
from obstore.store import GCSStore

WORKERS = 4
PIECE = 1 << 20


def main(how: str, endpoint: str, bucket: str, prefix: str, directory: str) -> None:
    """Download everything below a prefix."""
    account = {"gcs_base_url": endpoint, "disable_oauth": True}
    account |= {"client_email": "", "private_key": "", "private_key_id": ""}
    store = GCSStore(bucket, service_account_key=json.dumps(account), client_options={"allow_http": True})

    def download(name: str) -> int:
        path = Path(directory) / name.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        checksum = 0
        with path.open("wb", buffering=0) as stream:
            for piece in obstore.get(store, name).stream(min_chunk_size=PIECE):
                if how == "sound":
                    checksum = crc32c(piece, checksum)
                stream.write(piece)
            if how == "sound":
                os.fsync(stream.fileno())
        return checksum

    names = [item["path"] for page in store.list(prefix) for item in page]
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(download, names):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
