"""The names a fleet is made of: models, versions, labels.

A name becomes a directory, a path of a URL and a word in a configuration file at once, so every name that comes from
outside passes through here first.
"""

from __future__ import annotations

import re

from .errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VERSION = re.compile(r"[1-9][0-9]*")
#: Longest name that still fits into a directory name together with a version and a staging suffix.
NAME_LIMIT = 180
#: TensorFlow Serving keeps version numbers in a signed 64-bit integer.
VERSION_LIMIT = 2**63


def model_name(text: object) -> str:
    """Return the text if it may name a model.

    Raises:
        InvalidInput: it is not one to 180 letters, digits, underscores and hyphens.
    """
    return _checked("model name", text, "rename the model's directory or entry")


def label_name(text: object) -> str:
    """Return the text if it may name a version label, such as ``stable``.

    Raises:
        InvalidInput: it is not one to 180 letters, digits, underscores and hyphens.
    """
    return _checked("label", text, "choose another label")


def version_number(value: object) -> int:
    """Return the version as a number; texts are decimal without sign, blanks or leading zeros.

    Raises:
        InvalidInput: it is not a whole number from 1 to 2**63 - 1.
    """
    number = 0
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and len(value) <= len(str(VERSION_LIMIT)) and _VERSION.fullmatch(value):
        number = int(value)
    if not 0 < number < VERSION_LIMIT:
        subject = f"version {value!r}"
        raise InvalidInput(
            subject,
            "is not a whole number from 1 to 2**63 - 1 written without sign, blanks or leading zeros",
            "name the version's directory 1, 2, 3 and so on",
        )
    return number


def is_model_name(text: object) -> bool:
    """Return whether the text may name a model."""
    return isinstance(text, str) and len(text) <= NAME_LIMIT and _NAME.fullmatch(text) is not None


def is_version_number(text: str) -> bool:
    """Return whether the text is a version in its one accepted spelling, as the names of directories must be."""
    try:
        return bool(version_number(text))
    except InvalidInput:
        return False


def subject_of(model: str, version: int) -> str:
    """Return how messages name one version of a model."""
    return f"model {model} version {version}"


def _checked(what: str, text: object, remedy: str) -> str:
    if isinstance(text, str) and is_model_name(text):
        return text
    shown = repr(text) if len(repr(text)) <= NAME_LIMIT else f"{repr(text)[:40]}…"
    subject = f"{what} {shown}"
    raise InvalidInput(
        subject,
        f"may hold only letters, digits, '_' and '-' (1 to {NAME_LIMIT} of them)",
        remedy,
    )
