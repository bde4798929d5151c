"""The proof that a version on disk is complete: what it was pulled from, object by object."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .adapters.repository import RemoteObject

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Changes when a receipt of an older release can no longer be trusted.
FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """What one version on disk was pulled from.

    Attributes:
        source: URI of the repository.
        objects: Every file, ordered by path, with the checksum of the bytes on disk.
        at: When the pull ended, ISO 8601 in UTC.
        listed: What the repository listed, where that is not the files themselves but an archive of them.
    """

    source: str
    objects: tuple[RemoteObject, ...]
    at: str
    listed: tuple[RemoteObject, ...] = ()

    @property
    def size(self) -> int:
        """Size of all files, in bytes."""
        return sum(obj.size for obj in self.objects)

    @property
    def fingerprint(self) -> str:
        """The source as it was listed; see ``fingerprint``."""
        return fingerprint(self.listed or self.objects)

    @property
    def digest(self) -> str:
        """The content itself: equal for equal trees, wherever and whenever they were pulled from."""
        return _hash(f"{obj.path}\0{obj.size}\0{obj.crc32c}" for obj in self.objects)

    def to_json(self) -> str:
        """Return the receipt as text."""
        data = {
            "format": FORMAT,
            "source": self.source,
            "digest": self.digest,
            "at": self.at,
            "objects": [_row(obj) for obj in self.objects],
        }
        if self.listed:
            data["listed"] = [_row(obj) for obj in self.listed]
        return json.dumps(data) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Return the receipt that a text holds.

        Raises:
            ValueError: the text is not a receipt of this format, or was damaged.
        """
        data: Any = json.loads(text)
        try:
            objects = tuple(_object(row) for row in data["objects"])
            listed = tuple(_object(row) for row in data.get("listed", ()))
            receipt = cls(str(data["source"]), objects, str(data["at"]), listed)
            sound = data["format"] == FORMAT and data["digest"] == receipt.digest
        except (AttributeError, KeyError, TypeError) as error:
            problem = f"not a receipt: {error!r}"
            raise ValueError(problem) from error
        if not sound:
            problem = "not a receipt of this format, or damaged"
            raise ValueError(problem)
        return receipt


def fingerprint(objects: Iterable[RemoteObject]) -> str:
    """Return what changes when a version's source changes: a hash of its objects' paths, sizes and generations."""
    return _hash(f"{obj.path}\0{obj.size}\0{obj.generation}" for obj in sorted(objects, key=lambda obj: obj.path))


def _row(obj: RemoteObject) -> list[object]:
    return [obj.path, obj.size, obj.generation, obj.crc32c, *([obj.content] if obj.content else [])]


def _object(row: list[Any]) -> RemoteObject:
    path, size, generation, crc32c, *content = row
    return RemoteObject(str(path), int(size), str(generation), None if crc32c is None else int(crc32c), str(*content))


def _hash(rows: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
