"""The convergence of a node played through without touching it: what check mode tells.

The rehearsed server does everything right: each configured version becomes AVAILABLE, each dropped one ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import convergence, models_config
from .convergence import AwaitServer, Configure, Freeze, Key, Observation, Quarantine, Send, Sent, Settled
from .status import ServingState, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .models_config import ModelsConfig

_AVAILABLE = VersionStatus(ServingState.AVAILABLE)
_ENDED = VersionStatus(ServingState.END)


@dataclass(frozen=True)
class Rehearsal:
    """What a convergence would do.

    Attributes:
        steps: One line each, in order.
        observation: The node as it would be afterwards.
    """

    steps: tuple[str, ...]
    observation: Observation


def with_pending(o: Observation, pending: Iterable[Key]) -> Observation:
    """Return the observation with versions on disk that a pull would have brought."""
    disk = {name: set(versions) for name, versions in o.disk.items()}
    for model, version in pending:
        disk.setdefault(model, set()).add(version)
    present = o.store_present or bool(disk)
    return replace(o, disk={name: frozenset(versions) for name, versions in disk.items()}, store_present=present)


def rehearse(o: Observation) -> Rehearsal:
    """Play the planner's steps until it is settled.

    Raises:
        GuardRefused: as the real convergence would.
    """
    steps: list[str] = []
    o = replace(o, serving=o.serving if o.serving is not None else {})
    while True:
        action = convergence.next_action(o)
        if isinstance(action, Freeze):
            raise action.error
        if isinstance(action, (Settled, AwaitServer)):
            return Rehearsal(tuple(steps), o)
        if isinstance(action, Configure):
            steps.append(f"configure: {action.reason} ({'; '.join(models_config.diff(o.config, action.config))})")
            o = _applied(replace(o, config=action.config, acknowledged=False), action.config)
        elif isinstance(action, Send):
            steps.append(f"reload: {action.reason}")
            o = _applied(o, action.config)
        elif isinstance(action, Quarantine):
            steps.append(f"quarantine: {action.reason}")
            o = replace(o, quarantined={**o.quarantined, **action.failures})
        elif o.config is None:
            return Rehearsal(tuple(steps), o)
        else:
            # Something is on its way already; it arrives.
            o = _applied(o, o.config)


def _applied(o: Observation, config: ModelsConfig) -> Observation:
    """Return the node after the server has taken the configuration over completely."""
    serving: dict[str, dict[int, VersionStatus]] = {}
    before: Mapping[str, Mapping[int, VersionStatus]] = o.serving or {}
    for name, versions in before.items():
        serving[name] = dict.fromkeys(versions, _ENDED)
    for name, entry in config.entries.items():
        serving.setdefault(name, {}).update(dict.fromkeys(entry.versions, _AVAILABLE))
    labels: dict[tuple[str, str], int | None] = dict.fromkeys(o.labels, None)
    for name, entry in config.entries.items():
        labels.update({(name, label): version for label, version in entry.labels.items()})
    return replace(o, serving=serving, labels=labels, sent=Sent(config), acknowledged=True)
