"""The command line of ``tensorflow_model_server``: its flags, its defaults and its way of reading them.

Only ``--name=value`` is a flag (booleans also ``--name``), the last one wins, and what is not recognised does not stop
the server: a space instead of ``=`` silently leaves the default in force, exactly as operators meet it in production.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)
_INT64_DIGITS = 19
_INTEGER = re.compile(r"[ \t\n\v\f\r]*(?P<sign>[+-]?)(?=[0-9])0*(?P<digits>[0-9]*)")


def _cpus() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Flag:
    """One flag: its name, the kind of its value, its default, and what it means here.

    Attributes:
        name: Without the leading dashes.
        kind: ``int32``, ``int64``, ``float``, ``bool`` or ``string``.
        default: The value without the flag.
        meaning: One line for the usage text.
        ignored: What the stand-in does instead of honouring the flag; empty for a flag that is honoured.
    """

    name: str
    kind: str
    default: int | float | bool | str
    meaning: str
    ignored: str = ""


_UNBATCHED = "requests are run one by one, unbatched"
_NO_GPU = "this server runs on CPUs only"

FLAGS: tuple[Flag, ...] = (
    Flag("port", "int32", 8500, "TCP port of the gRPC API on 0.0.0.0; 0 for none"),
    Flag("grpc_socket_path", "string", "", "path of a UNIX socket for the gRPC API"),
    Flag("rest_api_port", "int32", 0, "port of the HTTP API; 0 for none"),
    Flag("rest_api_num_threads", "int32", 4 * _cpus(), "threads that answer HTTP requests"),
    Flag("rest_api_timeout_in_ms", "int32", 30000, "deadline of a model run asked for over HTTP; 0 for none"),
    Flag("rest_api_enable_cors_support", "bool", default=False, meaning="send CORS headers with every HTTP reply"),
    Flag("grpc_max_threads", "int32", 4 * _cpus(), "threads that answer gRPC inference requests"),
    Flag("grpc_channel_arguments", "string", "", "key=value,key=value for the gRPC server"),
    Flag("enable_grpc_healthcheck_service", "bool", default=False, meaning="serve grpc.health.v1.Health"),
    Flag("use_alts_credentials", "bool", default=False, meaning="use Google ALTS for gRPC"),
    Flag("ssl_config_file", "string", "", "text file of SSLConfig: TLS for gRPC"),
    Flag("enable_profiler", "bool", default=True, meaning="serve the profiler", ignored="there is no profiler service"),
    Flag("model_name", "string", "default", "name of the single model; not used with model_config_file"),
    Flag("model_base_path", "string", "", "directory of the single model; not used with model_config_file"),
    Flag("model_config_file", "string", "", "text file of ModelServerConfig"),
    Flag("model_config_file_poll_wait_seconds", "int32", 0, "period for re-reading model_config_file; 0 for once"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        "bool",
        default=False,
        meaning="allow a new label on a version that is not available yet",
    ),
    Flag("file_system_poll_wait_seconds", "int32", 1, "period of looking for versions; 0 for once, negative for never"),
    Flag("num_load_threads", "int32", 0, "threads that load models; 0 to load on the manager's thread"),
    Flag("num_unload_threads", "int32", 0, "threads that unload models; 0 to unload on the manager's thread"),
    Flag("max_num_load_retries", "int32", 5, "further attempts after a failed load"),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "pause between attempts to load; negative for none"),
    Flag(
        "flush_filesystem_caches",
        "bool",
        default=True,
        meaning="flush TensorFlow's file system caches after loading",
        ignored="only local file systems are read, which have no such caches",
    ),
    Flag("enable_batching", "bool", default=False, meaning="put requests together into batches", ignored=_UNBATCHED),
    Flag(
        "batching_parameters_file", "string", "", "text file of BatchingParameters", f"it is checked, but {_UNBATCHED}"
    ),
    Flag(
        "enable_per_model_batching_parameters",
        "bool",
        default=False,
        meaning="read batching parameters from each version's directory",
        ignored=f"they are checked, but {_UNBATCHED}",
    ),
    Flag(
        "tensorflow_session_parallelism", "int64", 0, "threads of a session, within and between operations; 0 for auto"
    ),
    Flag("tensorflow_intra_op_parallelism", "int64", 0, "threads within an operation; 0 for auto"),
    Flag("tensorflow_inter_op_parallelism", "int64", 0, "threads between operations; 0 for auto"),
    Flag("tensorflow_session_config_file", "string", "", "text file of ConfigProto"),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, "share of GPU memory to take", _NO_GPU),
    Flag(
        "platform_config_file",
        "string",
        "",
        "text file of PlatformConfigMap",
        "it is checked, but models run with the platform's defaults",
    ),
    Flag("saved_model_tags", "string", "serve", "comma-separated tags of the meta graph to serve"),
    Flag("enable_model_warmup", "bool", default=True, meaning="replay a model's recorded warm-up requests"),
    Flag("num_request_iterations_for_warmup", "int32", 0, "how often each warm-up request is run; 0 for once"),
    Flag("monitoring_config_file", "string", "", "text file of MonitoringConfig"),
    Flag(
        "remove_unused_fields_from_bundle_metagraph",
        "bool",
        default=True,
        meaning="keep only the signatures of a loaded meta graph",
        ignored="only the signatures are kept in any case",
    ),
    Flag("prefer_tflite_model", "bool", default=False, meaning="serve model.tflite where a version has one"),
    Flag(
        "num_tflite_pools", "int32", _cpus(), "interpreter pools of a TFLite model", "there is one pool for each model"
    ),
    Flag(
        "num_tflite_interpreters_per_pool",
        "int32",
        1,
        "interpreters of a TFLite pool",
        "there is one interpreter for each model",
    ),
    Flag(
        "enable_signature_method_name_check", "bool", default=False, meaning="insist on the method_name of signatures"
    ),
    Flag(
        "xla_cpu_compilation_enabled",
        "bool",
        default=False,
        meaning="allow XLA on CPUs",
        ignored="models run without XLA",
    ),
    Flag("xla_gpu_compilation_enabled", "bool", default=False, meaning="allow XLA on GPUs", ignored=_NO_GPU),
    Flag(
        "thread_pool_factory_config_file",
        "string",
        "",
        "text file of ThreadPoolFactoryConfig",
        "TensorFlow's own thread pools are used",
    ),
    Flag("mixed_precision", "string", "", "bfloat16 for mixed precision", "models run in their own precision"),
    Flag("skip_initialize_tpu", "bool", default=False, meaning="do not initialise the TPU", ignored="there is no TPU"),
    Flag(
        "enable_serialization_as_tensor_content",
        "bool",
        default=False,
        meaning="answer Predict with tensor_content instead of typed fields",
    ),
    Flag("version", "bool", default=False, meaning="print the version and end"),
)


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The value of every flag; the names are those of the command line."""

    port: int
    grpc_socket_path: str
    rest_api_port: int
    rest_api_num_threads: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    grpc_max_threads: int
    grpc_channel_arguments: str
    enable_grpc_healthcheck_service: bool
    use_alts_credentials: bool
    ssl_config_file: str
    enable_profiler: bool
    model_name: str
    model_base_path: str
    model_config_file: str
    model_config_file_poll_wait_seconds: int
    allow_version_labels_for_unavailable_models: bool
    file_system_poll_wait_seconds: int
    num_load_threads: int
    num_unload_threads: int
    max_num_load_retries: int
    load_retry_interval_micros: int
    flush_filesystem_caches: bool
    enable_batching: bool
    batching_parameters_file: str
    enable_per_model_batching_parameters: bool
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    tensorflow_session_config_file: str
    per_process_gpu_memory_fraction: float
    platform_config_file: str
    saved_model_tags: str
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    monitoring_config_file: str
    remove_unused_fields_from_bundle_metagraph: bool
    prefer_tflite_model: bool
    num_tflite_pools: int
    num_tflite_interpreters_per_pool: int
    enable_signature_method_name_check: bool
    xla_cpu_compilation_enabled: bool
    xla_gpu_compilation_enabled: bool
    thread_pool_factory_config_file: str
    mixed_precision: str
    skip_initialize_tpu: bool
    enable_serialization_as_tensor_content: bool
    version: bool


@dataclass(frozen=True, kw_only=True)
class ParsedArguments:
    """What a command line says.

    Attributes:
        flags: The value of every flag.
        leftover: Arguments that are no flag, in order.
        errors: One line for each recognised flag whose value cannot be read.
    """

    flags: Flags
    leftover: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def wants_usage(self) -> bool:
        """Return whether the server prints its usage and ends instead of starting."""
        return bool(self.errors) or self.leftover[:1] == ("--help",)


def _integer(text: str, allowed: range) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None or len(match["digits"]) > _INT64_DIGITS:
        return None
    value = int(f"{match['sign']}{match['digits'] or 0}")
    return value if value in allowed else None


def _value(kind: str, text: str) -> int | float | bool | str | None:
    """Return the value that a flag's text stands for; None for no value of that kind."""
    if kind == "string":
        return text
    if kind == "bool":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind == "float":
        try:
            return float(text)
        except ValueError:
            return None
    return _integer(text, _INT32 if kind == "int32" else _INT64)


def parse(arguments: Sequence[str]) -> ParsedArguments:
    """Read a command line (without the program's name) as the server reads it."""
    known: Mapping[str, Flag] = {flag.name: flag for flag in FLAGS}
    values: dict[str, Any] = {flag.name: flag.default for flag in FLAGS}
    leftover: list[str] = []
    errors: list[str] = []
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = known.get(name) if argument.startswith("--") else None
        if flag is None or (not equals and flag.kind != "bool"):
            leftover.append(argument)
            continue
        value = _value(flag.kind, text) if equals else True
        if value is None:
            errors.append(f"--{name}: {text!r} is not of type {flag.kind}")
        else:
            values[name] = value
    return ParsedArguments(flags=Flags(**values), leftover=tuple(leftover), errors=tuple(errors))


def usage(program: str) -> str:
    """Return the text that explains every flag."""
    lines = [
        f"usage: {program}",
        "modelfleet's stand-in for tensorflow_model_server: the same flags and protocols, for tests and small fleets.",
        "Flags:",
    ]
    for flag in FLAGS:
        default = f'"{flag.default}"' if flag.kind == "string" else str(flag.default).lower()
        note = f" (accepted without effect: {flag.ignored})" if flag.ignored else ""
        lines.append(f"\t--{flag.name}={default}\t{flag.kind}\t{flag.meaning}{note}")
    return "\n".join(lines) + "\n"


def warnings(flags: Flags) -> list[str]:
    """Return one line for each flag that was set and cannot be honoured."""
    return [
        f"--{flag.name} is accepted without effect: {flag.ignored}"
        for flag in FLAGS
        if flag.ignored and getattr(flags, flag.name) != flag.default
    ]
