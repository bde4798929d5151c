"""What one node should hold and serve: the result of resolving a manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput, ModelfleetError, rebuilt
from .names import label_name, model_name, version_number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class DesiredModel:
    """One model as a node should have it.

    Attributes:
        versions: What is to be served, ascending, at least one.
        labels: Label to version; every labelled version is among the versions.
        keep: How many versions may stay on the node's disk; the wanted ones count first, then the newest.
    """

    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)
    keep: int = 2


@dataclass(frozen=True)
class Desired:
    """All models of one node.

    Attributes:
        models: Model name to what is wanted of it, ordered by name.
        problems: What of the manifest could not be honoured, each with a name, a reason and a remedy.
        tracked: Whether no manifest lists the models, so that one disappears when the repository no longer has it.
        unresolved: Models that are wanted, but of which no version could be determined: leave them as they are.
        absent: Models that the manifest removes by name.
        source: URI of the repository that was looked at; empty when it is not known.
        passed_over: Versions that would be wanted if they were not set aside, by model, ascending.
    """

    models: Mapping[str, DesiredModel] = field(default_factory=dict)
    problems: tuple[ModelfleetError, ...] = ()
    tracked: bool = False
    unresolved: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    passed_over: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON data."""
        return {
            "models": {
                name: {"versions": list(model.versions), "labels": dict(model.labels), "keep": model.keep}
                for name, model in self.models.items()
            },
            "problems": [problem.as_dict() for problem in self.problems],
            "tracked": self.tracked,
            "unresolved": list(self.unresolved),
            "absent": list(self.absent),
            "passed_over": {name: list(versions) for name, versions in self.passed_over.items()},
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Desired:
        """Return the state that ``to_dict`` gave, also after a way through JSON or YAML.

        Raises:
            InvalidInput: the data is not such a state.
        """
        try:
            return cls(
                models={name: _model(name, item) for name, item in sorted(data["models"].items())},
                problems=tuple(rebuilt(item) for item in data.get("problems", ())),
                tracked=bool(data.get("tracked", False)),
                unresolved=tuple(model_name(name) for name in data.get("unresolved", ())),
                absent=tuple(model_name(name) for name in data.get("absent", ())),
                passed_over={
                    model_name(name): _numbers(versions) for name, versions in data.get("passed_over", {}).items()
                },
                source=str(data.get("source", "")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            subject = "desired state"
            raise InvalidInput(
                subject, f"is not what a pull returned ({error!r})", "hand its result on unchanged"
            ) from error


def _model(name: object, item: Mapping[str, Any]) -> DesiredModel:
    model_name(name)
    labels = {label_name(label): version_number(version) for label, version in item.get("labels", {}).items()}
    return DesiredModel(_numbers({*_numbers(item["versions"]), *labels.values()}), labels, int(item.get("keep", 2)))


def _numbers(values: Collection[object]) -> tuple[int, ...]:
    return tuple(sorted({version_number(value) for value in values}))
