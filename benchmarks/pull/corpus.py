"""Models as fake-gcs-server's file system backend holds them: a file each, its metadata in an extended attribute.

Laying them directly is as quick as writing files, and large ones may be sparse.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
from typing import TYPE_CHECKING

from crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20
CREATED = "2026-01-01T00:00:00Z"
GENERATION = 1_767_225_600_000_000
#: One GiB in four shards.
SHARDS = {
    "saved_model.pb": 100_000,
    "variables/variables.index": 10_000,
    **{f"variables/variables.data-{shard:05}-of-00004": 256 * MIB for shard in range(4)},
}
SMALL_FILES = {
    "saved_model.pb": 20_000,
    "variables/variables.index": 20_000,
    "variables/variables.data-00000-of-00001": 20_000,
    **{f"assets/{number:05}.txt": 20_000 for number in range(1997)},
}


def lay(folder: Path, files: Mapping[str, int], *, sparse: bool = False) -> None:
    """Write the files of a version, each with the given size in bytes.

    Args:
        folder: ``<root of the emulator>/<bucket>/<model>/<version>``.
        files: The size of each, by its path.
        sparse: Whether they hold zeros that take no space, instead of noise.
    """
    noise = random.Random(20_260_101)  # noqa: S311  (the same content every time)
    for path, size in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        checksum, md5 = 0, hashlib.md5(usedforsecurity=False)
        with target.open("wb") as stream:
            for start in range(0, size, MIB):
                length = min(MIB, size - start)
                block = bytes(length) if sparse else noise.randbytes(length)
                checksum = crc32c(block, checksum)
                md5.update(block)
                if not sparse:
                    stream.write(block)
            stream.truncate(size)
        os.setxattr(target, "user.metadata", _metadata(checksum, md5.digest()))


def put(path: Path, content: bytes) -> None:
    """Write one object."""
    path.write_bytes(content)
    os.setxattr(path, "user.metadata", _metadata(crc32c(content), hashlib.md5(content, usedforsecurity=False).digest()))


def _metadata(checksum: int, md5: bytes) -> bytes:
    digest = base64.b64encode(md5).decode()
    return json.dumps(
        {
            "StorageClass": "STANDARD",
            "ContentType": "application/octet-stream",
            "Crc32c": base64.b64encode(checksum.to_bytes(4, "big")).decode(),
            "Md5Hash": digest,
            "Etag": digest,
            "Created": CREATED,
            "Updated": CREATED,
            "Deleted": "0001-01-01T00:00:00Z",
            "Generation": GENERATION,
        }
    ).encode()


def differences(source: Path, target: Path) -> list[str]:
    """Return the files below either directory whose bytes are not the same in the other, or not there at all."""
    theirs, ours = _files(source), _files(target)
    return sorted(
        path
        for path in theirs | ours
        if path not in theirs or path not in ours or not _same(source / path, target / path)
    )


def _files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def _same(one: Path, other: Path) -> bool:
    left, right = bytearray(MIB), bytearray(MIB)
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while True:
            counts = first.readinto(left), second.readinto(right)
            if counts[0] != counts[1] or left != right:
                return False
            if not counts[0]:
                return True
