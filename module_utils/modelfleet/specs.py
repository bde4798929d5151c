"""The desired state of the whole fleet as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .errors import ModelfleetError
    from .locations import Location


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
        memory: Announced need of memory of one version, as written (``1Gi``).
        probe: How to prove that it answers, as written.
    """

    versions: Versions | None = None
    labels: Mapping[str, int] | None = None
    keep: int | None = None
    memory: str | int | None = None
    probe: Mapping[str, Any] | None = None

    def over(self, base: Spec) -> Spec:
        """Return the spec that says what this one says, and the base where this one says nothing."""
        return Spec(
            versions=base.versions if self.versions is None else self.versions,
            labels=base.labels if self.labels is None else self.labels,
            keep=base.keep if self.keep is None else self.keep,
            memory=base.memory if self.memory is None else self.memory,
            probe=base.probe if self.probe is None else self.probe,
        )


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
        locations: The source of each model, where models have their own; empty where all are in the repository.
        refused: Why an entry does not count, by the name of its model or by its place. Such a model stays as it is; it
            may be among the models as well, as an earlier entry has it.
        partial: Whether a refused entry does not tell its model, so that every model that is not named stays as well.
    """

    source: str
    revision: int = 0
    defaults: Spec = field(default_factory=lambda: Spec(versions=Versions(latest=1), keep=2))
    models: Mapping[str, Spec] | None = None
    overrides: tuple[Override, ...] = ()
    absent: frozenset[str] = frozenset()
    locations: Mapping[str, Location] = field(default_factory=dict)
    refused: Mapping[str, ModelfleetError] = field(default_factory=dict)
    partial: bool = False

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
                    base[name] = spec.over(base.get(name, Spec()))
        return {name: base[name].over(self.defaults) for name in sorted(base) if name not in self.absent}
