"""How services read their command line and environment: flags with hyphens, every problem told at once."""

from __future__ import annotations

import argparse
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfleet.errors import InvalidInput, ModelfleetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ONE_DASH = re.compile(r"-[a-z][a-z0-9-]+(=.*)?", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """A parser whose flags are written in full, with one dash or with two."""

    def __init__(self, program: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the value of every flag; an unknown flag ends the program with its usage and status 2."""
        return self.parse_args([f"-{given}" if _ONE_DASH.fullmatch(given) else given for given in arguments])


class SettingsRefused(Exception):
    """A program does not start with what it was given.

    Attributes:
        problems: Every one of them.
    """

    def __init__(self, problems: Sequence[ModelfleetError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.one_line() for problem in problems))


class Problems:
    """Collects what is wrong with settings, so that a person sees all of it at once."""

    def __init__(self) -> None:
        self._found: list[ModelfleetError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Remember the problem that ends this block, and go on behind it."""
        try:
            yield
        except ModelfleetError as problem:
            self._found.append(problem)

    def refuse(self) -> None:
        """Raise what was collected.

        Raises:
            SettingsRefused: there is a problem.
        """
        if self._found:
            raise SettingsRefused(self._found)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One setting.

    Attributes:
        name: With two dashes.
        metavar: What stands for its value in the help; empty for a switch, which takes none.
        meaning: One line.
        read: Returns the value of a text, given also what to name in an error.
        default: The text that holds where nothing is said; empty leaves the value empty.
        variable: Environment variable that holds where the flag is not given; empty for none.
        required: What to do when nothing says it; empty for a setting that may be missing.
    """

    name: str
    meaning: str
    metavar: str = ""
    read: Callable[[str, str], Any] = lambda text, _subject: text
    default: str = ""
    variable: str = ""
    required: str = ""

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def default_shown(self) -> str:
        """The default as people read it; empty where there is none."""
        return ", else ".join(part for part in (self.variable and f"${self.variable}", self.default) if part)

    def value(self, given: str | None, environment: Mapping[str, str]) -> object:
        """Return the value, from the command line before the environment before the default.

        Raises:
            InvalidInput: it is missing, or not acceptable.
        """
        subject, text = self.name, given
        if text is None and self.variable and environment.get(self.variable):
            subject, text = f"${self.variable}", environment[self.variable]
        if text is None:
            text = self.default
        if text:
            return self.read(text, subject)
        if self.required:
            raise InvalidInput(f"${self.variable}" if self.variable else self.name, "is not set", self.required)
        return ""


@dataclass(frozen=True)
class Values:
    """The settings that a program was given.

    Attributes:
        found: Value of each flag by its key, without those that are missing or wrong.
        said: Keys of the flags on the command line; every switch is among them.
    """

    found: Mapping[str, Any]
    said: frozenset[str]


def add_flags(parser: Parser, groups: Mapping[str, Sequence[Flag]]) -> None:
    """Add flags, group by group."""
    for title, flags in groups.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            shown = f"{flag.meaning} (default: {flag.default_shown})" if flag.default_shown else flag.meaning
            if flag.metavar:
                group.add_argument(flag.name, metavar=flag.metavar, help=shown.replace("%", "%%"))
            else:
                group.add_argument(flag.name, action="store_true", help=shown.replace("%", "%%"))


def read_flags(
    parser: Parser,
    groups: Mapping[str, Sequence[Flag]],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    problems: Problems,
) -> Values:
    """Return the value of every flag; one that is missing or wrong is left out and becomes a problem."""
    given = parser.read(arguments)
    found: dict[str, Any] = {}
    said = set()
    for flags in groups.values():
        for flag in flags:
            told = getattr(given, flag.key)
            if told is not None:
                said.add(flag.key)
            with problems.collected():
                found[flag.key] = flag.value(told, environment) if flag.metavar else told
    return Values(found, frozenset(said))
