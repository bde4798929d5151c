"""A repository made of one source for each model, for manifests that say it model by model."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Callable
from urllib.parse import unquote, urlsplit

from ..errors import InvalidInput, ModelfleetError, SourceNotFound, SourceUnavailable
from .gcs import GcsStore
from .http import HttpFile, HttpPlace
from .s3 import S3Store, s3_transport
from .source_files import DirectoryPlace
from .source_keys import KeyedGroup, KeyedPlace
from .source_views import Look, View, view
from .surveys import PATIENCE_S, Question, Surveyor
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from ..locations import Location
    from ..waiting import Clock
    from .access import Access
    from .object_store import KeyedStore
    from .repository import RemoteObject, Source
    from .source_places import Found, Place, Version

#: More models than this in one folder of a bucket are listed together.
GROUP = 4
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
        self._surveyor = Surveyor(patience_s)
        self._seen: dict[str, Mapping[int, Version]] = {}
        # Folders of which a listing did not pay, or was refused, with the number of models that were in it then.
        self._crowded: dict[str, int] = {}

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
        places: dict[str, Place] = {}
        for model, location in locations.items():
            try:
                places[model] = self.place(location.uri)
            except ModelfleetError as error:
                looks[model] = Look("", None, error)
        seen: dict[str, Mapping[int, Version]] = {}
        for model, answer in self._ask(places).items():
            origin = places[model].origin
            if isinstance(answer, ModelfleetError):
                before = self._seen.get(origin) if isinstance(answer, SourceUnavailable) else None
                look = looks[model] = Look(origin, before, answer)
            else:
                look = looks[model] = Look(origin, answer, None)
            if look.versions is not None:
                seen[origin] = look.versions
        self._seen = seen
        return looks

    def _ask(self, places: Mapping[str, Place]) -> dict[str, Found]:
        """Return what is at each place; those that lie side by side in a bucket are asked about together."""
        groups = self._groups(places)
        together = {model for group in groups.values() for model in group.models}
        questions = {model: _question(model, place) for model, place in places.items() if model not in together}
        for folder, group in groups.items():
            questions[folder] = Question(f"folder {folder}", group.host, group.versions)
        answers: dict[str, Found] = {}
        apart: list[str] = []
        for name, answer in self._surveyor.survey(questions).items():
            models = groups[name].models if name in groups else (name,)
            if isinstance(answer, dict):
                answers.update(answer)
            elif name not in groups or isinstance(answer, SourceUnavailable):
                answers.update(dict.fromkeys(models, answer))
            else:
                self._crowded[name] = len(models)
                apart += models
        for model, answer in self._surveyor.survey({model: _question(model, places[model]) for model in apart}).items():
            answers.update(answer if isinstance(answer, dict) else {model: answer})
        return answers

    def _groups(self, places: Mapping[str, Place]) -> dict[str, KeyedGroup]:
        """Return the groups that are worth one listing together, by folder."""
        folders: dict[str, dict[str, KeyedPlace]] = {}
        for model, place in places.items():
            if isinstance(place, KeyedPlace):
                folders.setdefault(f"{place.host}/{place.parent}", {})[model] = place
        self._crowded = {folder: size for folder, size in self._crowded.items() if folder in folders}
        return {
            folder: KeyedGroup(inside)
            for folder, inside in folders.items()
            if len(inside) > max(GROUP, self._crowded.get(folder, 0))
        }

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
                if scheme == "gs":
                    self._stores[name] = GcsStore(bucket, self._access, self._transport)
                else:
                    self._stores[name] = S3Store(bucket, self._access, s3_transport(self._access))
            return self._stores[name]


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
        self._views: dict[str, View] = {}

    @property
    def uri(self) -> str:
        """How people name it."""
        return self._uri

    @property
    def problems(self) -> dict[str, ModelfleetError]:
        """Why sources could not be asked when the models were listed last, by model."""
        return {model: seen.look.error for model, seen in self._views.items() if seen.look.error}

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

    def _view(self, model: str) -> View:
        if not self._views:
            self.list_models()
        if model not in self._views:
            raise SourceNotFound(f"model {model}", f"has no source in {self._uri}", "define it")
        return self._views[model]


def _question(model: str, place: Place) -> Question[dict[str, Found]]:
    return Question(f"model {model}", place.host, lambda: {model: place.versions(model)})


def _path(uri: str) -> Path | None:
    """Return the path that a URI means on this machine; None when it means none."""
    if uri.startswith("file:"):
        try:
            parts = urlsplit(uri)
        except ValueError:
            return None
        if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment or "%00" in parts.path:
            return None
        uri = unquote(parts.path)
    return Path(os.path.normpath(f"/{uri.lstrip('/')}")) if uri.startswith("/") else None
