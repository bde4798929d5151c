"""The command ``modelfleet``: one word, then what that word's own module takes."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet.errors import ModelfleetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Exit status of an expected failure; argparse uses the same for a wrong command line.
_FAILED = 2


@dataclass(frozen=True, kw_only=True)
class Command:
    """One sub-command.

    Attributes:
        module: Where it lives, relative to this package; imported only when it is asked for.
        function: Takes the remaining arguments untouched and returns the exit status.
        help: One line.
    """

    module: str
    function: str
    help: str


COMMANDS: dict[str, Command] = {
    "model-server": Command(
        module=".model_server.main",
        function="main",
        help="serve models as tensorflow_model_server does (a stand-in); takes that program's flags",
    ),
    "puller": Command(
        module=".puller.main",
        function="main",
        help="keep this node's models complete on its disk, and answer on port 8001",
    ),
    "health": Command(
        module=".common.health",
        function="main",
        help="tell whether a service of this machine is well, as a healthcheck needs it",
    ),
    "predict": Command(
        module=".predict",
        function="main",
        help="send one Predict request over gRPC and print the answer",
    ),
    "protos": Command(
        module=".cli",
        function="protos",
        help="write the message descriptors of TensorFlow Serving's API to a file",
    ),
}


def protos(arguments: Sequence[str]) -> int:
    """Write the descriptor set, and say whether it changed.

    Raises:
        InvalidInput: a package is missing, or the file cannot be written.
    """
    parser = argparse.ArgumentParser(prog="modelfleet protos", description=COMMANDS["protos"].help)
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="the file to write")
    options = parser.parse_args(arguments)
    from .protos import write  # noqa: PLC0415  (needs protobuf, which the other commands may do without)

    print("written" if write(options.output) else "unchanged")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelfleet",
        description="Deploy and operate a fleet of TensorFlow Serving servers.",
        epilog="Commands:\n" + "\n".join(f"  {name:14}{command.help}" for name, command in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do; `COMMAND --help` tells more")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = _parser().parse_args(given[:1]).command
    command = COMMANDS[name]
    run: Callable[[Sequence[str]], int] = getattr(
        importlib.import_module(command.module, __package__), command.function
    )
    try:
        return run(given[1:])
    except ModelfleetError as error:
        print(f"modelfleet {name}: {error.one_line()}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return 130
