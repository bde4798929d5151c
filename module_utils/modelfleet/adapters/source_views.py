"""What of a source counts on a node, and under which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInput, ModelfleetError, SourceNotFound
from ..names import subject_of
from .source_numbers import number_at, offset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .source_places import Version


@dataclass(frozen=True)
class Look:
    """What the source of a model was seen to be.

    Attributes:
        origin: Its URI, as receipts have it; empty when it is none that can be read.
        versions: What is there, by number; None when that is not known.
        error: Why it could not be asked; None when it could.
    """

    origin: str
    versions: Mapping[int, Version] | None
    error: ModelfleetError | None


@dataclass(frozen=True)
class View:
    """A model as the node sees it: what of its source counts, under the node's numbers."""

    look: Look
    shift: int
    numbers: tuple[int, ...]

    def version(self, model: str, version: int) -> Version:
        """Return a version by the node's number.

        Raises:
            ModelfleetError: the source could not be asked, or does not have it.
        """
        versions, number = self.look.versions, version - self.shift
        if versions is not None and number in versions:
            return versions[number]
        if versions is None and self.look.error:
            raise self.look.error
        there = ", ".join(map(str, sorted(versions or ())))
        raise SourceNotFound(
            subject_of(model, version),
            f"is version {number} of {self.look.origin}, which does not have it (versions there: {there})",
            "publish it, or want another version",
        )


def view(look: Look, wanted: Sequence[int], stored: Mapping[int, str]) -> View:
    """Return what of a source counts, under the node's numbers.

    Args:
        look: The source.
        wanted: The only versions that count; empty where all do.
        stored: Every number that is taken on disk, with the URI that this version came from.
    """
    numbers = tuple(wanted) or tuple(sorted(look.versions or ()))
    if not numbers:
        # Nothing is known of it but what is on disk; without that, a number is made up so that the reason is told.
        numbers = tuple(sorted({number_at(look.origin, origin) for origin in stored.values()} - {0})) or (1,)
    try:
        shift = offset(look.origin, numbers, stored)
    except InvalidInput as error:
        look, shift, numbers = Look(look.origin, None, error), 0, (max(stored),)
    return View(look, shift, tuple(number + shift for number in numbers))
