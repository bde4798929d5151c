"""Following a directory of definitions from one revision to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from . import config_directory, kserve, manifest_source

if TYPE_CHECKING:
    from pathlib import Path

    from .model_definition import Definition
    from .specs import Manifest


class FollowedDefinitions:
    """A directory of definitions, and what of it holds.

    A definition that becomes wrong does not take back the one before: that one holds on until it is corrected or its
    model is removed. After a restart nothing is known of it any more, and such a model stays as it is on the node.

    Args:
        directory: The directory.
        changed: Told about each model that is to be loaded or unloaded, once; all of them at the first look.
    """

    def __init__(self, directory: Path, changed: Callable[[kserve.Change], None]) -> None:
        self._directory = directory
        self._changed = changed
        self._followed: dict[str, Definition] = {}

    def look(self) -> Manifest:
        """Read the directory, tell what changed, and return what is wanted.

        Raises:
            ModelfleetError: it cannot be read or is no directory of definitions; what held before holds on.
        """
        revision = config_directory.read(self._directory)
        found = kserve.parse(revision.files, revision.unreadable)
        before, self._followed = self._followed, found.followed(self._followed)
        for change in kserve.changes(before, self._followed):
            self._changed(change)
        return manifest_source.from_definitions(found, str(self._directory), before)

    def token(self) -> str:
        """Return what changes whenever the directory does; see ``config_directory.token``."""
        return config_directory.token(self._directory)
