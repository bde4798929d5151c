"""The program: a stand-in for ``tensorflow_model_server`` with its flags, protocols, texts and exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from modelfleet.errors import ModelfleetError

from . import flags as command_line
from .console import say, start_failed
from .rpc_status import StatusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .flags import Flags

_PROGRAM = "modelfleet model-server"
_BANNER = "This is modelfleet's stand-in for tensorflow_model_server, not TensorFlow Serving itself"
#: What the real server ends with where it does not start.
_FAILED = 255
#: Requests that are in progress when the server is told to end may take this long, in seconds.
_GRACE_S = 0.5

log = logging.getLogger("modelfleet.model_server")


def _installed(*packages: str) -> str:
    """Return the version of the first of these packages that is installed."""
    import importlib.metadata  # noqa: PLC0415  (slow to import, and a server that starts does not need it)

    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def _say_version() -> None:
    say(f"TensorFlow ModelServer: modelfleet stand-in {_installed('modelfleet')}")
    say(f"TensorFlow Library: {_installed('tensorflow-cpu', 'tensorflow')}")


def _quiet_libraries() -> None:
    """Keep the libraries' own notes out of the log; set before they are loaded, and never against the operator."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _serve(flags: Flags) -> int:
    """Run the server until it is told to end; return its exit status."""
    ending = threading.Event()
    started = False

    def end(_number: int, _frame: object) -> None:
        if not started:
            # Nothing is served yet, and what loads cannot be interrupted otherwise.
            os._exit(0)
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        from . import assembly  # noqa: PLC0415  (--help and --version need no third-party library)

        api = assembly.start_core(flags)
        server = assembly.start_grpc(flags, api)
    except (StatusError, ModelfleetError) as error:
        start_failed(error)
        return _FAILED
    rest = assembly.start_rest(flags, api) if flags.rest_api_port != 0 else None
    started = True
    ending.wait()
    log.info("Told to end")
    stopped = server.stop(grace=_GRACE_S)
    if rest is not None:
        rest.stop()
    stopped.wait(2 * _GRACE_S)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the program with a command line (without its name) and return its exit status."""
    parsed = command_line.parse(arguments)
    if parsed.wants_usage:
        for error in parsed.errors:
            sys.stderr.write(error + "\n")
        say(command_line.usage(_PROGRAM))
        return _FAILED
    if parsed.flags.version:
        _say_version()
        return 0
    _quiet_libraries()
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    log.info("%s", _BANNER)
    if parsed.leftover:
        say(f"unknown argument: {parsed.leftover[0]}\n{command_line.usage(_PROGRAM)}")
    for warning in command_line.warnings(parsed.flags):
        log.warning("%s", warning)
    status = _serve(parsed.flags)
    # A load or a reload that waits for ever must not keep the process: no joining of threads, no destructors.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
