"""Loaded models and requests for tests of the inference engine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import message
from modelfleet_services.model_server.runtime.saved_model import RuntimeOptions, TensorFlowLoader

from tests.support import saved_models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelfleet_services.model_server.servable import Servable

# TensorFlow reads these when its library is loaded, which no test does before this module is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

NAME = "m"
VERSION = 7


def load(path: Path, **options: Any) -> Servable:
    """Load a version; the caller closes it."""
    return TensorFlowLoader(RuntimeOptions(**options))(NAME, VERSION, str(path))


@contextmanager
def loaded(path: Path, **options: Any) -> Iterator[Servable]:
    """Hold a version loaded."""
    servable = load(path, **options)
    try:
        yield servable
    finally:
        servable.close()


def predict_request(signature_name: str = "", output_filter: tuple[str, ...] = (), **inputs: Any) -> Any:
    """Return a PredictRequest; an input is a TensorProto or a list of floats."""
    request = message("tensorflow.serving.PredictRequest")(output_filter=output_filter)
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature_name
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(saved_models.tensor("float", value) if isinstance(value, list) else value)
    return request


def example(**features: float) -> Any:
    """Return an Example of float features."""
    result = message("tensorflow.Example")()
    for name, value in features.items():
        result.features.feature[name].float_list.value.append(value)
    return result


def example_request(kind: str, signature_name: str, *examples: Any, context: Any = None) -> Any:
    """Return a ClassificationRequest or RegressionRequest."""
    request = message(f"tensorflow.serving.{kind}Request")()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature_name
    fill_input(request.input, *examples, context=context)
    return request


def multi_request(*tasks: tuple[str, str], examples: tuple[Any, ...], names: tuple[str, ...] = ()) -> Any:
    """Return a MultiInferenceRequest of (signature name, method name) tasks."""
    request = message("tensorflow.serving.MultiInferenceRequest")()
    for position, (signature_name, method) in enumerate(tasks):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = names[position] if names else NAME
        task.model_spec.signature_name = signature_name
    fill_input(request.input, *examples)
    return request


def fill_input(target: Any, *examples: Any, context: Any = None) -> None:
    """Put Examples into a ``tensorflow.serving.Input``."""
    if context is None:
        target.example_list.examples.extend(examples)
    else:
        target.example_list_with_context.context.CopyFrom(context)
        target.example_list_with_context.examples.extend(examples)


def resident_bytes() -> int:
    """Return the resident memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))
