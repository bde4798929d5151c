"""From flags and configuration files to what the server is built from; every rule that can refuse a start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet.adapters.protos import Message, message

from . import text_protos
from .lifecycle.server_core import CoreOptions
from .rpc_status import Code, StatusError
from .runtime.saved_model import RuntimeOptions

if TYPE_CHECKING:
    import logging

    from .flags import Flags
    from .servable import LoadServable, Servable

_DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
_DEFAULT_MAX_BATCH_SIZE = 1000
_BATCHING_PARAMETERS = "tensorflow.serving.BatchingParameters"
#: Where a version keeps batching parameters of its own.
_VERSION_PARAMETERS = "batching_params.pbtxt"
_INT32 = range(-(2**31), 2**31)


def _refuse(text: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, text)


def check_conflicts(flags: Flags) -> None:
    """Refuse flags that contradict each other.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if flags.port == 0 and not flags.grpc_socket_path:
        raise _refuse("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
    if flags.use_alts_credentials and flags.ssl_config_file:
        raise _refuse("Either use_alts_credentials must be false or ssl_config_file must be empty.")
    if not flags.model_base_path and not flags.model_config_file:
        raise _refuse("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if flags.platform_config_file:
        return
    if flags.batching_parameters_file and not flags.enable_batching:
        raise _refuse(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    if (
        flags.tensorflow_session_parallelism > 0
        and flags.tensorflow_intra_op_parallelism > 0
        and flags.tensorflow_inter_op_parallelism > 0
    ):
        raise _refuse(
            "Either configure server_options.tensorflow_session_parallelism or"
            " (server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism)"
            " separately. You cannot configure all."
        )


def model_server_config(flags: Flags) -> Message:
    """Return the ModelServerConfig of the file, or of the single model that the flags name.

    Raises:
        StatusError: the file cannot be read, or asks for what only a server with a loader of its own can do.
    """
    if not flags.model_config_file:
        config = message("tensorflow.serving.ModelServerConfig")()
        config.model_config_list.config.add(
            name=flags.model_name, base_path=flags.model_base_path, model_platform="tensorflow"
        )
        return config
    config = text_protos.read(flags.model_config_file, "tensorflow.serving.ModelServerConfig")
    if config.WhichOneof("config") == "custom_model_config":
        raise _refuse("ModelServer does not yet support custom model config.")
    return config


def session_config(flags: Flags) -> Message:
    """Return the ConfigProto of every session; the flags have the last word on threads.

    Raises:
        StatusError: the file cannot be read.
    """
    if flags.platform_config_file:
        return message("tensorflow.ConfigProto")()
    if flags.tensorflow_session_config_file:
        config = text_protos.read(flags.tensorflow_session_config_file, "tensorflow.ConfigProto")
    else:
        config = message("tensorflow.ConfigProto")()
    intra, inter = flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism
    if intra <= 0 and inter <= 0:
        intra = inter = flags.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = intra
    config.inter_op_parallelism_threads = inter
    return config


def runtime_options(flags: Flags) -> RuntimeOptions:
    """Return the options of loading and running models.

    Raises:
        StatusError: the session's configuration file cannot be read.
    """
    session = session_config(flags).SerializeToString()
    if flags.platform_config_file:
        # The file replaces the platform's whole set-up, and with it these flags.
        return RuntimeOptions(
            session_config=session,
            enable_serialization_as_tensor_content=flags.enable_serialization_as_tensor_content,
        )
    return RuntimeOptions(
        saved_model_tags=tuple(flags.saved_model_tags.split(",")),
        session_config=session,
        enable_model_warmup=flags.enable_model_warmup,
        num_request_iterations_for_warmup=flags.num_request_iterations_for_warmup,
        prefer_tflite_model=flags.prefer_tflite_model,
        enable_signature_method_name_check=flags.enable_signature_method_name_check,
        enable_serialization_as_tensor_content=flags.enable_serialization_as_tensor_content,
    )


def core_options(flags: Flags) -> CoreOptions:
    """Return the options of the life cycle."""
    return CoreOptions(
        file_system_poll_wait_s=flags.file_system_poll_wait_seconds,
        num_load_threads=flags.num_load_threads,
        num_unload_threads=flags.num_unload_threads,
        max_num_load_retries=flags.max_num_load_retries,
        load_retry_interval_s=flags.load_retry_interval_micros / 1e6,
        allow_version_labels_for_unavailable_models=flags.allow_version_labels_for_unavailable_models,
    )


def channel_arguments(text: str) -> list[tuple[str, int | str]]:
    """Return the gRPC options of ``key=value,key=value``; text after a second ``=`` is dropped.

    A value is a number where it is one of 32 bits, which is all that a gRPC option holds; else it is text.

    Raises:
        StatusError: INVALID_ARGUMENT, an item has no ``=``.
    """
    result: list[tuple[str, int | str]] = []
    for item in text.split(",") if text else []:
        key, equals, rest = item.partition("=")
        if not equals:
            raise _refuse(f"--grpc_channel_arguments: {item!r} is not of the form key=value")
        value = rest.partition("=")[0]
        try:
            number = int(value)
        except ValueError:
            result.append((key, value))
        else:
            result.append((key, number if number in _INT32 else value))
    return result


def metrics_path(flags: Flags) -> str | None:
    """Return where the metrics page is served; None for nowhere.

    Raises:
        StatusError: the file cannot be read.
    """
    if not flags.monitoring_config_file:
        return None
    config = text_protos.read(flags.monitoring_config_file, "tensorflow.serving.MonitoringConfig").prometheus_config
    return (config.path or _DEFAULT_METRICS_PATH) if config.enable else None


def check_other_files(flags: Flags) -> None:
    """Refuse configuration files that could not be read, also those without effect.

    Raises:
        StatusError: a file is missing or holds something else.
    """
    if flags.platform_config_file:
        text_protos.read(flags.platform_config_file, "tensorflow.serving.PlatformConfigMap")
    if flags.thread_pool_factory_config_file:
        text_protos.read(flags.thread_pool_factory_config_file, "tensorflow.serving.ThreadPoolFactoryConfig")


def batched(flags: Flags, load: LoadServable) -> LoadServable:
    """Return a loader that refuses models where the batching parameters would make the real server refuse them.

    The parameters are those of the flags' file, or with ``--enable_per_model_batching_parameters`` those in each
    version's directory; a version that has none is not batched.

    Raises:
        StatusError: the flags' file cannot be read.
    """
    if not flags.enable_batching or flags.platform_config_file:
        return load
    common = (
        text_protos.read(flags.batching_parameters_file, _BATCHING_PARAMETERS)
        if flags.batching_parameters_file
        else None
    )

    def load_checked(name: str, version: int, path: str) -> Servable:
        servable = load(name, version, path)
        try:
            own = flags.enable_per_model_batching_parameters
            _check_batch_sizes(_version_parameters(path) if own else common)
        except StatusError:
            servable.close()
            raise
        return servable

    return load_checked


def _version_parameters(path: str) -> Message | None:
    """Return the BatchingParameters in a version's directory; None where it has none."""
    try:
        return text_protos.read(str(Path(path) / _VERSION_PARAMETERS), _BATCHING_PARAMETERS)
    except StatusError as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise


def _check_batch_sizes(parameters: Message | None) -> None:
    if parameters is None or not parameters.allowed_batch_sizes:
        return
    largest = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else _DEFAULT_MAX_BATCH_SIZE
    last = parameters.allowed_batch_sizes[-1]
    if last != largest:
        raise _refuse(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {last}; expected {largest}"
        )


def log_mixed_precision(flags: Flags, log: logging.Logger) -> None:
    """Warn about a mixed precision that does not exist."""
    if flags.mixed_precision not in {"", "bfloat16"}:
        log.warning("--mixed_precision=%s is unknown; only bfloat16 exists", flags.mixed_precision)
