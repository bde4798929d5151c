"""Sources in buckets."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from ..errors import InvalidInput, ModelfleetError
from ..names import subject_of
from ..saved_model import ROOTS
from .archives import archive_kind
from .object_store import Entry, checked_objects, is_folder
from .source_numbers import UNDIVIDED, number_of
from .source_places import divided, nothing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from contextlib import AbstractContextManager

    from .object_store import KeyedStore
    from .repository import RemoteObject, Source
    from .source_places import Found, Version

#: How many objects one source may hold in all its versions: with more, it is not that of one model.
OBJECT_LIMIT = 100_000
#: How many keys of a folder with several models are read before each model is looked at on its own: a request costs as
#: much as some dozens of them.
OTHER_OBJECTS, OBJECTS_OF_MODEL = 1000, 50
#: How many keys are looked through for the one that is named: it comes before all that only begin like it.
_FIRST_KEYS = 100


class KeyedPlace:
    """A prefix of keys in a bucket, or one key.

    Args:
        store: The bucket.
        prefix: The prefix, or the key; slashes around it mean nothing.
    """

    def __init__(self, store: KeyedStore, prefix: str) -> None:
        self.store = store
        self.key = prefix.strip("/")
        self._base = f"{self.key}/" if self.key else ""
        #: What it lies in, as its neighbours may, up to the slash.
        self.parent = self.key[: self.key.rfind("/") + 1]
        self.host = store.uri
        self.origin = f"{store.uri}/{self.key}".rstrip("/")

    def versions(self, model: str) -> Mapping[int, Version]:
        """Return what is there, by number; see ``Place``."""
        found = self._single() if archive_kind(self.key) else []
        return self.arranged(model, found or self._below(model) or self._single())

    def arranged(self, model: str, entries: Collection[Entry]) -> Mapping[int, Version]:
        """Return what is there, by number, given the key of that name and those below it; others do no harm."""
        single = next((entry for entry in entries if entry.key == self.key), None)
        file = {UNDIVIDED: _KeyedFile(self.store, single, self.origin)} if single else {}
        if file and archive_kind(self.key):
            return file
        found = self._directory(model, [entry for entry in entries if entry.key.startswith(self._base)]) or file
        if not found:
            raise nothing(model, self.origin)
        return found

    def _single(self) -> list[Entry]:
        entry = _lookup(self.store, self.key)
        return [entry] if entry else []

    def _below(self, model: str) -> list[Entry]:
        entries = []
        for entry in self.store.list(self._base):
            if not is_folder(entry):
                entries.append(entry)
            if len(entries) > OBJECT_LIMIT:
                raise InvalidInput(
                    f"model {model}",
                    f"has more than {OBJECT_LIMIT} objects at {self.origin}",
                    "name the directory of the model itself",
                )
        return entries

    def _directory(self, model: str, listed: Iterable[Entry]) -> dict[int, Version]:
        entries = [entry for entry in listed if not is_folder(entry)]
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
            return {UNDIVIDED: _KeyedVersion(self.store, self._base, self.origin, entries)}
        return {
            number: _KeyedVersion(self.store, f"{self._base}{folder}/", f"{self.origin}/{folder}", below[folder])
            for number, folder in folders.items()
        }


class KeyedGroup:
    """Sources that lie in one folder of a bucket: one listing of it tells about all of them.

    Args:
        places: The sources, by model; all of one bucket and parent.
    """

    def __init__(self, places: Mapping[str, KeyedPlace]) -> None:
        self.models = tuple(places)
        self._places = places
        first = next(iter(places.values()))
        self._store, self._parent = first.store, first.parent
        self.host = first.host

    def versions(self) -> dict[str, Found]:
        """Return what is there, by model and number.

        Raises:
            InvalidInput: so much else is there that it does not pay.
            SourceForbidden: the folder may not be listed.
            SourceUnavailable: the bucket does not answer.
        """
        found: dict[str, list[Entry]] = {place.key: [] for place in self._places.values()}
        limit, start = OTHER_OBJECTS + OBJECTS_OF_MODEL * len(found), len(self._parent)
        for count, entry in enumerate(self._store.list(self._parent)):
            if count >= limit:
                folder = f"folder {self.host}/{self._parent}"
                raise InvalidInput(
                    folder, "holds much besides the models that are wanted", "give them one of their own"
                )
            mine = found.get(f"{self._parent}{entry.key[start:].partition('/')[0]}")
            if mine is not None:
                mine.append(entry)
        return {model: _arranged(place, model, found[place.key]) for model, place in self._places.items()}


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


def _arranged(place: KeyedPlace, model: str, entries: Collection[Entry]) -> Found:
    try:
        return place.arranged(model, entries)
    except ModelfleetError as error:
        return error


def _lookup(store: KeyedStore, key: str) -> Entry | None:
    """Return a key of a bucket; None where it is not there."""
    first = islice(store.list(key), _FIRST_KEYS) if key else ()
    return next((entry for entry in first if entry.key == key), None)


def _open_key(  # noqa: PLR0913, PLR0917  (a key, and a part of it)
    store: KeyedStore, key: str, named: tuple[str, int], obj: RemoteObject, start: int, length: int | None
) -> AbstractContextManager[Source]:
    entry = Entry(key, obj.size, obj.generation, obj.crc32c, obj.content)
    return store.open(entry, f"{subject_of(*named)}: {obj.path}", start, length)
