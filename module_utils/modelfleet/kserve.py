"""Definitions of models as KServe writes them: each model with its own source.

They come as one file ``models.json`` that lists the models, or as one file for each model, named after it. A wrong
entry is the problem of its model alone: that model stays as it is, its neighbours go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from .errors import InvalidInput, ModelfleetError, SourceUnavailable
from .model_definition import Definition, definition, no_slip
from .names import NAME_LIMIT, is_model_name
from .structures import described, from_json, shown, wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Where this file is, it lists all models, and no other file counts.
LIST_NAME = "models.json"
_ENTRY = ("modelName", "modelSpec")
_SUFFIX = ".json"
#: More models are no list for one node.
ENTRY_LIMIT = 10_000


_Outcome = Union[Definition, ModelfleetError]


@dataclass(frozen=True)
class Definitions:
    """All definitions of one revision.

    Attributes:
        models: The models by name.
        problems: Why an entry does not count, by the name of its model, or by its place where that is no such name.
        partial: Whether an entry does not tell its model, so that no model may be taken for removed.
    """

    models: Mapping[str, Definition] = field(default_factory=dict)
    problems: Mapping[str, ModelfleetError] = field(default_factory=dict)
    partial: bool = False

    def followed(self, before: Mapping[str, Definition]) -> dict[str, Definition]:
        """Return the definitions that hold after these came, given those that held before.

        A model that has a problem keeps the definition that it had.
        """
        kept = {name: old for name, old in before.items() if self.partial or name in self.problems}
        return dict(sorted({**kept, **self.models}.items()))


@dataclass(frozen=True)
class Change:
    """What is to be done about one model: to load it as defined, or to unload it, which needs no definition."""

    model: str
    definition: Definition | None

    @property
    def action(self) -> str:
        """``load`` or ``unload``."""
        return "load" if self.definition else "unload"


def changes(before: Mapping[str, Definition], after: Mapping[str, Definition]) -> tuple[Change, ...]:
    """Return what differs between two sets of definitions, ordered by name, and nothing else."""
    return tuple(
        Change(name, after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def parse(files: Mapping[str, bytes], unreadable: Mapping[str, str] | None = None) -> Definitions:
    """Return the definitions that the files of a directory hold.

    Args:
        files: Their contents by name.
        unreadable: Files of it that could not be read, each with the reason, as half a sentence.

    Raises:
        InvalidInput: ``models.json`` is not a list in JSON.
        SourceUnavailable: ``models.json`` could not be read.
    """
    failed = unreadable or {}
    names = sorted(files.keys() | failed.keys())
    if LIST_NAME in failed:
        raise _unread(LIST_NAME, failed[LIST_NAME])
    if LIST_NAME in files:
        return _listed(files[LIST_NAME], (name for name in names if name != LIST_NAME))
    outcomes: list[tuple[str, str, _Outcome]] = []
    problems: dict[str, ModelfleetError] = {}
    for name in names:
        model = name.removesuffix(_SUFFIX)
        place = f"file {shown(name)}"
        if not is_model_name(model):
            problems[place] = _misnamed(place, model)
        elif name in failed:
            outcomes.append((model, place, _unread(f"model {model}", f"has a definition that {failed[name]}")))
        else:
            outcomes.append((model, place, _file(model, files[name])))
    return _united(outcomes, problems)


def _listed(content: bytes, others: Iterable[str]) -> Definitions:
    outcomes: list[tuple[str, str, _Outcome]] = []
    problems: dict[str, ModelfleetError] = {}
    for position, entry in enumerate(_list_of_models(content)):
        place = f"{LIST_NAME}[{position}]"
        name = entry.get("modelName") if isinstance(entry, dict) else None
        if isinstance(name, str) and is_model_name(name):
            outcomes.append((name, place, _entry(name, entry)))
        else:
            problems[place] = _nameless(place, entry)
    partial = bool(problems)
    for other in others:
        subject = f"file {shown(other)}"
        problems[subject] = InvalidInput(subject, f"does not count beside {LIST_NAME}", "remove one of the two")
    return _united(outcomes, problems, partial=partial)


def _list_of_models(content: bytes) -> list[Any]:
    found = from_json(_text(content, LIST_NAME), LIST_NAME)
    if not isinstance(found, list):
        wrong(LIST_NAME, "is not a list", 'write [{"modelName": "m1", "modelSpec": {…}}], or [] for no model')
    if len(found) > ENTRY_LIMIT:
        wrong(LIST_NAME, f"lists {len(found)} models, and a node has up to {ENTRY_LIMIT}", "remove some")
    return found


def _united(
    outcomes: Iterable[tuple[str, str, _Outcome]], problems: dict[str, ModelfleetError], *, partial: bool = False
) -> Definitions:
    """Return what the entries of each model come to: one that is defined twice must be defined alike."""
    models: dict[str, Definition] = {}
    by_name: dict[str, list[tuple[str, _Outcome]]] = {}
    for name, place, outcome in outcomes:
        by_name.setdefault(name, []).append((place, outcome))
    for name, found in sorted(by_name.items()):
        first = found[0][1]
        if len({_identity(outcome) for _, outcome in found}) > 1:
            places = " and ".join(place for place, _ in found)
            problems[name] = InvalidInput(f"model {name}", f"is defined differently by {places}", "keep one of them")
        elif isinstance(first, Definition):
            models[name] = first
        else:
            problems[name] = first
    return Definitions(models, problems, partial)


def _identity(outcome: _Outcome) -> Definition | str:
    return outcome if isinstance(outcome, Definition) else outcome.one_line()


def _file(model: str, content: bytes) -> _Outcome:
    subject = f"model {model}"
    try:
        found = from_json(_text(content, subject), subject)
    except InvalidInput as error:
        return error
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return definition(model, found)


def _entry(model: str, entry: dict[str, Any]) -> _Outcome:
    try:
        no_slip(entry, _ENTRY, f"model {model}")
    except InvalidInput as error:
        return error
    return definition(model, entry.get("modelSpec"))


def _nameless(place: str, entry: object) -> InvalidInput:
    if not isinstance(entry, dict):
        return InvalidInput(place, f"is {described(entry)}, not a model", 'write {"modelName": "m1", "modelSpec": {…}}')
    try:
        no_slip(entry, _ENTRY, place)
    except InvalidInput as error:
        return error
    if "modelName" not in entry:
        return InvalidInput(place, "has no modelName", "name the model; until then no model is unloaded")
    return _misnamed(place, entry["modelName"])


def _misnamed(place: str, name: object) -> InvalidInput:
    problem = f"names the model {shown(name)}, and a model's name has only letters, digits, '_' and '-'"
    return InvalidInput(place, problem, f"rename it (1 to {NAME_LIMIT} of them)")


def _unread(subject: str, problem: str) -> SourceUnavailable:
    return SourceUnavailable(subject, problem, "correct the file; until then nothing about it changes")


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(what, f"is not UTF-8: {error}", "write it in UTF-8") from error
