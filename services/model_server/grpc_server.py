"""The gRPC server: its ports, its credentials and its threads."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from . import text_protos
from .grpc_services import handlers, health_handler
from .rpc_status import Code, StatusError
from .startup import channel_arguments

if TYPE_CHECKING:
    from .api import ModelServerApi
    from .flags import Flags

_MAX_MESSAGE_BYTES = 2**31 - 1

log = logging.getLogger(__name__)


def credentials(flags: Flags) -> grpc.ServerCredentials | None:
    """Return what secures the ports; None for plain text.

    Raises:
        StatusError: the TLS file cannot be read, or holds no usable key and certificate.
    """
    if flags.use_alts_credentials:
        return grpc.alts_server_credentials()
    if not flags.ssl_config_file:
        return None
    config = text_protos.read(flags.ssl_config_file, "tensorflow.serving.SSLConfig")
    if not config.server_key or not config.server_cert:
        raise StatusError(
            Code.INVALID_ARGUMENT, f"{flags.ssl_config_file}: server_key and server_cert must hold PEM text"
        )
    if config.client_verify and not config.custom_ca:
        raise StatusError(Code.INVALID_ARGUMENT, f"{flags.ssl_config_file}: client_verify needs custom_ca")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def start(flags: Flags, api: ModelServerApi) -> grpc.Server:
    """Return the running server.

    Unlike the real server it never shares a TCP port with another process, unless a channel argument asks for that.

    Raises:
        StatusError: INVALID_ARGUMENT, an argument is wrong or an address cannot be used.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        *channel_arguments(flags.grpc_channel_arguments),
    ]
    secured_by = credentials(flags)
    server = grpc.server(ThreadPoolExecutor(max(1, flags.grpc_max_threads), thread_name_prefix="grpc"), options=options)
    server.add_generic_rpc_handlers(tuple(handlers(api)))
    if flags.enable_grpc_healthcheck_service:
        server.add_generic_rpc_handlers((health_handler(),))
    addresses = [f"0.0.0.0:{flags.port}"] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    for address in addresses:
        try:
            if secured_by is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, secured_by)
        except RuntimeError as error:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Failed to BuildAndStart gRPC server: {address} cannot be used ({error})"
            ) from error
    server.start()
    for address in addresses:
        log.info("Running gRPC ModelServer at %s ...", address)
    return server
