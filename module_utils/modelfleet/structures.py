"""Checked access to structures that people wrote, with errors that name the place."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NoReturn, TypeVar

from .errors import InvalidInput

_T = TypeVar("_T")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


def from_json(text: str, what: str) -> Any:  # noqa: ANN401  (what a JSON text holds is for the caller to find out)
    """Return what a JSON text says.

    Raises:
        InvalidInput: it is not JSON, or gives a key of an object twice; ``what`` is named.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(what, f"is not JSON: {error}", "correct it") from error


def mapping(value: object, path: str, known: Sequence[str]) -> Mapping[str, Any]:
    """Return a mapping that has no other than the known keys; None is an empty one.

    Raises:
        InvalidInput: it is something else, or has another key; ``path`` is named.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        wrong(path, "is not a mapping", f"the known keys are {', '.join(known)}")
    for key in value:
        if key not in known:
            wrong(path, f"has the unknown key {key!r}", f"the known keys are {', '.join(known)}")
    return value


def sequence(value: object, path: str) -> Sequence[Any]:
    """Return a list; None is an empty one.

    Raises:
        InvalidInput: it is something else; ``path`` is named.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        wrong(path, "is not a list", "write it as a list")
    return value


def number(value: object, path: str, least: int) -> int:
    """Return a whole number that is at least ``least``.

    Raises:
        InvalidInput: it is something else; ``path`` is named.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        wrong(path, f"is {shown(value)}", f"write a whole number from {least} on")
    return value


def checked(check: Callable[[object], _T], value: object, path: str) -> _T:
    """Return what a check returns, and name ``path`` where it refuses.

    Raises:
        InvalidInput: the check refused the value.
    """
    try:
        return check(value)
    except InvalidInput as error:
        subject = f"{path}: {error.subject}"
        raise InvalidInput(subject, error.problem, error.remedy) from None


def wrong(path: str, problem: str, remedy: str) -> NoReturn:
    """Refuse what is at a path.

    Raises:
        InvalidInput: always.
    """
    raise InvalidInput(path, problem, remedy)


def shown(value: object) -> str:
    """Return a value for a message: its representation, cut where it is long or deep."""
    return _REPR.repr(value)


def described(value: object) -> str:
    """Return what a value is, for a message where it may be an address with a password: texts are not shown."""
    if isinstance(value, str):
        return "a text"
    return f"a list of {len(value)}" if isinstance(value, list) else shown(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        problem = f"key {twice!r} is given twice"
        raise ValueError(problem)
    return result


def _no_constant(text: str) -> NoReturn:
    problem = f"{text} is no number of JSON"
    raise ValueError(problem)
