"""A repository over any store of keys: the layout ``<model>/<version>/…`` in a bucket."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import InvalidInput, SourceForbidden, SourceIncomplete, SourceNotFound
from ..names import is_model_name, is_version_number, model_name, subject_of, version_number
from ..saved_model import ROOTS
from .repository import DEPTH_LIMIT, FILES_LIMIT, RemoteObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from ..errors import ModelfleetError
    from .repository import Source

#: Of how many objects the listing is remembered: with more, versions are listed again when they are looked at.
REMEMBERED = 50_000
#: Longest name of a file and longest path, in bytes, that file systems take.
_NAME_LIMIT = 255
_PATH_LIMIT = 4000
#: Control characters, what ends lines, and halves of characters that are no Unicode text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Entry(NamedTuple):
    """One key of a store.

    Attributes:
        key: Its full name in the bucket.
        size: In bytes.
        generation: Changes whenever the content may have changed.
        crc32c: Checksum of the content; None where the listing does not tell.
        content: A strong hash, as ``<algorithm>:<hex>``; empty where the listing does not tell.
        problem: Why it cannot be pulled as it is; empty when it can.
    """

    key: str
    size: int
    generation: str
    crc32c: int | None = None
    content: str = ""
    problem: str = ""


class KeyedStore(Protocol):
    """A bucket, or another flat space of keys."""

    @property
    def uri(self) -> str:
        """How people name it, for example ``gs://bucket``."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Return every key that begins with the prefix, at any depth.

        Raises:
            SourceNotFound: there is no such bucket.
            SourceForbidden: it may not be listed.
            SourceUnavailable: it does not answer after several attempts.
        """

    def open(
        self, entry: Entry, subject: str, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        """Return the content of a key in the generation that was listed, or a part of it; one attempt.

        Raises:
            SourceChanged: the key no longer holds what was listed.
            SourceForbidden: it may not be read.
            SourceUnavailable: the store does not answer, or not properly.
        """

    def close(self) -> None:
        """Give connections back."""

    def read_small(self, key: str) -> bytes | None:
        """Return the whole content of a small key; None when there is none.

        Raises:
            SourceForbidden: it may not be read.
            SourceUnavailable: the store does not answer after several attempts.
        """


class ObjectStoreRepository:
    """Reads ``<prefix>/<model>/<version>/…`` from a store of keys.

    Names that begin with a dot, and children of a model that are not canonical version numbers, are not versions and
    are skipped, as are the keys that stand for folders. One listing answers for all versions until the next.
    """

    def __init__(self, store: KeyedStore, prefix: str = "") -> None:
        self._store = store
        self._base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._seen: dict[tuple[str, int], list[Entry]] = {}

    @property
    def uri(self) -> str:
        """How people name it."""
        return f"{self._store.uri}/{self._base}".rstrip("/")

    def origin(self, model: str, version: int) -> str:  # noqa: ARG002  (one origin for all)
        """Return the URI that receipts name; see ``Repository``."""
        return self.uri

    def list_models(self) -> dict[str, tuple[int | str, ...]]:
        """Return every model with its versions; see ``Repository``."""
        versions: dict[str, set[int]] = {}
        strays: dict[str, set[str]] = {}
        seen: dict[tuple[str, int], list[Entry]] = {}
        start, count = len(self._base), 0
        for entry in self._files(self._base):
            model, _, below = entry.key[start:].partition("/")
            child, deeper, path = below.partition("/")
            if not model or model.startswith(".") or not below:
                continue
            numbers = versions.setdefault(model, set())
            if not deeper or child.startswith("."):
                continue
            if is_version_number(child):
                number = int(child)
                numbers.add(number)
                count += 1
                if count <= REMEMBERED:
                    seen.setdefault((model, number), []).append(entry)
                else:
                    seen.pop((model, number), None)
            elif path in ROOTS:
                strays.setdefault(model, set()).add(child)
        self._seen = seen
        return {
            model: (*sorted(numbers), *sorted(strays.get(model, ())))
            for model, numbers in sorted(versions.items())
            if numbers or model in strays or is_model_name(model)
        }

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        """Return the files of a version; see ``Repository``."""
        subject = subject_of(model, version)
        entries = None if fresh else self._seen.get((model, version))
        base = self._folder(model, version)
        if entries is None:
            entries = list(islice(self._files(base), FILES_LIMIT + 1))
            if not entries:
                raise SourceNotFound(subject, f"does not exist in {self.uri}", "publish it, or correct its name")
        if len(entries) > FILES_LIMIT:
            raise _refused(subject, f"holds more than {FILES_LIMIT} objects")
        return checked_objects(subject, base, entries)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        """Return the content of an object; see ``Repository``."""
        entry = Entry(f"{self._folder(model, version)}{obj.path}", obj.size, obj.generation, obj.crc32c, obj.content)
        return self._store.open(entry, f"{subject_of(model, version)}: {obj.path}", start, length)

    def close(self) -> None:
        """Give connections back; see ``Repository``."""
        self._store.close()

    def read_text(self, name: str) -> str | None:
        """Return a small file of the repository; see ``Repository``."""
        subject = f"{self.uri}/{name}"
        if fault_of(name):
            raise InvalidInput(subject, "is not a path below the repository", "give a relative path")
        content = self._store.read_small(f"{self._base}{name}")
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(subject, f"is not UTF-8 ({error.reason})", "write it anew") from error

    def _folder(self, model: str, version: int) -> str:
        return f"{self._base}{model_name(model)}/{version_number(version)}/"

    def _files(self, prefix: str) -> Iterator[Entry]:
        return (entry for entry in self._store.list(prefix) if not is_folder(entry))


def is_folder(entry: Entry) -> bool:
    """Return whether a key only stands for a folder, as consoles and other tools leave them."""
    return entry.size == 0 and entry.key.endswith(("/", "_$folder$"))


def checked_objects(subject: str, base: str, entries: Iterable[Entry]) -> tuple[RemoteObject, ...]:
    """Return the files of a version from the keys below its folder, ordered by path.

    Args:
        subject: The version, for messages.
        base: What the keys begin with, the slash included.
        entries: The keys.

    Raises:
        SourceForbidden: a key is not the path of a file below the version's directory.
        SourceIncomplete: a key cannot be pulled as it is stored.
    """
    objects = []
    for entry in entries:
        path = entry.key[len(base) :]
        if fault := fault_of(path):
            raise _refused(subject, f"holds the key {_shown(entry.key)}, {fault}")
        if entry.problem:
            raise SourceIncomplete(subject, f"{path} {entry.problem}", "publish the file itself")
        objects.append(RemoteObject(path, entry.size, entry.generation, entry.crc32c, entry.content))
    objects.sort(key=lambda obj: obj.path)
    if fault := _clash([obj.path for obj in objects]):
        raise _refused(subject, fault)
    return tuple(objects)


def fault_of(path: str) -> str:
    """Return why a key cannot be the path of a file, empty when it can."""
    if _CONTROL.search(path):
        return "which holds control characters"
    parts = path.split("/")
    if "" in parts or "." in parts or ".." in parts:
        return "which is not the path of a file below it"
    if len(path.encode()) > _PATH_LIMIT or any(len(part.encode()) > _NAME_LIMIT for part in parts):
        return "which is too long for a file"
    if len(parts) > DEPTH_LIMIT:
        return "which lies too deep"
    return ""


def _clash(paths: list[str]) -> str:
    """Return how two paths are in each other's way, empty when none are."""
    folded: dict[str, str] = {}
    for path in paths:
        other = folded.setdefault(path.casefold(), path)
        if other is not path:
            return f"holds {_shown(other)} and {_shown(path)}, which differ in case only"
    for path in folded:
        above = path.rpartition("/")[0]
        while above:
            if above in folded:
                return f"holds {_shown(folded[above])} as a file and as a folder"
            above = above.rpartition("/")[0]
    return ""


def _refused(subject: str, problem: str) -> ModelfleetError:
    return SourceForbidden(subject, problem, "remove it, or publish the version anew under a new number")


def _shown(text: str) -> str:
    quoted = repr(text)
    return quoted if len(quoted) <= _NAME_LIMIT else f"{quoted[:_NAME_LIMIT]}…'"
