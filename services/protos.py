"""Make the descriptor set of TensorFlow Serving's API from the installed Python packages.

The packages ``tensorflow`` and ``tensorflow_serving`` are read as text, never imported: every ``*_pb2.py`` holds its
serialized descriptor as one bytes literal.
"""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

from google.protobuf import descriptor_pb2
from modelfleet.errors import InvalidInput

#: The files whose messages are used; what they import follows by itself.
ROOTS = (
    "tensorflow_serving/apis/get_model_metadata.proto",
    "tensorflow_serving/apis/get_model_status.proto",
    "tensorflow_serving/apis/model_service.proto",
    "tensorflow_serving/apis/prediction_log.proto",
    "tensorflow_serving/apis/prediction_service.proto",
    "tensorflow_serving/config/model_server_config.proto",
    "tensorflow_serving/config/platform_config.proto",
    "tensorflow/core/example/example.proto",
    "tensorflow/core/protobuf/config.proto",
    "tensorflow/core/protobuf/saved_model.proto",
)


def _module_file(site: Path, proto: str) -> Path:
    """Return the generated module of a proto file; TensorFlow's wheel keeps those of XLA inside its own package."""
    if proto.startswith("google/protobuf/"):
        site = Path(sysconfig.get_path("purelib"))
    elif proto.startswith("xla/"):
        site = site / "tensorflow" / "compiler"
    return site / (proto.removesuffix(".proto") + "_pb2.py")


def _serialized(path: Path) -> bytes:
    """Return the descriptor literal of a generated module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, bytes)
        ):
            return node.args[0].value
    raise InvalidInput(str(path), "holds no serialized descriptor", "install the pinned tensorflow-serving-api")


def build(site: Path | None = None) -> bytes:
    """Return the serialized ``FileDescriptorSet``, each file after those it imports.

    Args:
        site: The directory that holds the packages; the interpreter's own by default.

    Raises:
        InvalidInput: a package is missing or not of the expected shape.
    """
    site = site or Path(sysconfig.get_path("purelib"))
    result = descriptor_pb2.FileDescriptorSet()
    done: set[str] = set()

    def add(proto: str) -> None:
        if proto in done:
            return
        done.add(proto)
        path = _module_file(site, proto)
        if not path.is_file():
            raise InvalidInput(str(path), "is missing", "install tensorflow-cpu and tensorflow-serving-api")
        file = descriptor_pb2.FileDescriptorProto.FromString(_serialized(path))
        for dependency in file.dependency:
            add(dependency)
        result.file.append(file)

    for root in ROOTS:
        add(root)
    return result.SerializeToString(deterministic=True)


def write(output: Path, site: Path | None = None) -> bool:
    """Write the descriptor set where it differs; return whether it did.

    Raises:
        InvalidInput: a package is missing, or ``output`` cannot be written.
    """
    data = build(site)
    try:
        if output.is_file() and output.read_bytes() == data:
            return False
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_name(output.name + ".partial")
        partial.write_bytes(data)
        partial.replace(output)
    except OSError as error:
        raise InvalidInput(str(output), f"cannot be written ({error.strerror})", "choose a writable path") from error
    return True
