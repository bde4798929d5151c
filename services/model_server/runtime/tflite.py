"""TensorFlow Lite models, run by the interpreter inside the installed wheel.

The interpreter's extension module is loaded by itself, in a hundredth of a second; ``tensorflow`` is never imported.
numpy and flatbuffers come with the wheel.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import message
from modelfleet.errors import MissingDependency

from ..rpc_status import Code, StatusError
from .c_api import package_directory
from .tensors import DT_STRING, numbers_proto, strings_proto, strings_value, value_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL_FILE = "model.tflite"
_EXTENSION = "_pywrap_tensorflow_interpreter_wrapper"
_SIGNATURE = "serving_default"
_PREDICT = "tensorflow/serving/predict"
#: Name of the metadata entry that maps signature keys to serialized SignatureDefs.
_METADATA = b"signature_defs_metadata"
#: Resolver of the built-in operations without delegates, as the extension module numbers them.
_BUILTIN_WITHOUT_DELEGATES = 3

#: tensorflow.DataType by numpy's name of the type.
_DTYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "bytes_": DT_STRING,
    "complex64": 8,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "complex128": 18,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}


class TfliteServable:
    """Implements ``Servable`` over a TensorFlow Lite interpreter; runs of one model follow one another.

    The signature is always ``serving_default``. Its aliases come from the model's metadata, and are the names of the
    tensors where there is none.
    """

    def __init__(self, file: str, *, as_content: bool = False) -> None:
        content = Path(file).read_bytes()
        self._as_content = as_content
        self._lock = threading.Lock()
        try:
            self._interpreter = _extension().CreateWrapperFromBuffer(
                content, _BUILTIN_WITHOUT_DELEGATES, [], False, False  # noqa: FBT003  (positional only)
            )
        except (ValueError, RuntimeError) as error:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Cannot build FlatBufferModel from buffer. {file}: {error}"
            ) from error
        try:
            self._interpreter.AllocateTensors()
        except RuntimeError as error:
            raise StatusError(Code.INTERNAL, f"Cannot allocator tensors in Interpreter. {file}: {error}") from error
        self._inputs = self._indices(self._interpreter.InputIndices())
        self._outputs = self._indices(self._interpreter.OutputIndices())
        self._signature = self._make_signature(_described_signature(content))

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Return the one signature of the model."""
        return {_SIGNATURE: self._signature}

    def run(
        self, signature_key: str, inputs: Mapping[str, Any], outputs: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Run the signature; see ``Servable.run``. The interpreter cannot be stopped, so there is no deadline."""
        del signature_key, timeout_s
        feeds = {self._signature.inputs[alias].name: (alias, value) for alias, value in inputs.items()}
        fetches = [self._signature.outputs[alias].name for alias in outputs]
        return dict(zip(outputs, self._invoke(feeds, fetches, as_content=self._as_content), strict=True))

    def run_many(
        self, feeds: Mapping[str, Any], fetches: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Run tensors by their names; see ``Servable.run_many``."""
        del timeout_s
        values = self._invoke({name: (name, value) for name, value in feeds.items()}, fetches, as_content=False)
        return dict(zip(fetches, values, strict=True))

    def close(self) -> None:
        """Free the model."""
        del self._interpreter

    def _invoke(
        self, feeds: Mapping[str, tuple[str, Any]], fetches: Sequence[str], *, as_content: bool
    ) -> list[Any]:
        with self._lock:
            for name, (alias, value) in feeds.items():
                self._set(name, alias, value)
            try:
                self._interpreter.Invoke()
            except RuntimeError as error:
                raise StatusError(Code.INTERNAL, f"Failed to run interpreter. {error}") from error
            return [self._get(name, as_content=as_content) for name in fetches]

    def _set(self, name: str, alias: str, value: Any) -> None:
        import numpy as np  # noqa: PLC0415  (a tenth of a second, for the one engine that needs it)

        index = self._inputs[name]
        wanted = self._interpreter.TensorType(index, 0)
        if value.dtype != _DTYPES.get(wanted.__name__):
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Expects {alias} to be {wanted.__name__} but {np_name(value.dtype)} is provided",
            )
        shape = [dimension.size for dimension in value.tensor_shape.dim]
        try:
            array: Any = (
                np.array(strings_value(value), dtype=object)
                if value.dtype == DT_STRING
                else np.frombuffer(value_bytes(value), dtype=wanted)
            )
        except ValueError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from error
        present = list(self._interpreter.TensorSize(index, 0))
        if value.dtype == DT_STRING or array.size != np.prod(present, dtype=np.int64):
            present = shape
            try:
                self._interpreter.ResizeInputTensor(index, np.array(shape, dtype=np.int32), False, 0)  # noqa: FBT003
                self._interpreter.AllocateTensors()
            except (RuntimeError, ValueError) as error:
                raise StatusError(Code.INTERNAL, f"Failed to resize input tensor: {name}. {error}") from error
        # As many values in another shape are taken as they lie in memory.
        self._interpreter.SetTensor(index, array.reshape(present), 0)

    def _get(self, name: str, *, as_content: bool) -> Any:
        array = self._interpreter.GetTensor(self._outputs[name], 0)
        if array.dtype.kind in "OSU":
            return strings_proto(array.shape, [bytes(value) for value in array.ravel()], as_content=as_content)
        return numbers_proto(_DTYPES[array.dtype.name], array.shape, array.tobytes(), as_content=as_content)

    def _indices(self, indices: Any) -> dict[str, int]:
        return {self._interpreter.TensorName(int(index), 0): int(index) for index in indices}

    def _make_signature(self, described: Any) -> Any:
        signature = message("tensorflow.SignatureDef")(method_name=_PREDICT)
        aliases: dict[str, str] = {}
        if described is not None:
            signature.method_name = described.method_name
            for side in (described.inputs, described.outputs):
                aliases |= {info.name.partition(":")[0]: alias for alias, info in side.items()}
        for tensors, target, word in (
            (self._inputs, signature.inputs, "input"),
            (self._outputs, signature.outputs, "output"),
        ):
            for name, index in tensors.items():
                alias = name if described is None else aliases.get(name.partition(":")[0])
                if alias is None:
                    raise StatusError(
                        Code.INTERNAL,
                        f"Cannot find signature def {word} name from tflite {word} tensor {name}",
                    )
                info = target[alias]
                info.name = name
                info.dtype = _DTYPES[self._interpreter.TensorType(index, 0).__name__]
                for size in self._interpreter.TensorSize(index, 0):
                    info.tensor_shape.dim.add(size=int(size))
        return signature


def np_name(dtype: int) -> str:
    """Return numpy's name of a ``tensorflow.DataType``."""
    return next((name for name, number in _DTYPES.items() if number == dtype), str(dtype))


@lru_cache(maxsize=1)
def _extension() -> Any:
    """Load the interpreter's extension module from the wheel.

    Raises:
        MissingDependency: the wheel has no interpreter for this Python.
    """
    # TensorFlow up to 2.18 keeps the module one directory deeper.
    python = package_directory() / "lite" / "python"
    files = [
        path
        for directory in (python, python / "interpreter_wrapper")
        for path in sorted(directory.glob(f"{_EXTENSION}*.so"))
    ]
    if not files:
        raise MissingDependency("tensorflow-cpu (with the TensorFlow Lite interpreter)", "a model.tflite")
    loader = importlib.machinery.ExtensionFileLoader(_EXTENSION, str(files[0]))
    specification = importlib.util.spec_from_file_location(_EXTENSION, files[0], loader=loader)
    if specification is None:
        raise MissingDependency(str(files[0]), "a model.tflite")
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


def _described_signature(content: bytes) -> Any:
    """Return the SignatureDef in the metadata of a model, or None.

    Raises:
        StatusError: INVALID_ARGUMENT, the metadata holds several signatures.
    """
    data = _metadata(content)
    if data is None:
        return None
    from flatbuffers import flexbuffers  # noqa: PLC0415  (only models with metadata need it)

    signatures = flexbuffers.GetRoot(data).AsMap
    if len(signatures.Keys) > 1:
        raise StatusError(Code.INVALID_ARGUMENT, "Multiple SignatureDefs found in TfLite model")
    values = [signatures.Values[position].AsStringBytes for position in range(len(signatures.Keys))]
    return message("tensorflow.SignatureDef").FromString(values[0]) if values else None


def _metadata(content: bytes) -> bytes | None:
    """Return the bytes of the metadata entry with the signatures.

    A model is a flatbuffer: the entry (table field 6, a list of tables of name and number) names a buffer (field 4).
    """
    from flatbuffers import encode, number_types, table  # noqa: PLC0415

    def field(owner: Any, number: int) -> int:
        offset = owner.Offset(4 + 2 * number)
        return int(owner.Pos + offset) if offset else 0

    def tables(owner: Any, number: int) -> list[Any]:
        position = field(owner, number)
        if not position:
            return []
        start = owner.Vector(position - owner.Pos)
        count = owner.VectorLen(position - owner.Pos)
        return [table.Table(owner.Bytes, owner.Indirect(start + 4 * index)) for index in range(count)]

    root = table.Table(content, encode.Get(number_types.UOffsetTFlags.packer_type, content, 0))
    buffers = tables(root, 4)
    for entry in tables(root, 6):
        name = field(entry, 0)
        if name and entry.String(name) == _METADATA:
            number = field(entry, 1)
            buffer = buffers[entry.Get(number_types.Uint32Flags, number) if number else 0]
            data = field(buffer, 0)
            start = buffer.Vector(data - buffer.Pos)
            return bytes(content[start : start + buffer.VectorLen(data - buffer.Pos)])
    return None
