"""Puts the engine of a puller together from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelfleet import config_directory, manifest_source
from modelfleet.adapters.opening import open_repository
from modelfleet.following import FollowedDefinitions
from modelfleet.locations import shown
from modelfleet.pull_status import PullEvent
from modelfleet.puller import Puller
from modelfleet.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfleet.adapters.repository import Repository
    from modelfleet.kserve import Change
    from modelfleet.manifest import Manifest

    from .engine import Engine
    from .settings import Options

_Look = tuple["Manifest", "Repository"]


def engine(options: Options, tell: Callable[[PullEvent], None]) -> Engine:
    """Return what pulls; nothing is contacted before it runs."""
    store = Store(options.store)
    if options.config_dir is not None:
        look, watch = _from_definitions(options, options.config_dir, store, tell)
    else:
        look, watch = _from_repository(options, store)
    return Puller(look, store, options.node, options.puller, watch=watch, log=tell)


def _from_repository(options: Options, store: Store) -> tuple[Callable[[], _Look], Callable[[], str]]:
    """Return how a repository is looked at, and what shows cheaply that its manifest changed."""
    repository = open_repository(options.repository, options.access)
    # A manifest that names no models leaves that to the repository's own.
    watched = [path for path in (options.manifest, _manifest_on_disk(options.repository)) if path]

    def look() -> _Look:
        given = manifest_source.from_file(options.manifest) if options.manifest else {}
        return manifest_source.find(given, repository, store, allow_tracking=options.allow_tracking), repository

    return look, lambda: " ".join(map(config_directory.token, watched))


def _manifest_on_disk(uri: str) -> Path | None:
    """Return where the manifest of a repository in a directory is; None for any other repository."""
    if uri.startswith("/"):
        return Path(uri, manifest_source.FILE_NAME)
    parts = urlsplit(uri)
    return Path(unquote(parts.path), manifest_source.FILE_NAME) if parts.scheme == "file" else None


def _from_definitions(
    options: Options, directory: Path, store: Store, tell: Callable[[PullEvent], None]
) -> tuple[Callable[[], _Look], Callable[[], str]]:
    """Return how a directory of definitions is looked at, and what shows cheaply that it changed."""
    from modelfleet.adapters.sources import Sources, SourcesRepository  # noqa: PLC0415  (brings every kind along)

    followed = FollowedDefinitions(directory, lambda change: tell(_event(change)))
    sources = Sources(options.access)

    def look() -> _Look:
        manifest = followed.look()
        return manifest, SourcesRepository(manifest.locations, store.origins, sources, str(directory))

    return look, followed.token


def _event(change: Change) -> PullEvent:
    """Return the step of the log for a definition that came, changed or went."""
    details: dict[str, object] = {"action": change.action}
    if change.definition is not None:
        wanted = change.definition
        details |= {"source": shown(wanted.uri), "framework": wanted.framework, "memory": wanted.memory_bytes}
    return PullEvent("Sending event", change.model, details=details)
