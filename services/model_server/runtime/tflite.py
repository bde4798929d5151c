"""TensorFlow Lite models, run by the interpreter inside the installed wheel.

The interpreter's extension module is loaded by itself, in a hundredth of a second; ``tensorflow`` is never imported.
numpy comes with the wheel.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import math
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import Message, message
from modelfleet.errors import MissingDependency

from ..rpc_status import Code, StatusError
from .c_api import package_directory
from .tensors import DT_STRING, dtype_name, numbers_proto, strings_proto, strings_value, value_bytes
from .tflite_metadata import described_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType


MODEL_FILE = "model.tflite"
_EXTENSION = "_pywrap_tensorflow_interpreter_wrapper"
_SIGNATURE = "serving_default"
_PREDICT = "tensorflow/serving/predict"
#: Resolver of the built-in operations without delegates, as the extension module numbers them.
_BUILTIN_WITHOUT_DELEGATES = 3
#: Neither keep intermediate tensors nor turn the clustering of delegates off.
_PLAIN = (False, False)

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
        # The interpreter computes with the constants where they lie in these bytes.
        self._content = content = Path(file).read_bytes()
        self._as_content = as_content
        self._lock = threading.Lock()
        try:
            self._interpreter = _extension().CreateWrapperFromBuffer(content, _BUILTIN_WITHOUT_DELEGATES, [], *_PLAIN)
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
        self._signature = self._make_signature(described_signature(content))

    @property
    def signatures(self) -> Mapping[str, Message]:
        """Return the one signature of the model."""
        return {_SIGNATURE: self._signature}

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Message],
        outputs: Sequence[str],
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Message]:
        """Run the signature; see ``Servable.run``. The interpreter cannot be stopped, so there is no deadline."""
        del signature_key, timeout_s
        feeds = {self._signature.inputs[alias].name: (alias, value) for alias, value in inputs.items()}
        fetches = [self._signature.outputs[alias].name for alias in outputs]
        return dict(zip(outputs, self._invoke(feeds, fetches, as_content=self._as_content), strict=True))

    def run_many(
        self, feeds: Mapping[str, Message], fetches: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Message]:
        """Run tensors by their names; see ``Servable.run_many``."""
        del timeout_s
        values = self._invoke({name: (name, value) for name, value in feeds.items()}, fetches, as_content=False)
        return dict(zip(fetches, values, strict=True))

    def close(self) -> None:
        """Free the model."""
        del self._interpreter, self._content

    def _invoke(
        self, feeds: Mapping[str, tuple[str, Message]], fetches: Sequence[str], *, as_content: bool
    ) -> list[Message]:
        with self._lock:
            for name, (alias, value) in feeds.items():
                self._set(name, alias, value)
            try:
                self._interpreter.Invoke()
            except RuntimeError as error:
                raise StatusError(Code.INTERNAL, f"Failed to run interpreter. {error}") from error
            return [self._get(name, as_content=as_content) for name in fetches]

    def _set(self, name: str, alias: str, value: Message) -> None:
        import numpy as np  # noqa: PLC0415  (a tenth of a second, for the one engine that needs it)

        index = self._inputs[name]
        wanted = self._dtype(index)
        if value.dtype != wanted:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Expects {alias} to be {dtype_name(wanted)} but {dtype_name(value.dtype)} is provided",
            )
        shape = [dimension.size for dimension in value.tensor_shape.dim]
        try:
            array: Any = (
                np.array(strings_value(value), dtype=object)
                if value.dtype == DT_STRING
                else np.frombuffer(value_bytes(value), dtype=self._interpreter.TensorType(index, 0))
            )
        except (ValueError, OverflowError, MemoryError) as error:
            # A shape may promise more values than there is memory.
            raise StatusError(Code.INVALID_ARGUMENT, f"tensor parsing error: {alias}") from error
        present = list(self._interpreter.TensorSize(index, 0))
        if value.dtype == DT_STRING or array.size != math.prod(present):
            present = shape
            try:
                strict, subgraph = False, 0
                self._interpreter.ResizeInputTensor(index, np.array(shape, dtype=np.int32), strict, subgraph)
                self._interpreter.AllocateTensors()
            except (RuntimeError, ValueError, OverflowError) as error:
                raise StatusError(Code.INTERNAL, f"Failed to resize input tensor: {name}. {error}") from error
        # As many values in another shape are taken as they lie in memory.
        self._interpreter.SetTensor(index, array.reshape(present), 0)

    def _get(self, name: str, *, as_content: bool) -> Message:
        array = self._interpreter.GetTensor(self._outputs[name], 0)
        if array.dtype.kind == "O":
            return strings_proto(array.shape, [bytes(value) for value in array.ravel()], as_content=as_content)
        return numbers_proto(_DTYPES[array.dtype.name], array.shape, array.tobytes(), as_content=as_content)

    def _indices(self, indices: Iterable[int]) -> dict[str, int]:
        return {self._interpreter.TensorName(int(index), 0): int(index) for index in indices}

    def _dtype(self, index: int) -> int:
        name = self._interpreter.TensorType(index, 0).__name__
        if name not in _DTYPES:
            raise StatusError(Code.INTERNAL, f"Unknown TfLite type: {name}")
        return _DTYPES[name]

    def _make_signature(self, described: Message) -> Message:
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
                info.dtype = self._dtype(index)
                for size in self._interpreter.TensorSize(index, 0):
                    info.tensor_shape.dim.add(size=int(size))
        return signature


@lru_cache(maxsize=1)
def _extension() -> ModuleType:
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
