"""The planner of one node: from what is wanted and what is, to the next single action.

Everything here is pure. :mod:`.node` observes a real node and carries the actions out. The order that keeps models
alive is ``{old} -> {old, new} -> new AVAILABLE -> labels move -> {new} -> old END -> prune``:

* The server must never see a list that lacks a version it serves together with a version that is not AVAILABLE yet:
  if the new one failed, the old one could not be wanted again (TensorFlow Serving parks such a wish for ever).
* Labels are checked before anything loads, so they move in a reload of their own.
* A version that failed is taken out of the list before it is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import GuardRefused, ModelfleetError
from .models_config import ModelEntry, ModelsConfig
from .status import ServingState, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .manifest import Desired, DesiredModel

#: A version of a model.
Key = tuple[str, int]

#: Where the fleet merely tracks a repository, a round may remove at most this share of the configured models ...
SHRINK_SHARE = 0.5
#: ... unless it removes no more models than this.
SHRINK_FLOOR = 2


@dataclass(frozen=True)
class Sent:
    """The configuration that this process sent last, and what was already failed at that moment.

    Attributes:
        config: What was sent.
        failed_before: Versions that the server showed as failed when the list was sent. Their old failure stays
            visible until the server takes the new list over, so it says nothing about the new attempt yet.
    """

    config: ModelsConfig
    failed_before: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Observation:
    """All that the planner looks at.

    Attributes:
        base_path: The directory below which each model has its own, as the server sees it.
        desired: What this node should serve.
        disk: Complete versions on this node.
        quarantined: Versions set aside, with the reason.
        config: The models.config on disk; None when there is none.
        serving: The server's versions and states by model; None when no server answers.
        labels: What the server resolves for each configured or desired label.
        sent: The last configuration sent by this process; None when it sent none.
        acknowledged: Whether the models.config on disk is the one that the server took last: a reload of it returned.
        incomplete: Version directories that are not proven to be complete.
        good: Versions that were AVAILABLE on this node at some time.
        origins: URIs of the repositories that a model's versions on disk came from.
        store_present: Whether the store's directory exists.
        allow_empty: Whether a configuration without models may replace one that serves.
        allow_shrink: Whether many tracked models may disappear in one round.
    """

    base_path: str
    desired: Desired
    disk: Mapping[str, frozenset[int]]
    quarantined: Mapping[Key, str] = field(default_factory=dict)
    config: ModelsConfig | None = None
    serving: Mapping[str, Mapping[int, VersionStatus]] | None = None
    labels: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    sent: Sent | None = None
    acknowledged: bool = False
    incomplete: Mapping[str, frozenset[int]] = field(default_factory=dict)
    good: Mapping[str, frozenset[int]] = field(default_factory=dict)
    origins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    store_present: bool = True
    allow_empty: bool = False
    allow_shrink: bool = False


@dataclass(frozen=True)
class Action:
    """The next step; ``reason`` says why in one line."""

    reason: str


@dataclass(frozen=True)
class Configure(Action):
    """Write this models.config, then send it."""

    config: ModelsConfig


@dataclass(frozen=True)
class Send(Action):
    """Send the models.config that is on disk: the server does not follow it."""

    config: ModelsConfig


@dataclass(frozen=True)
class Quarantine(Action):
    """Set these versions aside, each with the server's message."""

    failures: Mapping[Key, str]


@dataclass(frozen=True)
class Wait(Action):
    """Look again later.

    Attributes:
        loading: Versions the server is still loading; they are given up at the load deadline.
        unsettled: Whether the server does not show the list it was sent yet.
    """

    loading: frozenset[Key]
    unsettled: bool


@dataclass(frozen=True)
class AwaitServer(Action):
    """No server answers; the file is as it should be for its start."""


@dataclass(frozen=True)
class Freeze(Action):
    """Do nothing until a person has looked: the next step would take models away."""

    error: ModelfleetError


@dataclass(frozen=True)
class Settled(Action):
    """Nothing is left to do."""


def next_action(o: Observation) -> Action:
    """Return the next single action for the node."""
    refused = guard(o)
    if refused is not None:
        return Freeze(refused.problem, refused)
    failures = _new_failures(o)
    if failures:
        named = ", ".join(f"{model} version {version}" for model, version in sorted(failures))
        return Quarantine(f"failed to load: {named}", failures)
    goal = next_config(o)
    if o.config is None or goal != o.config:
        return Configure(_why(o, goal), goal)
    if o.serving is None:
        return AwaitServer("no server answers")
    return _compare_with_server(o, o.serving, goal)


def guard(o: Observation) -> GuardRefused | None:
    """Return why this node must not be changed now, or None.

    Only the disappearance of something that is configured is guarded; adding is always safe.
    """
    configured = _in_use(o)
    if not configured:
        return None
    if not o.store_present or not any(o.disk.get(model) or o.incomplete.get(model) for model in configured):
        return GuardRefused(
            o.base_path,
            "holds none of the configured models: it vanished, or it is not mounted",
            "mount it again; nothing is unloaded until then",
        )
    removed = configured - _kept_names(o)
    nothing_left = removed == configured and not next_config(o).entries
    if not o.allow_empty and nothing_left:
        return GuardRefused(
            "desired state",
            f"names none of the {len(configured)} configured models, and nothing that it names is on this node",
            "correct the repository or the manifest, or allow an empty configuration explicitly (allow_empty)",
        )
    # Of a repository that is not looked at any more nothing can be expected to be in the new one.
    vanished = {name for name in removed if not _from_elsewhere(o, name)}
    too_many = len(vanished) > max(SHRINK_FLOOR, SHRINK_SHARE * len(configured))
    if o.desired.tracked and too_many and not o.allow_shrink:
        return GuardRefused(
            "desired state",
            f"{len(vanished)} of {len(configured)} models disappeared from the repository at once",
            "restore them there, or allow it explicitly (allow_shrink)",
        )
    return None


def next_config(o: Observation) -> ModelsConfig:
    """Return the configuration to be in force next: the goal, or the safe step towards it."""
    entries: dict[str, ModelEntry] = {}
    for name in sorted(set(o.desired.models) | (_unresolved(o) & _in_use(o))):
        wanted = o.desired.models.get(name)
        entry = _held_entry(o, name) if wanted is None else _step_entry(o, name, wanted)
        if entry is not None:
            entries[name] = entry
    return ModelsConfig(entries)


def prunable(o: Observation) -> list[Key]:
    """Return the versions whose files may be deleted now, oldest first within a model.

    Never a version that is wanted, configured, or held by the server, nor the last good one, nor the newest ``keep``.
    Without an answer from the server nothing may be deleted.
    """
    if o.serving is None or o.config is None or not _told(o, o.config) or guard(o) is not None:
        return []
    result: list[Key] = []
    for name, versions in sorted(o.disk.items()):
        wanted = o.desired.models.get(name)
        if wanted is None and name in _unresolved(o):
            continue
        protected = set(o.config.versions(name))
        protected |= {v for v, status in o.serving.get(name, {}).items() if not status.gone}
        if wanted is not None:
            protected |= _retained(o, name, wanted, versions)
        elif o.desired.tracked and name not in o.desired.absent:
            # It only disappeared from the repository: this may be the last copy there is.
            protected |= _last_good(o, name, versions)
        result += [(name, version) for version in sorted(versions - protected)]
    return result


def _retained(o: Observation, name: str, wanted: DesiredModel, versions: frozenset[int]) -> set[int]:
    """Return the versions of a wanted model that stay on disk whatever the server says."""
    sound = {v for v in versions if (name, v) not in o.quarantined}
    kept = set(wanted.versions) & sound
    for version in sorted(sound - kept, reverse=True):
        if len(kept) >= wanted.keep:
            break
        kept.add(version)
    return kept | _last_good(o, name, versions)


def _last_good(o: Observation, name: str, versions: frozenset[int]) -> set[int]:
    """Return the newest version on disk that was AVAILABLE here, or the newest at all where none was."""
    sound = {v for v in versions if (name, v) not in o.quarantined}
    good = o.good.get(name, frozenset()) & sound
    return {max(good or sound)} if sound else set()


def _unresolved(o: Observation) -> set[str]:
    """Return the models whose wanted versions cannot be told now; they stay as they are."""
    return set(o.desired.unresolved) - set(o.desired.models)


def _in_use(o: Observation) -> set[str]:
    """Return the models that are configured, or that are served although the file does not say so."""
    serving = {name for name, versions in (o.serving or {}).items() if any(s.available for s in versions.values())}
    return serving | (set(o.config.entries) if o.config else set())


def _kept_names(o: Observation) -> set[str]:
    return set(o.desired.models) | _unresolved(o)


def _held_entry(o: Observation, name: str) -> ModelEntry | None:
    """Return the present entry of a model, without what is no longer fit to be served."""
    versions = tuple(sorted(_held(o, name)))
    present = o.config.entries.get(name) if o.config else None
    labels = {label: v for label, v in (present.labels if present else {}).items() if v in versions}
    return ModelEntry(name, _base_path(o, name), versions, labels) if versions else None


def _held(o: Observation, name: str) -> set[int]:
    """Return the versions that are configured or served now, and fit to stay so.

    A version that serves without being in the file (a lost or foreign file) counts as old, not as unknown.
    """
    configured = set(o.config.versions(name)) if o.config else set()
    return {v for v in configured | _available(o, name) if _fit(o, name, v)}


def _available(o: Observation, name: str) -> set[int]:
    return {v for v, status in (o.serving or {}).get(name, {}).items() if status.available}


def _step_entry(o: Observation, name: str, wanted: DesiredModel) -> ModelEntry | None:
    """Return the entry that the next reload, or the coming start of the server, should carry for a wanted model."""
    present = o.config.labels(name) if o.config else {}
    held = _held(o, name)
    ready = {v for v in wanted.versions if _fit(o, name, v)}
    if o.serving is None:
        chosen = _for_start(o, name, ready, held)
        proven = set(o.good.get(name, frozenset()))
    else:
        proven = _available(o, name)
        chosen = ready | held
    labels = _step_labels(wanted, present, proven, chosen)
    if set(wanted.versions) <= proven & ready and (o.serving is None or _labels_resolved(o, name, wanted.labels)):
        chosen = ready
    return ModelEntry(name, _base_path(o, name), tuple(sorted(chosen)), labels) if chosen else None


def _for_start(o: Observation, name: str, ready: set[int], held: set[int]) -> set[int]:
    """Return what a starting server should load of a model.

    One version that does not load can keep the whole server down, so only versions that have proven to load are given
    to a start; the others join the running server, beside them. Where nothing has proven yet, there is no choice.
    """
    good = {v for v in o.good.get(name, frozenset()) if _fit(o, name, v)}
    if good & (ready | held):
        return good & (ready | held)
    return {max(good)} if good else ready | held


def _step_labels(
    wanted: DesiredModel, present: Mapping[str, int], proven: set[int], chosen: set[int]
) -> dict[str, int]:
    """Return the labels to set now: each at its target once that has proven to load, else where it is.

    A label that is already at its target stays, also while a restarted server still loads that version.
    """
    result: dict[str, int] = {}
    for label, target in wanted.labels.items():
        at = present.get(label)
        if target in proven or at == target:
            result[label] = target
        elif at in proven:
            result[label] = at
    return {label: version for label, version in result.items() if version in chosen}


def _labels_resolved(o: Observation, name: str, labels: Mapping[str, int]) -> bool:
    """Return whether the server resolves each label of the model to its target."""
    return all(o.labels.get((name, label)) == version for label, version in labels.items())


def _fit(o: Observation, name: str, version: int) -> bool:
    """Return whether a version may be configured: complete on this node and not set aside.

    One that serves now and has lost only its proof of being complete stays: it is loaded, and unloading mends nothing.
    """
    if (name, version) in o.quarantined:
        return False
    unproven = version in o.incomplete.get(name, frozenset()) and version in _available(o, name)
    return unproven or version in o.disk.get(name, frozenset())


def _from_elsewhere(o: Observation, name: str) -> bool:
    """Return whether what is on disk of a model came from another repository than the one that is looked at now."""
    origins = o.origins.get(name, frozenset())
    return bool(origins) and bool(o.desired.source) and o.desired.source not in origins


def _base_path(o: Observation, name: str) -> str:
    return f"{o.base_path.rstrip('/')}/{name}"


def _new_failures(o: Observation) -> dict[Key, str]:
    """Return the configured versions that ended in an error of the present attempt.

    While the server has not taken the file, an error that it shows is of an earlier attempt.
    """
    if o.serving is None or o.config is None or not _told(o, o.config):
        return {}
    old = o.sent.failed_before if o.sent else frozenset()
    result: dict[Key, str] = {}
    for name, entry in o.config.entries.items():
        for version in entry.versions:
            status = o.serving.get(name, {}).get(version)
            if status and status.failed and (name, version) not in old and (name, version) not in o.quarantined:
                result[(name, version)] = f"{status.error_code}: {status.error_message}"
    return result


def _compare_with_server(
    o: Observation, serving: Mapping[str, Mapping[int, VersionStatus]], config: ModelsConfig
) -> Action:
    """Return what is left when the file is right: nothing, waiting, or telling the server."""
    loading, missing = _not_there_yet(o, serving, config)
    extra = [
        (f"{name} version {version} is still there", status.state)
        for name, versions in serving.items()
        for version, status in versions.items()
        if version not in config.versions(name) and not status.gone
    ]
    leaving = {line for line, _ in extra}
    unwanted_kept = any(state is not ServingState.UNLOADING for _, state in extra)
    told_now = o.sent is not None and o.sent.config == config
    if not told_now and (missing or unwanted_kept or not _told(o, config)):
        return Send("; ".join(sorted(missing | leaving)) or "no reload of the file has returned yet", config)
    if missing or leaving or loading:
        names = {f"{name} version {version} is loading" for name, version in loading}
        return Wait("; ".join(sorted(missing | leaving | names)), frozenset(loading), unsettled=bool(missing))
    return Settled("everything wanted is served")


def _told(o: Observation, config: ModelsConfig) -> bool:
    """Return whether the server has taken this configuration, now or at an earlier run."""
    return o.acknowledged or (o.sent is not None and o.sent.config == config)


def _not_there_yet(
    o: Observation, serving: Mapping[str, Mapping[int, VersionStatus]], config: ModelsConfig
) -> tuple[set[Key], set[str]]:
    """Return the configured versions that the server is loading, and what of the file it does not follow."""
    loading: set[Key] = set()
    missing: set[str] = set()
    for name, entry in config.entries.items():
        for version in entry.versions:
            status = serving.get(name, {}).get(version)
            if status is not None and status.state is ServingState.LOADING:
                loading.add((name, version))
            elif status is None or not status.available:
                missing.add(f"{name} version {version} is not loaded")
        for label, version in entry.labels.items():
            if o.labels.get((name, label)) != version:
                missing.add(f"label {label} of {name} does not lead to version {version}")
    return loading, missing


def _why(o: Observation, goal: ModelsConfig) -> str:
    if o.config is None:
        return "there is no models.config"
    added = [
        f"{name} version {version}"
        for name, entry in goal.entries.items()
        for version in entry.versions
        if version not in o.config.versions(name)
    ]
    dropped = [
        f"{name} version {version}"
        for name, entry in o.config.entries.items()
        for version in entry.versions
        if version not in goal.versions(name)
    ]
    parts = []
    if added:
        parts.append("load " + ", ".join(added))
    if dropped:
        parts.append("unload " + ", ".join(dropped))
    return "; ".join(parts) or "move labels"
