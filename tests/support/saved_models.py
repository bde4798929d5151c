"""Real SavedModels for tests, written in milliseconds.

Models without variables are written as plain messages and need no TensorFlow. The others are exported by TensorFlow
once a machine, in a process of its own, kept below the temporary directory and copied from there.

Every maker takes the directory that becomes the version (``<base_path>/<number>``), creates it and returns it.
From the command line: ``python tests/support/saved_models.py <kind> <directory> [option=value ...]``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
#: Exports what only TensorFlow can; its content decides whether the exports of an earlier day still count.
_EXPORTS = Path(__file__).with_name("saved_model_exports.py")
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

#: tensorflow.DataType by its name without ``DT_``, lower case.
DTYPES = {
    "float": 1,
    "double": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": 7,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "bfloat16": 14,
    "uint16": 17,
    "complex128": 18,
    "half": 19,
    "uint32": 22,
    "uint64": 23,
}


# ---------------------------------------------------------------------------------------------------------------------
# Models written as messages.


class GraphWriter:
    """A SavedModel of constants and operations, built node by node."""

    def __init__(self) -> None:
        self.meta_graph = message("tensorflow.MetaGraphDef")()
        self.meta_graph.meta_info_def.tags.append("serve")
        self.meta_graph.meta_info_def.tensorflow_version = "2.16.0"
        self.meta_graph.meta_info_def.tensorflow_git_version = "unknown"
        self.meta_graph.graph_def.versions.producer = 1087

    def node(self, name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add a node; an attribute is a DataType number or a tuple (field of AttrValue, value)."""
        node = self.meta_graph.graph_def.node.add(name=name, op=op, input=list(inputs))
        for key, value in attributes.items():
            field, content = value if isinstance(value, tuple) else ("type", value)
            if field == "list.type":
                node.attr[key].list.type.extend(content)
            elif field == "list.shape":
                node.attr[key].list.shape.extend(content)
            elif hasattr(content, "SerializeToString"):
                getattr(node.attr[key], field).CopyFrom(content)
            else:
                setattr(node.attr[key], field, content)
        return name

    def placeholder(self, name: str, dtype: str) -> str:
        return self.node(name, "Placeholder", dtype=DTYPES[dtype], shape=("shape", unknown_shape()))

    def constant(self, name: str, value: Any) -> str:
        return self.node(name, "Const", dtype=value.dtype, value=("tensor", value))

    def signature(
        self,
        key: str,
        inputs: Mapping[str, tuple[str, str]],
        outputs: Mapping[str, tuple[str, str]],
        *,
        method: str = PREDICT,
        defaults: Mapping[str, Any] | None = None,
        rank: int | None = None,
    ) -> None:
        """Add a signature; ``inputs`` and ``outputs`` hold (tensor name, dtype) by alias, all of shape [-1] * rank."""
        signature = self.meta_graph.signature_def[key]
        signature.method_name = method
        for aliases, target in ((inputs, signature.inputs), (outputs, signature.outputs)):
            for alias, (tensor, dtype) in aliases.items():
                info = target[alias]
                info.name = tensor
                info.dtype = DTYPES[dtype]
                if rank is None:
                    info.tensor_shape.unknown_rank = True
                else:
                    for _ in range(rank):
                        info.tensor_shape.dim.add(size=-1)
        for alias, tensor in (defaults or {}).items():
            signature.defaults[alias].CopyFrom(tensor)

    def write(self, path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        model = message("tensorflow.SavedModel")(saved_model_schema_version=1, meta_graphs=[self.meta_graph])
        (path / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))
        return path


def unknown_shape() -> Any:
    return message("tensorflow.TensorShapeProto")(unknown_rank=True)


def tensor(dtype: str, values: Iterable[Any], shape: Sequence[int] | None = None) -> Any:
    """Return a TensorProto of a dtype with its values in the typed field; one dimension unless ``shape`` says so."""
    fields = {
        "float": "float_val",
        "double": "double_val",
        "string": "string_val",
        "int64": "int64_val",
        "bool": "bool_val",
        "half": "half_val",
        "bfloat16": "half_val",
        "uint32": "uint32_val",
        "uint64": "uint64_val",
        "complex64": "scomplex_val",
        "complex128": "dcomplex_val",
    }
    values = list(values)
    result = message("tensorflow.TensorProto")(dtype=DTYPES[dtype], tensor_shape={})
    for size in (len(values),) if shape is None else shape:
        result.tensor_shape.dim.add(size=size)
    getattr(result, fields.get(dtype, "int_val")).extend(values)
    return result


def scale(path: Path, factor: float = 2.0) -> Path:
    """Write y = factor * x; float, any shape, signature ``serving_default``."""
    graph = GraphWriter()
    graph.placeholder("x", "float")
    graph.constant("factor", tensor("float", [factor], []))
    graph.node("y", "Mul", ["x", "factor"], T=DTYPES["float"])
    graph.signature("serving_default", {"x": ("x:0", "float")}, {"y": ("y:0", "float")}, rank=1)
    return graph.write(Path(path))


def echo(path: Path, dtype: str = "string") -> Path:
    """Write y = x for one dtype, any shape."""
    graph = GraphWriter()
    graph.placeholder("x", dtype)
    graph.node("y", "Identity", ["x"], T=DTYPES[dtype])
    graph.signature("serving_default", {"x": ("x:0", dtype)}, {"y": ("y:0", dtype)})
    return graph.write(Path(path))


def string_constant(path: Path, value: str = "a constant that is longer than a small string can be") -> Path:
    """Write a model whose outputs are the input and a string constant of the graph itself."""
    graph = GraphWriter()
    graph.placeholder("x", "string")
    graph.node("y", "Identity", ["x"], T=DTYPES["string"])
    graph.constant("label", tensor("string", [value.encode()], [1]))
    graph.signature(
        "serving_default", {"x": ("x:0", "string")}, {"y": ("y:0", "string"), "label": ("label:0", "string")}
    )
    return graph.write(Path(path))


def slow(path: Path, seconds: float = 0.3, factor: float = 1.0) -> Path:
    """Write y = factor * x that takes ``seconds`` a run, asleep and not computing."""
    graph = GraphWriter()
    graph.placeholder("x", "float")
    graph.constant("factor", tensor("float", [factor], []))
    # The pause comes twice: before the element, and before its reader learns that there is no second one.
    graph.constant("pause", tensor("int64", [int(seconds * 1e6 / 2)], []))
    types = {"output_types": ("list.type", [DTYPES["float"]]), "output_shapes": ("list.shape", [unknown_shape()])}
    graph.node(
        "element",
        "TensorDataset",
        ["x"],
        Toutput_types=("list.type", [DTYPES["float"]]),
        output_shapes=("list.shape", [unknown_shape()]),
    )
    graph.node("delayed", "SleepDataset", ["element", "pause"], **types)
    graph.node("x_late", "DatasetToSingleElement", ["delayed"], **types)
    graph.node("y", "Mul", ["x_late", "factor"], T=DTYPES["float"])
    graph.signature("serving_default", {"x": ("x:0", "float")}, {"y": ("y:0", "float")}, rank=1)
    return graph.write(Path(path))


def with_defaults(path: Path) -> Path:
    """Write total = x + bias and difference = x - bias, where ``bias`` may be left out and is then 10."""
    graph = GraphWriter()
    graph.placeholder("x", "float")
    graph.placeholder("bias", "float")
    graph.node("total", "AddV2", ["x", "bias"], T=DTYPES["float"])
    graph.node("difference", "Sub", ["x", "bias"], T=DTYPES["float"])
    graph.signature(
        "serving_default",
        {"x": ("x:0", "float"), "bias": ("bias:0", "float")},
        {"total": ("total:0", "float"), "difference": ("difference:0", "float")},
        defaults={"bias": tensor("float", [10.0], [])},
    )
    return graph.write(Path(path))


def large(path: Path, megabytes: int = 64) -> Path:
    """Write y = x + c[0] with a float constant ``c`` of a size, to see memory come and go."""
    graph = GraphWriter()
    constant = message("tensorflow.TensorProto")(dtype=DTYPES["float"])
    constant.tensor_shape.dim.add(size=megabytes << 18)
    constant.tensor_content = struct.pack("<f", 1.5) * (megabytes << 18)
    graph.placeholder("x", "float")
    graph.constant("c", constant)
    graph.constant("zero", tensor("int32", [0], []))
    graph.constant("axis", tensor("int32", [0], []))
    kinds = {"Tparams": DTYPES["float"], "Tindices": DTYPES["int32"], "Taxis": DTYPES["int32"]}
    graph.node("first", "GatherV2", ["c", "zero", "axis"], **kinds)
    graph.node("y", "AddV2", ["x", "first"], T=DTYPES["float"])
    graph.signature("serving_default", {"x": ("x:0", "float")}, {"y": ("y:0", "float")}, rank=1)
    return graph.write(Path(path))


# ---------------------------------------------------------------------------------------------------------------------
# Models exported by TensorFlow.


def half_plus_two_tf1(path: Path) -> Path:
    """Write the TF1 model y = x / 2 + 2 with variables, an Example input of unknown rank and seven signatures.

    ``serving_default`` (predict x -> y), ``regress_x_to_y``, ``regress_x_to_y2`` (x / 2 + 3), ``regress_x2_to_y3``
    (another input tensor), ``classify_x_to_y`` (scores only), ``classify_with_labels`` (classes and scores) and
    ``misnamed`` (a method name no API knows). The Example feature is ``x``, a float; it is 0 when left out.
    """
    return _copy("half_plus_two_tf1", path)


def half_plus_two_tf2(path: Path) -> Path:
    """Write the TF2 model y = x / 2 + 2 with variables; ``serving_default`` takes x of [None] and gives y."""
    return _copy("half_plus_two_tf2", path)


def tflite(path: Path) -> Path:
    """Write ``model.tflite`` (y = x / 2 + 2 for x of [1, 4]) whose metadata names x and y, and no SavedModel."""
    return _copy("tflite", path)


def tflite_undescribed(path: Path) -> Path:
    """Write the same as ``tflite`` without metadata, as converters leave it: aliases are the tensors' names."""
    return _copy("tflite_undescribed", path)


def tflite_strings(path: Path) -> Path:
    """Write a ``model.tflite`` without metadata that swaps two strings."""
    return _copy("tflite_strings", path)


def _copy(kind: str, path: Path) -> Path:
    shutil.copytree(_exported(kind), path, dirs_exist_ok=True)
    return Path(path)


def _exported(kind: str) -> Path:
    digest = hashlib.sha256(_EXPORTS.read_bytes()).hexdigest()[:12]
    cache = Path(tempfile.gettempdir()) / f"modelfleet-test-models-{os.getuid()}-{digest}"
    if (cache / "complete").exists():
        return cache / kind
    cache.mkdir(mode=0o700, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "complete").exists():
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
            environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
            done = subprocess.run(
                [sys.executable, str(_EXPORTS), str(cache)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"TensorFlow could not export the test models:\n{done.stderr[-4000:]}")
            (cache / "complete").touch()
    return cache / kind


# ---------------------------------------------------------------------------------------------------------------------
# Warm-up records.


def with_warmup(path: Path, logs: Iterable[Any]) -> Path:
    """Give a version directory a warm-up file of PredictionLog messages (or of raw records)."""
    target = Path(path) / WARMUP_FILE
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(tf_records(log if isinstance(log, bytes) else log.SerializeToString() for log in logs))
    return Path(path)


def predict_log(name: str, inputs: Mapping[str, Any], signature_name: str = "") -> Any:
    """Return the PredictionLog of one Predict request."""
    log = message("tensorflow.serving.PredictionLog")()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature_name
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value)
    return log


def tf_records(records: Iterable[bytes]) -> bytes:
    """Return records in TensorFlow's record format: length, checksum of it, data, checksum of it."""
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, _masked_crc(length), record, _masked_crc(record)]
    return b"".join(parts)


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


KINDS: dict[str, Callable[..., Path]] = {
    "scale": scale,
    "echo": echo,
    "string_constant": string_constant,
    "slow": slow,
    "with_defaults": with_defaults,
    "large": large,
    "half_plus_two_tf1": half_plus_two_tf1,
    "half_plus_two_tf2": half_plus_two_tf2,
    "tflite": tflite,
    "tflite_undescribed": tflite_undescribed,
    "tflite_strings": tflite_strings,
}


def main(arguments: Sequence[str]) -> int:
    """Write one model."""
    kind, directory, *options = arguments
    settings = {}
    for option in options:
        key, _, value = option.partition("=")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    sys.stdout.write(f"{KINDS[kind](Path(directory), **settings)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
