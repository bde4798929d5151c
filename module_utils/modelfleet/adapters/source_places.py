"""What the source of one model leads to: a directory of versions, the files of one version, or a single file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Union

from ..errors import InvalidInput, ModelfleetError, SourceNotFound
from .source_numbers import number_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from contextlib import AbstractContextManager

    from .repository import RemoteObject, Source


class Version(Protocol):
    """One version at a source; ``model`` and ``version`` are what the node calls it, for messages."""

    @property
    def origin(self) -> str:
        """Its own URI, as receipts have it."""

    def objects(self, model: str, version: int, *, fresh: bool = False) -> tuple[RemoteObject, ...]:
        """Return its files; see ``Repository.objects``."""

    def open(
        self, model: str, version: int, obj: RemoteObject, start: int = 0, length: int | None = None
    ) -> AbstractContextManager[Source]:
        """Return the content of one of its files; see ``Repository.open``."""


#: What is at a source, by number, or why that cannot be told.
Found = Union["Mapping[int, Version]", ModelfleetError]


class Place(Protocol):
    """The source of one model."""

    @property
    def origin(self) -> str:
        """Its URI, without what is secret, and without a slash at its end."""

    @property
    def host(self) -> str:
        """What is asked about it: sources of one host fail together."""

    def versions(self, model: str) -> Mapping[int, Version]:
        """Return what is there, by number.

        Raises:
            SourceNotFound: nothing is there.
            SourceForbidden: it may not be read.
            SourceUnavailable: it does not answer.
            InvalidInput: what is there cannot be the versions of one model.
        """


def divided(model: str, origin: str, folders: Iterable[str], models: Collection[str]) -> dict[int, str]:
    """Return the directories of versions by number; nothing where a source is not divided into versions.

    Args:
        model: The model's name.
        origin: Its source, for messages.
        folders: The directories whose names mean numbers.
        models: Which of them hold a SavedModel themselves; the empty name stands for the source.

    Raises:
        InvalidInput: two directories mean the same number, or versions lie below a SavedModel.
    """
    names = sorted(folders)
    if "" in models:
        if both := [name for name in names if name in models]:
            raise InvalidInput(
                f"model {model}",
                f"has a SavedModel at {origin}, and another one below it in {both[0]}",
                "keep one of them, or name the directory of the version",
            )
        return {}
    numbers: dict[int, str] = {}
    for name in names:
        other = numbers.setdefault(number_of(name), name)
        if other != name:
            raise InvalidInput(
                f"model {model}", f"has both {other} and {name} at {origin}, the same number", "remove one of them"
            )
    return numbers


def nothing(model: str, origin: str) -> ModelfleetError:
    """Return the error for a source where nothing is."""
    return SourceNotFound(f"model {model}", f"has nothing at {origin}", "publish it, or correct its source")
