"""Sources in buckets."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..names import subject_of
from ..saved_model import ROOTS
from .archives import archive_kind
from .object_store import Entry, checked_objects, is_folder
from .source_numbers import UNDIVIDED, number_of
from .source_places import divided, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from .object_store import KeyedStore
    from .repository import RemoteObject, Source
    from .source_places import Version

#: How many objects one source may hold in all its versions: with more, it is not that of one model.
OBJECT_LIMIT = 100_000
#: How many keys are looked through for the one that is named: it comes before all that only begin like it.
_FIRST_KEYS = 100


class KeyedPlace:
    """A prefix of keys in a bucket, or one key.

    Args:
        store: The bucket.
        prefix: The prefix, or the key; slashes around it mean nothing.
    """

    def __init__(self, store: KeyedStore, prefix: str) -> None:
        self._store = store
        self._key = prefix.strip("/")
        self._base = f"{self._key}/" if self._key else ""
        self.host = store.uri
        self.origin = f"{store.uri}/{self._key}".rstrip("/")

    def versions(self, model: str) -> Mapping[int, Version]:
        """Return what is there, by number; see ``Place``."""
        single = self._single() if archive_kind(self._key) else {}
        found = single or self._directory(model) or self._single()
        if not found:
            raise nothing(model, self.origin)
        return found

    def _single(self) -> dict[int, Version]:
        """Return the key as the only version; nothing where there is no such key."""
        entry = _lookup(self._store, self._key)
        return {UNDIVIDED: _KeyedFile(self._store, entry, self.origin)} if entry else {}

    def _directory(self, model: str) -> dict[int, Version]:
        entries = []
        for entry in self._store.list(self._base):
            if not is_folder(entry):
                entries.append(entry)
            if len(entries) > OBJECT_LIMIT:
                raise InvalidInput(
                    f"model {model}",
                    f"has more than {OBJECT_LIMIT} objects at {self.origin}",
                    "name the directory of the model itself",
                )
        if not entries:
            return {}
        below: dict[str, list[Entry]] = {}
        models, start = set(), len(self._base)
        for entry in entries:
            top, deeper, path = entry.key[start:].partition("/")
            if deeper and number_of(top):
                below.setdefault(top, []).append(entry)
            if path in ROOTS or (not deeper and top in ROOTS):
                models.add(top if deeper else "")
        folders = divided(model, self.origin, below.keys(), models)
        if not folders:
            return {UNDIVIDED: _KeyedVersion(self._store, self._base, self.origin, entries)}
        return {
            number: _KeyedVersion(self._store, f"{self._base}{folder}/", f"{self.origin}/{folder}", below[folder])
            for number, folder in folders.items()
        }


class _KeyedVersion:
    """All keys below a prefix."""

    def __init__(self, store: KeyedStore, base: str, origin: str, entries: list[Entry]) -> None:
        self._store = store
        self._base = base
        self._entries = entries
        self.origin = origin

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        entries = self._entries
        if fresh:
            entries = [entry for entry in self._store.list(self._base) if not is_folder(entry)]
        if not entries:
            raise nothing(model, self.origin)
        return checked_objects(subject_of(model, version), self._base, entries)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        return _open_key(self._store, f"{self._base}{obj.path}", (model, version), obj, start, length)


class _KeyedFile:
    """One key."""

    def __init__(self, store: KeyedStore, entry: Entry, origin: str) -> None:
        self._store = store
        self._entry = entry
        self.origin = origin

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        key = self._entry.key
        entry = _lookup(self._store, key) if fresh else self._entry
        if entry is None:
            raise nothing(model, self.origin)
        (obj,) = checked_objects(subject_of(model, version), key[: key.rfind("/") + 1], [entry])
        return (replace(obj, archive=archive_kind(obj.path)),)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        return _open_key(self._store, self._entry.key, (model, version), obj, start, length)


def _lookup(store: KeyedStore, key: str) -> Entry | None:
    """Return a key of a bucket; None where it is not there."""
    first = islice(store.list(key), _FIRST_KEYS) if key else ()
    return next((entry for entry in first if entry.key == key), None)


def _open_key(  # noqa: PLR0913, PLR0917  (a key, and a part of it)
    store: KeyedStore, key: str, named: tuple[str, int], obj: RemoteObject, start: int, length: int | None
) -> AbstractContextManager[Source]:
    entry = Entry(key, obj.size, obj.generation, obj.crc32c, obj.content)
    return store.open(entry, f"{subject_of(*named)}: {obj.path}", start, length)
