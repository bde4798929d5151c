"""What the desired state of the fleet means for one node.

One wrong model must not stop its neighbours: what cannot be honoured becomes a named problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .admission import Claim, admit
from .desired import Desired, DesiredModel
from .errors import InvalidInput, ModelfleetError, SourceEmpty, SourceNotFound
from .names import is_model_name, model_name, subject_of, version_number
from .quantity import parse_bytes
from .specs import Versions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .specs import Manifest, Spec


def resolve(  # noqa: PLR0913, PLR0917  (the whole world a desired state depends on, each part with its own owner)
    manifest: Manifest,
    listing: Mapping[str, Collection[int | str]],
    node: str,
    refused: Collection[tuple[str, int]],
    held: Mapping[str, Collection[int]] | None = None,
    memory_budget: int = 0,
) -> Desired:
    """Return what one node should hold and serve.

    Args:
        manifest: The desired state of the fleet.
        listing: The repository: every model with its versions.
        node: The node's name, which overrides refer to.
        refused: Versions that are set aside; ``latest`` passes over them, a pinned one stays wanted.
        held: Complete versions on the node: a pinned one of them is no problem when the repository lost it.
        memory_budget: Bytes of memory that the node has for models; 0 means that announced needs are not checked.
    """
    resolver = _Resolver(listing, frozenset(refused), held or {}, tracked=manifest.tracked)
    specs = manifest.for_node(node, resolver.usable)
    for name, spec in specs.items():
        resolver.add(name, spec)
    resolver.leave(manifest, specs)
    if memory_budget:
        resolver.admit(specs, memory_budget)
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

    def leave(self, manifest: Manifest, specs: Collection[str]) -> None:
        """Leave as they are: models of refused entries, and whatever an entry without a name may have meant."""
        self.problems += manifest.refused.values()
        kept = {name for name in manifest.refused if is_model_name(name)}
        if manifest.partial:
            kept |= {name for name, versions in self._held.items() if versions}
        self._unresolve(kept - manifest.absent - set(specs))

    def admit(self, specs: Mapping[str, Spec], budget: int) -> None:
        """Leave as they are the models for which there is no memory."""
        claims = [self._claim(name, spec) for name, spec in specs.items() if spec.memory]
        too_large = admit(claims, budget)
        self.problems += too_large.values()
        self._unresolve(too_large)
        for name in too_large:
            self.models.pop(name, None)

    def _claim(self, name: str, spec: Spec) -> Claim:
        each = parse_bytes(spec.memory or 0, f"model {name}: memory")
        model = self.models.get(name)
        wanted = model.versions if model else ()
        held = self._held.get(name, ())
        return Claim(name, each, len(wanted), max(1, len({*held} & {*wanted})) if held else 0)

    def _unresolve(self, names: Collection[str]) -> None:
        self.unresolved = sorted({*self.unresolved, *names})

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
