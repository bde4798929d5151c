"""Where the manifest comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import manifest
from .errors import GuardRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .adapters.repository import Repository
    from .manifest import Manifest
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


def remember(found: Manifest, repository: Repository, store: Store) -> None:
    """Remember a manifest of the repository that was followed, or that none was. The caller holds the store's lock.

    Raises:
        StoreError: it cannot be written.
    """
    source = _source(repository)
    store.note(FOLLOWED, source if found.source == source else "")


def _source(repository: Repository) -> str:
    return f"{repository.uri}/{FILE_NAME}"
