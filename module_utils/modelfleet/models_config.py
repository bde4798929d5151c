"""TensorFlow Serving's ``models.config``: what the fleet writes, and only that.

Every model is listed with the versions it must serve (policy ``specific``), so that the server never decides on its
own what to load. A file that says anything else is somebody else's and is reported as such.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import text_format
from .durable import replace_file
from .errors import InvalidInput
from .names import label_name, model_name, version_number
from .text_format import Block, Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The only platform that a stock server knows.
PLATFORM = "tensorflow"
_HEADER = "# Written by modelfleet; the next deployment overwrites what is changed here by hand.\n"
_REPLACE = "remove the file: the next deployment writes it anew"


class ForeignConfig(InvalidInput):
    """The file is readable text format, but says what the fleet never writes."""

    code = "FOREIGN_CONFIG"


@dataclass(frozen=True)
class ModelEntry:
    """One model of the server.

    Attributes:
        name: The model's name.
        base_path: Absolute directory (or URI) above the numeric version directories.
        versions: What is to be served, ascending, at least one.
        labels: Label to version; every labelled version is among the versions.
    """

    name: str
    base_path: str
    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model_name(self.name)
        object.__setattr__(self, "versions", tuple(sorted({version_number(version) for version in self.versions})))
        object.__setattr__(self, "labels", {label_name(key): self.labels[key] for key in sorted(self.labels)})
        subject = f"model {self.name}"
        if not (self.base_path.startswith("/") or "://" in self.base_path):
            raise InvalidInput(subject, f"its base_path {self.base_path!r} is not absolute", "give the absolute path")
        if not self.versions:
            raise InvalidInput(subject, "lists no version", "list one, or leave the model out")
        for label, version in self.labels.items():
            if version not in self.versions:
                raise InvalidInput(
                    subject, f"label {label} points to version {version}, which is not listed", "list the version too"
                )


@dataclass(frozen=True)
class ModelsConfig:
    """All models of one server, ordered by name."""

    entries: Mapping[str, ModelEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", {name: self.entries[name] for name in sorted(self.entries)})

    @classmethod
    def of(cls, entries: Iterable[ModelEntry]) -> ModelsConfig:
        """Return the configuration that holds the entries; of two with one name the later counts."""
        return cls({entry.name: entry for entry in entries})

    def versions(self, model: str) -> tuple[int, ...]:
        """Return the listed versions of a model, ascending; empty when the model is not listed."""
        entry = self.entries.get(model)
        return entry.versions if entry else ()

    def labels(self, model: str) -> Mapping[str, int]:
        """Return the labels of a model; empty when the model is not listed."""
        entry = self.entries.get(model)
        return entry.labels if entry else {}

    def with_entry(self, entry: ModelEntry) -> ModelsConfig:
        """Return a copy in which the entry replaces or joins the others."""
        return ModelsConfig({**self.entries, entry.name: entry})

    def without(self, model: str, version: int | None = None) -> ModelsConfig:
        """Return a copy without a model, or without one version of it and the labels on that version.

        A model that would be left without a version leaves the list as well.
        """
        rest = {name: entry for name, entry in self.entries.items() if name != model}
        entry = self.entries.get(model)
        if entry is not None and version is not None:
            left = tuple(number for number in entry.versions if number != version)
            if left:
                labels = {label: number for label, number in entry.labels.items() if number != version}
                rest[model] = ModelEntry(model, entry.base_path, left, labels)
        return ModelsConfig(rest)


def render(config: ModelsConfig) -> str:
    """Return the canonical text of a configuration: equal configurations give equal bytes."""
    lines = [_HEADER, "model_config_list {\n"]
    for entry in config.entries.values():
        lines += [
            "  config {\n",
            f"    name: {text_format.escape(entry.name)}\n",
            f"    base_path: {text_format.escape(entry.base_path)}\n",
            f"    model_platform: {text_format.escape(PLATFORM)}\n",
            "    model_version_policy {\n      specific {\n",
            *(f"        versions: {version}\n" for version in entry.versions),
            "      }\n    }\n",
        ]
        for label, version in entry.labels.items():
            lines += [
                "    version_labels {\n",
                f"      key: {text_format.escape(label)}\n      value: {version}\n",
                "    }\n",
            ]
        lines.append("  }\n")
    lines.append("}\n")
    return "".join(lines)


def digest(config: ModelsConfig) -> str:
    """Return a hash of a configuration: equal configurations have equal ones."""
    return hashlib.sha256(render(config).encode()).hexdigest()


def parse(text: str, source: str) -> ModelsConfig:
    """Return what a ``models.config`` lists.

    Args:
        text: The content of the file.
        source: What messages call it, usually its path.

    Raises:
        InvalidInput: it is not a ModelServerConfig in text format; the message names line and column.
        ForeignConfig: it is one, but lists models in a way the fleet never writes (another policy, platform, …).
    """
    known = _fields(text_format.read(text, source), {"model_config_list", "custom_model_config"})
    if "custom_model_config" in known:
        _foreign(known["custom_model_config"][0], "custom_model_config is not a list of models")
    if "model_config_list" not in known:
        raise ForeignConfig(source, "holds no model_config_list", _REPLACE)
    listed = _fields(_block(_single(known, "model_config_list")), {"config"}).get("config", [])
    entries: dict[str, ModelEntry] = {}
    for item in listed:
        entry = _entry(item)
        if entry.name in entries:
            raise InvalidInput(str(item.place), f"model {entry.name} is listed twice", "list it once")
        entries[entry.name] = entry
    return ModelsConfig(entries)


def read(path: Path | str) -> ModelsConfig | None:
    """Return the configuration in a file, or None where there is no file.

    Raises:
        InvalidInput: the file cannot be read or is not ours, see ``parse``.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(str(path), f"cannot be read ({error.strerror})", "check its owner and mode") from error
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(str(path), f"is not UTF-8 ({error.reason})", _REPLACE) from error
    return parse(text, str(path))


def write(path: Path | str, config: ModelsConfig) -> bool:
    """Bring a file to the canonical text of a configuration, and return whether it changed.

    A reader, the server first of all, sees the old file or the new one, never a part.

    Raises:
        InvalidInput: the directory does not exist or cannot be written.
    """
    target, content = Path(path), render(config).encode()
    try:
        if target.is_file() and target.read_bytes() == content:
            return False
        replace_file(target, content)
    except OSError as error:
        raise InvalidInput(
            str(path), f"cannot be written ({error.strerror})", f"check that {target.parent} exists and is ours"
        ) from error
    return True


def diff(before: ModelsConfig | None, after: ModelsConfig) -> tuple[str, ...]:
    """Return the difference as lines for people, ordered by model; empty when nothing differs."""
    old = before.entries if before else {}
    lines: list[str] = []
    for name in sorted({*old, *after.entries}):
        if name not in after.entries:
            lines.append(f"{name}: removed")
        elif name not in old:
            entry = after.entries[name]
            lines.append(f"{name}: added")
            lines += [f"{name}: + version {version}" for version in entry.versions]
            lines += [f"{name}: label {label} -> {version}" for label, version in entry.labels.items()]
        else:
            lines += [f"{name}: {line}" for line in _changes(old[name], after.entries[name])]
    return tuple(lines)


def _changes(old: ModelEntry, new: ModelEntry) -> list[str]:
    lines = [] if old.base_path == new.base_path else [f"base_path {old.base_path} -> {new.base_path}"]
    lines += [f"+ version {version}" for version in new.versions if version not in old.versions]
    lines += [f"- version {version}" for version in old.versions if version not in new.versions]
    for label in sorted({*old.labels, *new.labels}):
        was, now = old.labels.get(label), new.labels.get(label)
        if now is None:
            lines.append(f"label {label} removed")
        elif was is None:
            lines.append(f"label {label} -> {now}")
        elif was != now:
            lines.append(f"label {label} {was} -> {now}")
    return lines


def _entry(item: Field) -> ModelEntry:
    known = _fields(
        _block(item),
        {
            "name", "base_path", "model_platform", "model_type", "model_version_policy", "version_labels",
            "logging_config",
        },
    )  # fmt: skip
    for field_name in ("model_type", "logging_config"):
        if field_name in known:
            _foreign(known[field_name][0], f"{field_name} is set")
    name, base_path = _text(known, "name", item), _text(known, "base_path", item)
    if "model_platform" not in known or _text(known, "model_platform", item) != PLATFORM:
        _foreign(item, f"model {name} is not of platform {PLATFORM}")
    labels = dict(_label(pair) for pair in known.get("version_labels", []))
    versions = _versions(known, name, item)
    try:
        return ModelEntry(name, base_path, versions, labels)
    except InvalidInput as error:
        raise ForeignConfig(str(item.place), f"{error.subject} {error.problem}", _REPLACE) from error


def _versions(known: Mapping[str, list[Field]], name: str, item: Field) -> tuple[int, ...]:
    if "model_version_policy" not in known:
        _foreign(item, f"model {name} has no version policy, which means latest")
    policy = _single(known, "model_version_policy")
    policies = _fields(_block(policy), {"latest", "all", "specific"})
    if len(policies) > 1:
        raise InvalidInput(str(policy.place), f"model {name} has two version policies", "keep one")
    if "specific" not in policies:
        _foreign(policy, f"model {name} has policy {next(iter(policies), 'latest')}, not specific")
    listed = _fields(_block(_single(policies, "specific")), {"versions"}).get("versions", [])
    return tuple(_integer(version) for version in listed)


def _label(pair: Field) -> tuple[str, int]:
    known = _fields(_block(pair), {"key", "value"})
    value = _integer(_single(known, "value")) if "value" in known else 0
    return _text(known, "key", pair), value


def _fields(block: Block, names: set[str]) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    for item in block.fields:
        if item.name not in names:
            raise InvalidInput(
                str(item.place), f"{item.name} is not a field here", f"the known ones are {', '.join(sorted(names))}"
            )
        found.setdefault(item.name, []).append(item)
    return found


def _single(known: Mapping[str, list[Field]], name: str) -> Field:
    first, *more = known[name]
    if more:
        raise InvalidInput(str(more[0].place), f"{name} is given twice", "keep one")
    return first


def _text(known: Mapping[str, list[Field]], name: str, within: Field) -> str:
    if name not in known:
        _foreign(within, f"{name} is missing")
    item = _single(known, name)
    if not isinstance(item.value, str):
        raise InvalidInput(str(item.place), f"{name} is not a string", "put it in quotes")
    return item.value


def _integer(item: Field) -> int:
    if not isinstance(item.value, int) or not -(2**63) <= item.value < 2**63:
        raise InvalidInput(str(item.place), f"{item.name} is not a 64-bit integer", "write a whole number")
    return item.value


def _block(item: Field) -> Block:
    if not isinstance(item.value, Block):
        raise InvalidInput(str(item.place), f"{item.name} has no block", f"write {item.name} {{ … }}")
    return item.value


def _foreign(item: Field, problem: str) -> NoReturn:
    raise ForeignConfig(str(item.place), problem, _REPLACE)
