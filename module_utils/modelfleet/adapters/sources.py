"""A repository made of one source for each model, for manifests that say it model by model."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInput, ModelfleetError, SourceNotFound, SourceUnavailable
from ..names import subject_of
from .gcs import GcsStore
from .http import HttpFile, HttpPlace
from .s3 import S3Store, s3_transport
from .source_files import DirectoryPlace
from .source_keys import KeyedPlace
from .source_numbers import number_at, offset
from .surveys import PATIENCE_S, Question, Surveyor
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from ..locations import Location
    from ..waiting import Clock
    from .access import Access
    from .object_store import KeyedStore
    from .repository import RemoteObject, Source
    from .source_places import Place, Version

_KINDS = "give gs://bucket/path, s3://bucket/path, https://host/file, file:///path or an absolute path"


class Sources:
    """All that sources are read through: connections, buckets, and what was seen last; meant to be kept.

    Args:
        access: How they are reached.
        patience_s: How long a host may answer nothing while all models are looked at, in seconds.
        clock: For tests.
    """

    def __init__(self, access: Access, *, patience_s: float = PATIENCE_S, clock: Clock | None = None) -> None:
        self._access = access
        self._transport = Transport(access, clock=clock)
        self._stores: dict[str, KeyedStore] = {}
        self._lock = threading.Lock()
        self._surveyor: Surveyor[Mapping[int, Version]] = Surveyor(patience_s)
        self._seen: dict[str, Mapping[int, Version]] = {}

    def place(self, uri: str) -> Place:
        """Return what reads a source.

        Raises:
            InvalidInput: it is not a source that can be read.
        """
        scheme, separator, rest = uri.partition("://")
        if scheme in {"gs", "s3"} and separator:
            bucket, _, prefix = rest.partition("/")
            return KeyedPlace(self._store(scheme, bucket), prefix)
        if scheme in {"http", "https"} and separator:
            return HttpPlace(HttpFile(uri, self._transport))
        path = _path(uri)
        if path is None:
            shown = f"{scheme}://…" if separator else "without a scheme"
            raise InvalidInput(f"source {shown}", "cannot be read", _KINDS)
        return DirectoryPlace(path)

    def survey(self, locations: Mapping[str, Location]) -> dict[str, Look]:
        """Return what each model's source holds now, asked in parallel; what fails is the problem of its model alone.

        A source that does not answer now, and did before, is what it was then.
        """
        looks: dict[str, Look] = {}
        questions: dict[str, Question[Mapping[int, Version]]] = {}
        places: dict[str, Place] = {}
        for model, location in locations.items():
            try:
                place = places[model] = self.place(location.uri)
            except ModelfleetError as error:
                looks[model] = Look("", None, error)
            else:
                questions[model] = Question(f"model {model}", place.host, partial(place.versions, model))
        seen: dict[str, Mapping[int, Version]] = {}
        for model, found in self._surveyor.survey(questions).items():
            origin = places[model].origin
            if isinstance(found, ModelfleetError):
                before = self._seen.get(origin) if isinstance(found, SourceUnavailable) else None
                looks[model] = Look(origin, before, found)
            else:
                looks[model] = Look(origin, found, None)
            versions = looks[model].versions
            if versions is not None:
                seen[origin] = versions
        self._seen = seen
        return looks

    def close(self) -> None:
        """Close every connection that is not in use."""
        self._transport.close()
        with self._lock:
            stores = list(self._stores.values())
        for store in stores:
            store.close()

    def _store(self, scheme: str, bucket: str) -> KeyedStore:
        name = f"{scheme}://{bucket}"
        with self._lock:
            if name not in self._stores:
                self._stores[name] = (
                    GcsStore(bucket, self._access, self._transport)
                    if scheme == "gs"
                    else S3Store(bucket, self._access, s3_transport(self._access))
                )
            return self._stores[name]


@dataclass(frozen=True)
class Look:
    """What the source of a model was seen to be.

    Attributes:
        origin: Its URI, as receipts have it; empty when it is none that can be read.
        versions: What is there, by number; None when that is not known.
        error: Why it could not be asked; None when it could.
    """

    origin: str
    versions: Mapping[int, Version] | None
    error: ModelfleetError | None


@dataclass(frozen=True)
class _View:
    """A model as the node sees it: what of its source counts, under the node's numbers."""

    look: Look
    shift: int
    numbers: tuple[int, ...]

    def version(self, model: str, version: int) -> Version:
        """Return a version by the node's number.

        Raises:
            ModelfleetError: the source could not be asked, or does not have it.
        """
        versions, number = self.look.versions, version - self.shift
        if versions is not None and number in versions:
            return versions[number]
        if versions is None and self.look.error:
            raise self.look.error
        there = ", ".join(map(str, sorted(versions or ())))
        raise SourceNotFound(
            subject_of(model, version),
            f"is version {number} of {self.look.origin}, which does not have it (versions there: {there})",
            "publish it, or want another version",
        )


class SourcesRepository:
    """A repository in which each model has its own source.

    The versions of a source come under numbers of this node's own: see ``source_numbers``. A source that cannot be
    read lets its model be listed all the same, so that whoever asks for its files learns why.

    Args:
        locations: The source of each model.
        stored: Returns every number that a model's versions take on disk, each with the URI that it came from; an
            empty one where that is not known.
        sources: What they are read through; shared with other repositories.
        uri: How people name the whole: the place of the definitions.
    """

    def __init__(
        self,
        locations: Mapping[str, Location],
        stored: Callable[[str], Mapping[int, str]],
        sources: Sources,
        uri: str,
    ) -> None:
        self._locations = locations
        self._stored = stored
        self._sources = sources
        self._uri = uri
        self._views: dict[str, _View] = {}

    @property
    def uri(self) -> str:
        """How people name it."""
        return self._uri

    @property
    def problems(self) -> dict[str, ModelfleetError]:
        """Why sources could not be asked when the models were listed last, by model."""
        return {model: view.look.error for model, view in self._views.items() if view.look.error}

    def origin(self, model: str, version: int) -> str:
        """Return the version's own URI; see ``Repository``."""
        return self._view(model).version(model, version).origin

    def list_models(self) -> dict[str, tuple[int | str, ...]]:
        """Return every model with its versions; see ``Repository``. No source's failure is raised."""
        looks = self._sources.survey(self._locations)
        self._views = {
            model: view(looks[model], location.versions, self._stored(model))
            for model, location in self._locations.items()
        }
        return {model: seen.numbers for model, seen in sorted(self._views.items())}

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        """Return the files of a version; see ``Repository``."""
        return self._view(model).version(model, version).objects(model, version, fresh=fresh)

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        """Return the content of an object; see ``Repository``."""
        return self._view(model).version(model, version).open(model, version, obj, start, length)

    def close(self) -> None:
        """Close every connection that is not in use; see ``Repository``."""
        self._sources.close()

    def read_text(self, name: str) -> str | None:  # noqa: ARG002  (sources of models hold no other files)
        """Return None: what is wanted is told by definitions; see ``Repository``."""
        return None

    def _view(self, model: str) -> _View:
        if not self._views:
            self.list_models()
        if model not in self._views:
            raise SourceNotFound(f"model {model}", f"has no source in {self._uri}", "define it")
        return self._views[model]


def view(look: Look, wanted: Sequence[int], stored: Mapping[int, str]) -> _View:
    """Return what of a source counts, under the node's numbers.

    Args:
        look: The source.
        wanted: The only versions that count; empty where all do.
        stored: Every number that is taken on disk, with the URI that this version came from.
    """
    numbers = tuple(wanted) or tuple(sorted(look.versions or ()))
    if not numbers:
        # Nothing is known of it but what is on disk; without that, a number is made up so that the reason is told.
        numbers = tuple(sorted({number_at(look.origin, origin) for origin in stored.values()} - {0})) or (1,)
    try:
        shift = offset(look.origin, numbers, stored)
    except InvalidInput as error:
        look, shift, numbers = Look(look.origin, None, error), 0, (max(stored),)
    return _View(look, shift, tuple(number + shift for number in numbers))


def _path(uri: str) -> Path | None:
    """Return the path that a URI means on this machine; None when it means none."""
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
            return None
        uri = unquote(parts.path)
    return Path(os.path.normpath(f"/{uri.lstrip('/')}")) if uri.startswith("/") else None
