"""Models to pull, a bucket to put them in, and the law that every store must keep at every moment."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from modelfleet.names import is_model_name, is_version_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20
#: What a store may hold beside its models.
OWN_NAMES = {".staging", ".receipts", ".quarantine", ".state", ".lock", ".commit"}
#: The files of a version by path.
Files = dict[str, bytes]


def content(name: str, size: int) -> bytes:
    """Return bytes that look random, are the same for the same name, and differ in every mebibyte."""
    block = random.Random(name).randbytes(min(size, MIB))
    if size <= MIB:
        return block
    parts = [index.to_bytes(8, "big") + block[8:] for index in range(-(-size // MIB))]
    return b"".join(parts)[:size]


def saved_model(name: str, size: int = 1000, shards: int = 1, assets: int = 0) -> Files:
    """Return the files of something that has the shape of a SavedModel.

    Args:
        name: Versions of other names have other bytes.
        size: Of all shards of variables together, in bytes.
        shards: Over how many files they are spread.
        assets: How many small files there are beside, one of them empty.
    """
    files = {
        "saved_model.pb": content(f"{name} graph", 500),
        "variables/variables.index": content(f"{name} index", 100),
    }
    for number in range(shards):
        path = f"variables/variables.data-{number:05}-of-{shards:05}"
        files[path] = content(f"{name} {number}", size // shards)
    for number in range(assets):
        files[f"assets/vocabulary-{number}.txt"] = content(f"{name} asset {number}", number * 37)
    return files


class Bucket(Protocol):
    """Where versions are published, beside the code under test."""

    @property
    def uri(self) -> str:
        """How the fleet names it."""

    def put(self, key: str, content: bytes) -> None:
        """Write an object, in a new generation."""

    def delete(self, key: str) -> None:
        """Remove an object."""


@dataclass
class Shelf:
    """What was published to a bucket."""

    bucket: Bucket
    versions: dict[tuple[str, int], Files] = field(default_factory=dict)

    def publish(self, model: str, version: int, files: Files) -> int:
        """Put a version into the bucket; return its size in bytes."""
        for path, data in sorted(files.items(), reverse=True):
            self.bucket.put(f"{model}/{version}/{path}", data)
        self.versions[model, version] = files
        return sum(map(len, files.values()))

    def withdraw(self, model: str, version: int) -> None:
        """Take a version out of the bucket."""
        for path in self.versions.pop((model, version)):
            self.bucket.delete(f"{model}/{version}/{path}")

    @property
    def size(self) -> int:
        """Size of all versions in bytes."""
        return sum(len(data) for files in self.versions.values() for data in files.values())


def files_of(folder: Path) -> Files:
    """Return every file below a directory."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def versions_of(store: Path) -> dict[tuple[str, int], Path]:
    """Return every version in a store as a server would find it."""
    return {
        (path.parent.name, int(path.name)): path
        for path in store.glob("*/*")
        if is_version_number(path.name) and is_model_name(path.parent.name)
    }


def complaints(store: Path, published: Mapping[tuple[str, int], Files]) -> list[str]:
    """Return what in a store breaks the law; nothing may, at any moment.

    Every version is complete and equal to its source, and nothing has a name that a server could take for a model.
    """
    if not store.is_dir():
        return []
    found = [
        f"{model}/{version} is not what was published"
        for (model, version), folder in versions_of(store).items()
        if files_of(folder) != published.get((model, version))
    ]
    top = {path.name for path in store.iterdir()} - OWN_NAMES
    found += [f"stray name {name}" for name in sorted(top - {model for model, _ in published})]
    found += [
        f"stray name {path.relative_to(store)}"
        for name in sorted(top)
        for path in (store / name).iterdir()
        if not is_version_number(path.name)
    ]
    return found
