"""What is defined of one model, in the words of KServe."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput, ModelfleetError, UnsupportedFramework
from .names import version_number
from .quantity import parse_bytes
from .specs import Versions
from .structures import described, mapping, number, sequence, shown, wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: What this fleet serves.
SERVED = "tensorflow"
#: What a definition may name as its framework; never with a version.
FRAMEWORKS = (
    SERVED,
    "autogluon",
    "catboost",
    "huggingface",
    "keras",
    "lightgbm",
    "mlflow",
    "onnx",
    "openvino",
    "paddle",
    "pmml",
    "pytorch",
    "sklearn",
    "tensorrt",
    "triton",
    "xgboost",
)
_SPEC = ("storageUri", "framework", "memory", "version", "versionPolicy")
#: From here on a key is taken for another one that was misspelt (0 to 1).
_ALIKE = 0.85


@dataclass(frozen=True)
class Definition:
    """What is defined of one model.

    Attributes:
        uri: Where it comes from; it may carry a password or a signature, so it is no part of the representation.
        framework: Always one that the fleet serves.
        memory_bytes: How much memory one version of it needs; 0 where nothing is announced.
        versions: Which versions, by their numbers at the source.
    """

    uri: str = field(repr=False)
    framework: str = SERVED
    memory_bytes: int = 0
    versions: Versions = field(default_factory=lambda: Versions(latest=1))


def definition(model: str, spec: object) -> Definition | ModelfleetError:
    """Return the definition of a model, or its first problem, which always has the model as its subject."""
    subject = f"model {model}"
    try:
        if not isinstance(spec, dict):
            wrong(subject, f"is defined by {described(spec)}", "write storageUri, framework and memory")
        no_slip(spec, _SPEC, subject)
        return Definition(
            uri=_uri(spec.get("storageUri"), subject),
            framework=_framework(spec.get("framework"), subject),
            memory_bytes=_memory(spec.get("memory"), subject),
            versions=_versions(spec, subject),
        )
    except (InvalidInput, UnsupportedFramework) as error:
        return error


def no_slip(given: Collection[str], known: tuple[str, ...], subject: str) -> None:
    """Refuse keys that look like a misspelt known one; what KServe may add some day is none of them, and is ignored.

    Raises:
        InvalidInput: there is such a key; ``subject`` is named.
    """
    folded = {_folded(key): key for key in known}
    for key in given:
        alike = [] if key in known else get_close_matches(_folded(key), list(folded), 1, _ALIKE)
        if alike:
            wrong(subject, f"has the unknown key {shown(key)}", f"write {folded[alike[0]]}")


def _uri(value: object, subject: str) -> str:
    if not isinstance(value, str) or not value:
        wrong(subject, "has no storageUri", "say where its files are, for example gs://bucket/m1")
    if value != value.strip() or not value.isprintable():
        wrong(subject, "has blanks around its storageUri, or control characters in it", "correct it")
    return value


def _framework(value: object, subject: str) -> str:
    allowed = f"write one of {', '.join(FRAMEWORKS)}, without a version"
    if value is None:
        wrong(subject, "has no framework", allowed)
    if value not in FRAMEWORKS:
        wrong(subject, f"has the unknown framework {shown(value)}", allowed)
    if value != SERVED:
        raise UnsupportedFramework(
            subject,
            f"has the framework {value}, and this fleet serves {SERVED}",
            "publish it as a TensorFlow SavedModel, or serve it elsewhere",
        )
    return SERVED


def _memory(value: object, subject: str) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        wrong(subject, f"has the memory {shown(value)}", "write 512Mi, 1Gi, 1G, or a number of bytes")
    try:
        return parse_bytes(value, subject)
    except InvalidInput as error:
        wrong(subject, f"has a wrong memory: {error.problem}", error.remedy)


def _versions(spec: Mapping[str, Any], subject: str) -> Versions:
    one, policy = spec.get("version"), spec.get("versionPolicy")
    if one is not None and policy is not None:
        wrong(subject, "has both version and versionPolicy", "keep one of them")
    if one is not None:
        return Versions(pinned=_numbers([one], subject, "version"))
    if policy is None:
        return Versions(latest=1)
    if isinstance(policy, dict) and "all" in policy:
        wrong(subject, "wants all versions at once", "say how many with latest, or which with specific")
    try:
        chosen = mapping(policy, "versionPolicy", ("latest", "specific"))
        if len(chosen) != 1:
            wrong("versionPolicy", "does not hold exactly one key", "write latest or specific")
        if "latest" in chosen:
            latest = mapping(chosen["latest"], "versionPolicy.latest", ("num_versions",))
            return Versions(latest=number(latest.get("num_versions", 1), "versionPolicy.latest.num_versions", 1))
        specific = mapping(chosen["specific"], "versionPolicy.specific", ("versions",))
        listed = sequence(specific.get("versions"), "versionPolicy.specific.versions")
        if not listed:
            wrong("versionPolicy.specific.versions", "lists no version", "list one, or remove the model")
    except InvalidInput as error:
        wrong(subject, f"{error.subject} {error.problem}", error.remedy)
    return Versions(pinned=_numbers(listed, subject, "versionPolicy.specific.versions"))


def _numbers(values: Iterable[object], subject: str, path: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({version_number(value) for value in values}))
    except InvalidInput as error:
        wrong(subject, f"{path}: {error.subject} {error.problem}", "write whole numbers, such as 3")


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()
