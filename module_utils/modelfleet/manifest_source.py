"""Where the manifest comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .adapters.repository import Repository
    from .manifest import Manifest

#: The manifest's name in a repository.
FILE_NAME = "fleet.json"


def find(given: Mapping[str, Any], repository: Repository) -> Manifest:
    """Return the manifest: the given one, else the repository's own, else that every model is tracked.

    Args:
        given: The structure of an inventory; without ``models`` it only has the defaults of a tracked repository.
        repository: Where ``fleet.json`` may be.

    Raises:
        InvalidInput: the manifest is wrong; the path of keys to the mistake is named.
        SourceNotFound: there is no such repository.
        SourceForbidden: it may not be read.
    """
    if given.get("models"):
        return manifest.parse(given, "manifest")
    text = repository.read_text(FILE_NAME)
    if text is not None:
        return manifest.parse(text, f"{repository.uri}/{FILE_NAME}")
    return manifest.parse({**given, "models": None}, "manifest")
