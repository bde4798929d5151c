"""TensorFlow Serving's messages without the tensorflow package.

The messages come from a serialized ``FileDescriptorSet`` that is laid beside the services at set-up time, and live in
a descriptor pool of our own: importing them costs a tenth of a second instead of several, and they never clash with a
real ``tensorflow`` in the same process.
"""

from __future__ import annotations

import os
import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from google.protobuf import descriptor_pool as pool_module

#: A protobuf message, or a part of one. Its class is made at run time, so it has no static type; what takes or returns
#: one names its kind.
Message = Any
#: The class of such messages.
MessageClass = Any

#: Overrides where the descriptor set is looked for.
PROTOS_VARIABLE = "MODELFLEET_PROTOS"
#: Where role ``host`` lays it, below the interpreter's prefix.
PROTOS_BELOW_PREFIX = Path("share") / "modelfleet" / "tfserving.binpb"


def protos_path() -> Path:
    """Return where the descriptor set is expected for this interpreter."""
    return Path(os.environ.get(PROTOS_VARIABLE) or Path(sys.prefix) / PROTOS_BELOW_PREFIX)


@lru_cache(maxsize=1)
def pool() -> pool_module.DescriptorPool:
    """Return the private descriptor pool that holds every message of the API.

    Raises:
        MissingDependency: protobuf or the descriptor set is not installed.
        InvalidInput: the descriptor set is unreadable.
    """
    try:
        from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, wrappers_pb2
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingDependency("Python library protobuf", "talking to TensorFlow Serving") from error
    path = protos_path()
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingDependency(f"descriptor set {path}", "talking to TensorFlow Serving") from error
    except (OSError, DecodeError) as error:
        raise InvalidInput(
            str(path),
            f"TensorFlow Serving's message descriptors cannot be read ({error})",
            "delete the file and run playbooks/deploy.yml: its role host lays it again",
        ) from error
    result = descriptor_pool.DescriptorPool()
    present = {file.name for file in files.file}
    for well_known in (any_pb2, wrappers_pb2):
        if well_known.DESCRIPTOR.name not in present:
            result.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
    for file in files.file:
        result.AddSerializedFile(file.SerializeToString())
    return result


@cache
def message(name: str) -> MessageClass:
    """Return the message class of a full name, for example ``tensorflow.serving.PredictRequest``.

    Raises:
        KeyError: no such message in the descriptor set.
    """
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))
