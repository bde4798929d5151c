"""Where the manifest comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import manifest
from .errors import GuardRefused, SourceForbidden, SourceNotFound, SourceUnavailable
from .locations import Location
from .small_files import read_text
from .specs import Manifest, Spec, Versions
from .structures import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .adapters.repository import Repository
    from .kserve import Definitions
    from .model_definition import Definition
    from .store import Store

#: The manifest's name in a repository.
FILE_NAME = "fleet.json"
#: Under this name the store remembers which manifest of a repository the node follows.
FOLLOWED = "manifest"


def find(given: Mapping[str, Any], repository: Repository, store: Store, *, allow_tracking: bool = False) -> Manifest:
    """Return the manifest: the given one, else the repository's own, else that every model is tracked.

    Args:
        given: The structure of an inventory; without ``models`` it only has the defaults of a tracked repository.
        repository: Where ``fleet.json`` may be.
        store: The node's store, which remembers a ``fleet.json`` that was followed.
        allow_tracking: Whether a repository may be tracked whose ``fleet.json`` was followed before.

    Raises:
        InvalidInput: the manifest is wrong; the path of keys to the mistake is named.
        GuardRefused: the ``fleet.json`` that was followed is gone; without it models of other versions, and other
            models, would be wanted.
        SourceNotFound: there is no such repository.
        SourceForbidden: it may not be read.
    """
    if given.get("models"):
        return manifest.parse(given, "manifest")
    source = _source(repository)
    text = repository.read_text(FILE_NAME)
    if text is not None:
        return manifest.parse(text, source)
    if store.noted(FOLLOWED) == source and not allow_tracking:
        raise GuardRefused(
            source,
            "was followed by this node and is gone",
            "put it back, or allow every model to be tracked in its latest version (allow_tracking)",
        )
    return manifest.parse({**given, "models": None}, "manifest")


def from_file(path: Path) -> Mapping[str, Any]:
    """Return the structure that a file of an inventory's manifest holds, ready to be given to ``find``.

    Raises:
        InvalidInput: it is wrong; the path of keys to the mistake is named.
        SourceNotFound: there is no such file.
        SourceForbidden: it may not be read.
        SourceUnavailable: it cannot be read now.
    """
    subject, stays = str(path), "nothing changes until it can be read"
    try:
        text = read_text(path, subject)
    except FileNotFoundError as error:
        raise SourceNotFound(subject, "does not exist", f"write it; {stays}") from error
    except PermissionError as error:
        raise SourceForbidden(subject, "may not be read", f"let this user read it; {stays}") from error
    except OSError as error:
        raise SourceUnavailable(subject, f"cannot be read: {error.strerror}", stays) from error
    manifest.parse(text, subject)
    found: Mapping[str, Any] = from_json(text, subject)
    return found


def from_definitions(definitions: Definitions, source: str, before: Mapping[str, Definition] | None = None) -> Manifest:
    """Return the manifest of models that each have their own source.

    A model's versions are numbered anew where its source changes, so that a pinned one is told by its location, and
    the manifest only says how many there are.

    Args:
        definitions: The models; those that have a problem stay as they are.
        source: What messages call it.
        before: What was followed before, which holds on for a model that has a problem now.
    """
    followed = definitions.followed(before or {})
    return Manifest(
        source=source,
        models={name: _spec(definition) for name, definition in followed.items()},
        locations={name: Location(item.uri, item.versions.pinned) for name, item in followed.items()},
        refused=dict(definitions.problems),
        partial=definitions.partial,
    )


def remember(found: Manifest, repository: Repository, store: Store) -> None:
    """Remember a manifest of the repository that was followed, or that none was. The caller holds the store's lock.

    Raises:
        StoreError: it cannot be written.
    """
    source = _source(repository)
    store.note(FOLLOWED, source if found.source == source else "")


def _spec(definition: Definition) -> Spec:
    versions = definition.versions
    return Spec(
        versions=Versions(latest=len(versions.pinned) or versions.latest), memory=definition.memory_bytes or None
    )


def _source(repository: Repository) -> str:
    return f"{repository.uri}/{FILE_NAME}"
