"""What to load or unload next: the availability-preserving policy, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .states import ServableId


class Kind(Enum):
    """What to do with a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True)
class Action:
    """One step of the manager."""

    kind: Kind
    id: ServableId


@dataclass(frozen=True)
class Snapshot:
    """A managed version as the policy sees it.

    Attributes:
        id: The version.
        wanted: Whether the model's last processed list of wanted versions holds it.
        new: Whether nothing was done with it yet.
        ready: Whether it is loaded and was not asked to unload.
    """

    id: ServableId
    wanted: bool
    new: bool
    ready: bool


def next_for_model(versions: Iterable[Snapshot]) -> Action | None:
    """Return the next step for the versions of one model, so that one stays up while another is to come.

    An unwanted version goes only when no version is wanted, when a wanted one is ready, or when it is not the last
    unwanted one that is ready.
    """
    versions = list(versions)
    unwanted_ready = [snapshot.id for snapshot in versions if snapshot.ready and not snapshot.wanted]
    none_wanted = not any(snapshot.wanted for snapshot in versions)
    wanted_ready = any(snapshot.wanted and snapshot.ready for snapshot in versions)
    if unwanted_ready and (none_wanted or wanted_ready or len(unwanted_ready) > 1):
        return Action(Kind.UNLOAD, min(unwanted_ready))
    to_load = [snapshot.id for snapshot in versions if snapshot.wanted and snapshot.new]
    return Action(Kind.LOAD, max(to_load)) if to_load else None


def next_action(models: Iterable[Iterable[Snapshot]]) -> Action | None:
    """Return the one next step for all models: any unload anywhere goes before any load."""
    actions = [action for versions in models if (action := next_for_model(versions)) is not None]
    return min(actions, key=lambda action: action.kind is Kind.LOAD, default=None)
