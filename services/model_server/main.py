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
from .rpc_status import StatusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from .api import ModelServerApi
    from .flags import Flags
    from .rest_http import HttpServer

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


def _say(text: str) -> None:
    """Write to stdout at once, where callers look for what the real server prints there."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _say_version() -> None:
    _say(f"TensorFlow ModelServer: modelfleet stand-in {_installed('modelfleet')}")
    _say(f"TensorFlow Library: {_installed('tensorflow-cpu', 'tensorflow')}")


def _quiet_libraries() -> None:
    """Keep the libraries' own notes out of the log; set before they are loaded, and never against the operator."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _start_failed(error: StatusError | ModelfleetError) -> None:
    text = str(error) if isinstance(error, StatusError) else error.one_line()
    _say(f"Failed to start server. Error: {text}")


def _start_core(flags: Flags) -> ModelServerApi:
    """Check everything, load the first models and return what answers calls; the ports are closed until then."""
    # Imported here so that --help and --version need no third-party library.
    from . import startup, text_protos  # noqa: PLC0415
    from .api import ModelServerApi  # noqa: PLC0415
    from .grpc_server import credentials  # noqa: PLC0415
    from .lifecycle.config_file_poller import ConfigFilePoller  # noqa: PLC0415
    from .lifecycle.server_core import ServerCore  # noqa: PLC0415
    from .metrics import ServerMetrics  # noqa: PLC0415
    from .runtime.c_api import c_api  # noqa: PLC0415
    from .runtime.saved_model import TensorFlowLoader  # noqa: PLC0415

    startup.check_conflicts(flags)
    startup.channel_arguments(flags.grpc_channel_arguments)
    credentials(flags)
    config = startup.model_server_config(flags)
    startup.check_other_files(flags)
    startup.log_mixed_precision(flags, log)
    # Without TensorFlow no model can load: better said now than once for each attempt.
    c_api()
    load = startup.batched(flags, TensorFlowLoader(startup.runtime_options(flags)))
    core = ServerCore(startup.core_options(flags), load, log=log)
    core.start(config)
    interval = flags.model_config_file_poll_wait_seconds
    if flags.model_config_file and interval > 0:
        ConfigFilePoller(
            lambda: text_protos.read(flags.model_config_file, "tensorflow.serving.ModelServerConfig"),
            core,
            interval_s=interval,
            log=log,
        ).start()
    return ModelServerApi(core, ServerMetrics(), check_method_names=flags.enable_signature_method_name_check)


def _start_rest(flags: Flags, api: ModelServerApi) -> HttpServer | None:
    """Start the HTTP API; without it the server runs on, as the real one does."""
    from . import startup  # noqa: PLC0415
    from .rest_handler import RestApi  # noqa: PLC0415
    from .rest_http import HttpServer, listen  # noqa: PLC0415

    if flags.rest_api_port == flags.port:
        log.error(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API."
            " Skipped exporting HTTP/REST API."
        )
        return None
    try:
        metrics_path = startup.metrics_path(flags)
    except StatusError as error:
        _start_failed(error)
        return None
    try:
        listener = listen(flags.rest_api_port)
    except (OSError, OverflowError) as error:
        log.error("Failed to start HTTP Server at localhost:%d (%s)", flags.rest_api_port, error)  # noqa: TRY400
        return None
    timeout_s = flags.rest_api_timeout_in_ms / 1000 if flags.rest_api_timeout_in_ms > 0 else None
    rest = RestApi(api, timeout_s=timeout_s, cors=flags.rest_api_enable_cors_support, metrics_path=metrics_path)
    server = HttpServer(listener, flags.rest_api_num_threads, rest.handle)
    server.start()
    log.info("Exporting HTTP/REST API at:localhost:%d ...", server.port)
    return server


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
        api = _start_core(flags)
        from .grpc_server import start as start_grpc  # noqa: PLC0415

        server: grpc.Server = start_grpc(flags, api)
    except (StatusError, ModelfleetError) as error:
        _start_failed(error)
        return _FAILED
    rest = _start_rest(flags, api) if flags.rest_api_port != 0 else None
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
        _say(command_line.usage(_PROGRAM))
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
        _say(f"unknown argument: {parsed.leftover[0]}\n{command_line.usage(_PROGRAM)}")
    for warning in command_line.warnings(parsed.flags):
        log.warning("%s", warning)
    status = _serve(parsed.flags)
    # A load or a reload that waits for ever must not keep the process: no joining of threads, no destructors.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
