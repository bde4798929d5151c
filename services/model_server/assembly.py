"""Puts the server together and starts its parts.

This module imports all that the server is made of, third-party libraries included.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from . import startup, text_protos
from .api import ModelServerApi
from .console import start_failed
from .grpc_server import credentials
from .grpc_server import start as start_grpc
from .lifecycle.config_file_poller import ConfigFilePoller
from .lifecycle.server_core import ServerCore
from .metrics import ServerMetrics
from .rest_handler import RestApi
from .rest_http import HttpServer, listen
from .rpc_status import StatusError
from .runtime.c_api import c_api
from .runtime.saved_model import TensorFlowLoader

if TYPE_CHECKING:
    from .flags import Flags

__all__ = ["start_core", "start_grpc", "start_rest"]

log = logging.getLogger("modelfleet.model_server")


def start_core(flags: Flags) -> ModelServerApi:
    """Check everything, load the first models and return what answers calls; the ports are closed until then.

    Raises:
        StatusError: the flags or the files that they name are refused, or the models cannot be loaded.
        ModelfleetError: something that the server needs is not installed.
    """
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


def start_rest(flags: Flags, api: ModelServerApi) -> HttpServer | None:
    """Start the HTTP API; without it the server runs on, as the real one does."""
    if flags.rest_api_port == flags.port:
        log.error(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API."
            " Skipped exporting HTTP/REST API."
        )
        return None
    try:
        metrics_path = startup.metrics_path(flags)
    except StatusError as error:
        start_failed(error)
        return None
    try:
        listener = listen(flags.rest_api_port)
    except (OSError, OverflowError) as error:
        log.error("Failed to start HTTP Server at localhost:%d (%s)", flags.rest_api_port, error)  # noqa: TRY400  (a taken port needs no traceback)
        return None
    timeout_s = flags.rest_api_timeout_in_ms / 1000 if flags.rest_api_timeout_in_ms > 0 else None
    rest = RestApi(api, timeout_s=timeout_s, cors=flags.rest_api_enable_cors_support, metrics_path=metrics_path)
    server = HttpServer(listener, flags.rest_api_num_threads, rest.handle)
    server.start()
    log.info("Exporting HTTP/REST API at:localhost:%d ...", server.port)
    return server
