"""The manifest: the desired state of the whole fleet, and what it means for one node.

``parse`` is strict, because a misspelt key that is ignored is a model that is not deployed. ``resolve`` is lenient,
because one wrong model must not stop its neighbours: what cannot be honoured becomes a named problem.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, NoReturn, TypeVar

from .desired import Desired, DesiredModel
from .errors import InvalidInput, ModelfleetError, SourceEmpty, SourceNotFound
from .names import label_name, model_name, subject_of, version_number

__all__ = ["Desired", "DesiredModel", "Manifest", "Override", "Spec", "Versions", "parse", "resolve", "track"]

#: The only format there is.
FORMAT = 1
_T = TypeVar("_T")
_KEYS = ("format", "revision", "defaults", "models", "overrides", "absent")
_DEFAULTS = ("versions", "keep")
_MODEL = ("versions", "labels", "keep", "memory", "probe")
_OVERRIDE = ("nodes", "models")


@dataclass(frozen=True)
class Versions:
    """Which versions of a model are wanted: the newest ``latest``, or exactly the ``pinned`` ones."""

    latest: int = 0
    pinned: tuple[int, ...] = ()


@dataclass(frozen=True)
class Spec:
    """What a manifest says about one model; None where it says nothing.

    Attributes:
        versions: Which versions to serve.
        labels: Label to version.
        keep: How many versions may stay on disk.
        memory: Announced need of memory, as written (``1Gi``).
        probe: How to prove that it answers, as written.
    """

    versions: Versions | None = None
    labels: Mapping[str, int] | None = None
    keep: int | None = None
    memory: str | int | None = None
    probe: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Override:
    """What differs on some nodes: the parts of a model that are given replace the fleet's."""

    nodes: frozenset[str]
    models: Mapping[str, Spec]


@dataclass(frozen=True)
class Manifest:
    """The desired state of the fleet.

    Attributes:
        source: Where it came from, for messages.
        revision: Counts accepted changes; 0 where nobody counts.
        defaults: What holds for every model that says nothing else.
        models: The models; None means every model of the repository.
        overrides: Differences of nodes, applied in order.
        absent: Models that must not be there.
    """

    source: str
    revision: int = 0
    defaults: Spec = field(default_factory=lambda: Spec(versions=Versions(latest=1), keep=2))
    models: Mapping[str, Spec] | None = None
    overrides: tuple[Override, ...] = ()
    absent: frozenset[str] = frozenset()

    @property
    def tracked(self) -> bool:
        """Whether the repository, not the manifest, says which models there are."""
        return self.models is None

    def for_node(self, node: str, listed: Collection[str]) -> dict[str, Spec]:
        """Return what each model should be on a node, ordered by name.

        Args:
            node: The node's name.
            listed: The models of the repository, which count where the fleet tracks it.
        """
        base = {name: Spec() for name in listed} if self.models is None else dict(self.models)
        for override in self.overrides:
            if node in override.nodes:
                for name, spec in override.models.items():
                    base[name] = _merged(base.get(name, Spec()), spec)
        return {name: _merged(self.defaults, base[name]) for name in sorted(base) if name not in self.absent}


def parse(data: str | Mapping[str, Any], source: str) -> Manifest:
    """Return the manifest that a JSON text or a structure says.

    Args:
        data: The text of ``fleet.json``, or the same structure from an inventory.
        source: What messages call it.

    Raises:
        InvalidInput: something in it is wrong or unknown; the message names the path of keys to it.
    """
    if isinstance(data, str):
        try:
            data = json.loads(data, object_pairs_hook=_unique)
        except ValueError as error:
            raise InvalidInput(source, f"is not JSON: {error}", "correct it") from error
    top = _mapping(data, source, _KEYS)
    if _number(top.get("format", FORMAT), f"{source}: format", 1) != FORMAT:
        _wrong(f"{source}: format", f"is {top['format']}, and this release knows {FORMAT}", "upgrade this node first")
    given = _mapping(top.get("defaults"), f"{source}: defaults", _DEFAULTS)
    models = None if top.get("models") is None else _specs(top["models"], f"{source}: models")
    absent_path = f"{source}: absent"
    absent = frozenset(_checked(model_name, name, absent_path) for name in _sequence(top.get("absent"), absent_path))
    manifest = Manifest(source=source)
    manifest = replace(
        manifest,
        revision=_number(top.get("revision", 0), f"{source}: revision", 0),
        defaults=_merged(manifest.defaults, _spec(given, f"{source}: defaults")),
        models=models,
        overrides=tuple(
            _override(item, f"{source}: overrides[{position}]")
            for position, item in enumerate(_sequence(top.get("overrides"), f"{source}: overrides"))
        ),
        absent=absent,
    )
    named = {*(models or {}), *(name for override in manifest.overrides for name in override.models)}
    for name in sorted(named & absent):
        _wrong(f"{source}: absent", f"names model {name}, which the manifest also wants", "keep one of the two")
    return manifest


def track(defaults: Mapping[str, Any] | None = None, source: str = "defaults") -> Manifest:
    """Return the manifest of a fleet that tracks its repository: every model, by the defaults.

    Raises:
        InvalidInput: the defaults are wrong.
    """
    return parse({"defaults": defaults or {}}, source)


def resolve(
    manifest: Manifest,
    listing: Mapping[str, Collection[int | str]],
    node: str,
    refused: Collection[tuple[str, int]],
    held: Mapping[str, Collection[int]] | None = None,
) -> Desired:
    """Return what one node should hold and serve.

    Args:
        manifest: The desired state of the fleet.
        listing: The repository: every model with its versions.
        node: The node's name, which overrides refer to.
        refused: Versions that are set aside; ``latest`` passes over them, a pinned one stays wanted.
        held: Complete versions on the node: a pinned one of them is no problem when the repository lost it.
    """
    resolver = _Resolver(listing, frozenset(refused), held or {}, tracked=manifest.tracked)
    for name, spec in manifest.for_node(node, resolver.usable).items():
        resolver.add(name, spec)
    if manifest.tracked and not listing:
        resolver.problems.append(
            SourceEmpty("repository", "holds no model", "put a model there; this node stays as it is until then")
        )
    return Desired(
        models=resolver.models,
        problems=tuple(resolver.problems),
        tracked=manifest.tracked,
        unresolved=tuple(resolver.unresolved),
        absent=tuple(sorted(manifest.absent)),
        passed_over=resolver.passed_over,
    )


class _Resolver:
    """Collects models and problems while the manifest is gone through, model by model."""

    def __init__(
        self,
        listing: Mapping[str, Collection[int | str]],
        refused: frozenset[tuple[str, int]],
        held: Mapping[str, Collection[int]],
        *,
        tracked: bool,
    ) -> None:
        self.models: dict[str, DesiredModel] = {}
        self.problems: list[ModelfleetError] = []
        self.unresolved: list[str] = []
        self.passed_over: dict[str, tuple[int, ...]] = {}
        self.usable: dict[str, frozenset[int]] = {}
        self._refused = refused
        self._held = held
        self._misnamed: dict[str, list[InvalidInput]] = {}
        for name, versions in listing.items():
            self._survey(name, versions, tracked=tracked)

    def _survey(self, name: str, versions: Collection[int | str], *, tracked: bool) -> None:
        """Keep what of the listing has a proper name; a stray neighbour matters only where everything is wanted."""
        try:
            model_name(name)
        except InvalidInput as error:
            if tracked:
                self.problems.append(error)
            return
        good = set()
        for version in versions:
            number = self._number(name, version)
            if number is not None:
                good.add(number)
        self.usable[name] = frozenset(good)

    def _number(self, name: str, version: object) -> int | None:
        try:
            return version_number(version)
        except InvalidInput as error:
            misnamed = InvalidInput(f"model {name} {error.subject}", error.problem, error.remedy)
            self._misnamed.setdefault(name, []).append(misnamed)
            return None

    def add(self, name: str, spec: Spec) -> None:
        self.problems += self._misnamed.get(name, ())
        labels = spec.labels or {}
        wanted = set(self._chosen(name, spec.versions or Versions(latest=1))) | set(labels.values())
        if not wanted:
            self.unresolved.append(name)
            return
        present = self.usable.get(name, frozenset()) | set(self._held.get(name, ()))
        for version in sorted(wanted - present):
            known = ", ".join(map(str, sorted(self.usable.get(name, ())))) or "none"
            self.problems.append(
                SourceNotFound(
                    subject_of(name, version),
                    f"is wanted, and the repository does not have it (versions there: {known})",
                    "publish it, or want another version",
                )
            )
        keep = 1 if spec.keep is None else spec.keep
        self.models[name] = DesiredModel(tuple(sorted(wanted)), dict(sorted(labels.items())), keep)

    def _chosen(self, name: str, versions: Versions) -> Sequence[int]:
        if versions.pinned:
            return versions.pinned
        subject = f"model {name}"
        if name not in self.usable:
            self.problems.append(
                SourceNotFound(subject, "is wanted, and the repository does not have it", "publish it, or remove it")
            )
            return ()
        newest = sorted(self.usable[name], reverse=True)
        good = [version for version in newest if (name, version) not in self._refused]
        chosen = good[: versions.latest]
        last = chosen[-1] if len(chosen) == versions.latest else 0
        passed = [version for version in sorted(newest) if version > last and (name, version) in self._refused]
        if passed:
            self.passed_over[name] = tuple(passed)
        if not newest:
            self.problems.append(SourceEmpty(subject, "has no version in the repository", "publish version 1"))
        elif not good:
            self.problems.append(
                SourceEmpty(subject, "has no version that is not set aside", "publish a new version of it")
            )
        return chosen


def _merged(base: Spec, over: Spec) -> Spec:
    return Spec(
        versions=base.versions if over.versions is None else over.versions,
        labels=base.labels if over.labels is None else over.labels,
        keep=base.keep if over.keep is None else over.keep,
        memory=base.memory if over.memory is None else over.memory,
        probe=base.probe if over.probe is None else over.probe,
    )


def _override(item: object, path: str) -> Override:
    given = _mapping(item, path, _OVERRIDE)
    nodes = [name for name in _sequence(given.get("nodes"), f"{path}.nodes") if isinstance(name, str) and name]
    if not nodes or len(nodes) != len(given["nodes"]):
        _wrong(f"{path}.nodes", "is not a list of names of nodes", "name at least one node")
    return Override(frozenset(nodes), _specs(given.get("models"), f"{path}.models"))


def _specs(data: object, path: str) -> dict[str, Spec]:
    if data is not None and not isinstance(data, Mapping):
        _wrong(path, "is not a mapping of models", "write model: {versions: …}")
    result = {}
    for name, item in (data or {}).items():
        checked = _checked(model_name, name, path)
        result[checked] = _spec(_mapping(item, f"{path}.{name}", _MODEL), f"{path}.{name}")
    return result


def _spec(given: Mapping[str, Any], path: str) -> Spec:
    labels = given.get("labels")
    if labels is not None and not isinstance(labels, Mapping):
        _wrong(f"{path}.labels", "is not a mapping of labels to versions", "write {stable: 3}")
    memory, probe = given.get("memory"), given.get("probe")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, (str, int))):
        _wrong(f"{path}.memory", "is neither a text nor a number", "write 1Gi, or bytes")
    if probe is not None and not isinstance(probe, Mapping):
        _wrong(f"{path}.probe", "is not a mapping", "write {requests: digits/probe.json}")
    return Spec(
        versions=None if given.get("versions") is None else _versions(given["versions"], f"{path}.versions"),
        labels=None
        if labels is None
        else {
            _checked(label_name, label, f"{path}.labels"): _checked(version_number, version, f"{path}.labels.{label}")
            for label, version in labels.items()
        },
        keep=None if given.get("keep") is None else _number(given["keep"], f"{path}.keep", 1),
        memory=memory,
        probe=probe,
    )


def _versions(value: object, path: str) -> Versions:
    if isinstance(value, Mapping):
        return Versions(latest=_number(_mapping(value, path, ("latest",)).get("latest"), f"{path}.latest", 1))
    pinned = tuple(sorted({_checked(version_number, item, path) for item in _sequence(value, path)}))
    if not pinned:
        _wrong(path, "lists no version", 'list one, write {"latest": 1}, or put the model under absent')
    return Versions(pinned=pinned)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        problem = f"key {twice!r} is given twice"
        raise ValueError(problem)
    return result


def _mapping(value: object, path: str, known: Sequence[str]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _wrong(path, "is not a mapping", f"the known keys are {', '.join(known)}")
    for key in value:
        if key not in known:
            _wrong(path, f"has the unknown key {key!r}", f"the known keys are {', '.join(known)}")
    return value


def _sequence(value: object, path: str) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        _wrong(path, "is not a list", "write it as a list")
    return value


def _number(value: object, path: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        _wrong(path, f"is {value!r}", f"write a whole number from {least} on")
    return value


def _checked(check: Callable[[object], _T], value: object, path: str) -> _T:
    try:
        return check(value)
    except InvalidInput as error:
        subject = f"{path}: {error.subject}"
        raise InvalidInput(subject, error.problem, error.remedy) from None


def _wrong(path: str, problem: str, remedy: str) -> NoReturn:
    raise InvalidInput(path, problem, remedy)
