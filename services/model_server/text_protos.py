"""The server's configuration files: text protos, read as ``tensorflow_model_server`` reads them.

Messages that the API's descriptor set holds come from there; those that no Python package carries (monitoring, TLS,
batching) are described here.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from modelfleet.adapters import protos

from .rpc_status import Code, StatusError

_Field = descriptor_pb2.FieldDescriptorProto
_KINDS = {"bool": _Field.TYPE_BOOL, "int64": _Field.TYPE_INT64, "string": _Field.TYPE_STRING}
_INT64_VALUE = "google.protobuf.Int64Value"

#: Messages by name, and their fields: name, number, type (a ``*`` behind it: repeated).
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "PrometheusConfig": (("enable", 1, "bool"), ("path", 2, "string")),
    "MonitoringConfig": (("prometheus_config", 1, "tensorflow.serving.PrometheusConfig"),),
    "SSLConfig": (
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, "bool"),
    ),
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64_VALUE),
        ("batch_timeout_micros", 2, _INT64_VALUE),
        ("max_enqueued_batches", 3, _INT64_VALUE),
        ("num_batch_threads", 4, _INT64_VALUE),
        ("thread_pool_name", 5, "google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, "int64*"),
        ("pad_variable_length_inputs", 7, "bool"),
        ("enable_large_batch_splitting", 8, "google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _INT64_VALUE),
    ),
    "ThreadPoolFactoryConfig": (("thread_pool_factory_config", 1, "google.protobuf.Any"),),
}


@lru_cache(maxsize=1)
def _pool() -> descriptor_pool.DescriptorPool:
    """Return the pool of the messages described in this module."""
    file = descriptor_pb2.FileDescriptorProto(
        name="modelfleet/model_server_files.proto", package="tensorflow.serving", syntax="proto3"
    )
    pool = descriptor_pool.DescriptorPool()
    for well_known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
        file.dependency.append(well_known.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, written in fields:
            # The mark is part of the table's notation.
            kind = written.removesuffix("*")
            field = message.field.add(
                name=field_name,
                number=number,
                label=_Field.LABEL_REPEATED if written.endswith("*") else _Field.LABEL_OPTIONAL,
            )
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{kind}"
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def message_class(name: str) -> protos.MessageClass:
    """Return the class of a configuration message by its full name, for example ``tensorflow.serving.SSLConfig``."""
    if name.removeprefix("tensorflow.serving.") in _MESSAGES:
        return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))
    return protos.message(name)


def read(path: str, name: str) -> protos.Message:
    """Return the message of type ``name`` that a text file holds.

    What is wrong with the text goes to stderr, because the error itself only names the file.

    Raises:
        StatusError: NOT_FOUND for a missing file; PERMISSION_DENIED; INVALID_ARGUMENT for one that is empty or holds
            something else.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise StatusError(Code.NOT_FOUND, f"{path}; No such file or directory") from None
    except PermissionError:
        raise StatusError(Code.PERMISSION_DENIED, f"{path}; Permission denied") from None
    except OSError as error:
        raise StatusError(Code.INVALID_ARGUMENT, f"{path}; {error.strerror}") from error
    if not data:
        # An empty file cannot be mapped into memory, so it is an error and not an empty configuration.
        raise StatusError(Code.INVALID_ARGUMENT, f"{path}; Invalid argument")
    message = message_class(name)()
    try:
        text_format.Parse(data.decode("utf-8"), message, descriptor_pool=message.DESCRIPTOR.file.pool)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        sys.stderr.write(f"Error parsing text-format {name}: {error}\n")
        raise StatusError(Code.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'") from error
    return message
