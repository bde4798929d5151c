"""The manifest: the desired state of the whole fleet, and what it means for one node.

Reading it is strict, because a misspelt key that is ignored is a model that is not deployed. Resolving it is lenient,
because one wrong model must not stop its neighbours: what cannot be honoured becomes a named problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .desired import Desired, DesiredModel
from .names import label_name, model_name, version_number
from .quantity import parse_bytes
from .resolution import resolve
from .specs import Manifest, Override, Spec, Versions
from .structures import checked, from_json, mapping, number, sequence, wrong

__all__ = ["Desired", "DesiredModel", "Manifest", "Override", "Spec", "Versions", "parse", "resolve", "track"]

#: The only format there is.
FORMAT = 1
_KEYS = ("format", "revision", "defaults", "models", "overrides", "absent")
_DEFAULTS = ("versions", "keep")
_MODEL = ("versions", "labels", "keep", "memory", "probe")
_OVERRIDE = ("nodes", "models")


def parse(data: str | Mapping[str, Any], source: str) -> Manifest:
    """Return the manifest that a JSON text or a structure says.

    Args:
        data: The text of ``fleet.json``, or the same structure from an inventory.
        source: What messages call it.

    Raises:
        InvalidInput: something in it is wrong or unknown; the message names the path of keys to it.
    """
    if isinstance(data, str):
        data = from_json(data, source)
        if data is None:
            wrong(source, "says nothing", "write {} to track every model of the repository")
    top = mapping(data, source, _KEYS)
    if number(top.get("format", FORMAT), f"{source}: format", 1) != FORMAT:
        wrong(f"{source}: format", f"is {top['format']}, and this release knows {FORMAT}", "upgrade this node first")
    given = mapping(top.get("defaults"), f"{source}: defaults", _DEFAULTS)
    models = None if top.get("models") is None else _specs(top["models"], f"{source}: models")
    absent_path = f"{source}: absent"
    absent = frozenset(checked(model_name, name, absent_path) for name in sequence(top.get("absent"), absent_path))
    manifest = Manifest(source=source)
    manifest = replace(
        manifest,
        revision=number(top.get("revision", 0), f"{source}: revision", 0),
        defaults=_spec(given, f"{source}: defaults").over(manifest.defaults),
        models=models,
        overrides=tuple(
            _override(item, f"{source}: overrides[{position}]")
            for position, item in enumerate(sequence(top.get("overrides"), f"{source}: overrides"))
        ),
        absent=absent,
    )
    named = {*(models or {}), *(name for override in manifest.overrides for name in override.models)}
    for name in sorted(named & absent):
        wrong(f"{source}: absent", f"names model {name}, which the manifest also wants", "keep one of the two")
    return manifest


def track(defaults: Mapping[str, Any] | None = None, source: str = "defaults") -> Manifest:
    """Return the manifest of a fleet that tracks its repository: every model, by the defaults.

    Raises:
        InvalidInput: the defaults are wrong.
    """
    return parse({"defaults": defaults or {}}, source)


def _override(item: object, path: str) -> Override:
    given = mapping(item, path, _OVERRIDE)
    nodes = [name for name in sequence(given.get("nodes"), f"{path}.nodes") if isinstance(name, str) and name]
    if not nodes or len(nodes) != len(given["nodes"]):
        wrong(f"{path}.nodes", "is not a list of names of nodes", "name at least one node")
    return Override(frozenset(nodes), _specs(given.get("models"), f"{path}.models"))


def _specs(data: object, path: str) -> dict[str, Spec]:
    if data is not None and not isinstance(data, Mapping):
        wrong(path, "is not a mapping of models", "write model: {versions: …}")
    result = {}
    for name, item in (data or {}).items():
        model = checked(model_name, name, path)
        result[model] = _spec(mapping(item, f"{path}.{name}", _MODEL), f"{path}.{name}")
    return result


def _spec(given: Mapping[str, Any], path: str) -> Spec:
    labels = given.get("labels")
    if labels is not None and not isinstance(labels, Mapping):
        wrong(f"{path}.labels", "is not a mapping of labels to versions", "write {stable: 3}")
    memory, probe = given.get("memory"), given.get("probe")
    if memory is not None:
        if isinstance(memory, bool) or not isinstance(memory, (str, int)):
            wrong(f"{path}.memory", "is neither a text nor a number", "write 1Gi, or bytes")
        parse_bytes(memory, f"{path}.memory")
    if probe is not None and not isinstance(probe, Mapping):
        wrong(f"{path}.probe", "is not a mapping", "write {requests: digits/probe.json}")
    return Spec(
        versions=None if given.get("versions") is None else _versions(given["versions"], f"{path}.versions"),
        labels=None
        if labels is None
        else {
            checked(label_name, label, f"{path}.labels"): checked(version_number, version, f"{path}.labels.{label}")
            for label, version in labels.items()
        },
        keep=None if given.get("keep") is None else number(given["keep"], f"{path}.keep", 1),
        memory=memory,
        probe=probe,
    )


def _versions(value: object, path: str) -> Versions:
    if isinstance(value, Mapping):
        return Versions(latest=number(mapping(value, path, ("latest",)).get("latest"), f"{path}.latest", 1))
    pinned = tuple(sorted({checked(version_number, item, path) for item in sequence(value, path)}))
    if not pinned:
        wrong(path, "lists no version", 'list one, write {"latest": 1}, or put the model under absent')
    return Versions(pinned=pinned)
