"""Loads one version of a model from its directory: the checks, the session, the warm-up."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .session import load_saved_model
from .tflite import MODEL_FILE, TfliteServable
from .warmup import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..servable import Servable
    from .session import Session

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What the server's flags say about loading and running models.

    Attributes:
        saved_model_tags: The set of tags a meta graph must have.
        session_config: Serialized ``tensorflow.ConfigProto`` of every session.
        enable_model_warmup: Run the requests that a version brings along before it becomes available.
        num_request_iterations_for_warmup: Times each of them runs; once if not above 0.
        prefer_tflite_model: Serve ``model.tflite`` of a version that has one.
        enable_signature_method_name_check: Refuse warm-up requests to signatures made for another API.
        enable_serialization_as_tensor_content: Answer ``run`` with ``tensor_content``.
    """

    saved_model_tags: tuple[str, ...] = ("serve",)
    session_config: bytes = b""
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    prefer_tflite_model: bool = False
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False


class TensorFlowLoader:
    """Implements ``LoadServable``; may be called from many threads at once."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._options = options

    def __call__(self, name: str, version: int, path: str) -> Servable:
        """Return the loaded and warmed-up version.

        Raises:
            StatusError: with the code and text of the failed load.
            MissingDependency: TensorFlow is not installed.
        """
        servable = self._load(path)
        try:
            if self._options.enable_model_warmup:
                warm_up(
                    path,
                    name,
                    version,
                    servable,
                    iterations=max(1, self._options.num_request_iterations_for_warmup),
                    check_method_names=self._options.enable_signature_method_name_check,
                )
        except BaseException:
            servable.close()
            raise
        return servable

    def _load(self, path: str) -> Servable:
        options = self._options
        as_content = options.enable_serialization_as_tensor_content
        if options.prefer_tflite_model and _exists(path, MODEL_FILE):
            return TfliteServable(f"{path}/{MODEL_FILE}", as_content=as_content)
        if _exists(path, "export.meta"):
            raise StatusError(Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")
        if not any(_exists(path, file) for file in ("saved_model.pb", "saved_model.pbtxt")):
            raise StatusError(
                Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
                f"`saved_model.pb`)\nSpecified file path: {path}",
            )
        session, meta_graph = load_saved_model(path, options.saved_model_tags, options.session_config)
        return SavedModelServable(session, meta_graph, as_content=as_content)


class SavedModelServable:
    """Implements ``Servable`` over a TensorFlow session."""

    def __init__(self, session: Session, meta_graph: bytes, *, as_content: bool) -> None:
        self._session = session
        # The message that owns the signatures is kept, and with it the one copy of them.
        self._meta_graph = message("tensorflow.MetaGraphDef").FromString(meta_graph)
        self._signatures = dict(self._meta_graph.signature_def)
        self._as_content = as_content

    @property
    def signatures(self) -> Mapping[str, Message]:
        """Return every SignatureDef of the meta graph by its key, ``__saved_model_init_op`` included."""
        return self._signatures

    def run(
        self,
        signature_key: str,
        inputs: Mapping[str, Message],
        outputs: Sequence[str],
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Message]:
        """Run one signature; see ``Servable.run``."""
        signature = self._signatures[signature_key]
        values = self._session.run(
            {signature.inputs[alias].name: (alias, value) for alias, value in inputs.items()},
            [signature.outputs[alias].name for alias in outputs],
            timeout_s=timeout_s,
            as_content=self._as_content,
        )
        return dict(zip(outputs, values, strict=True))

    def run_many(
        self, feeds: Mapping[str, Message], fetches: Sequence[str], *, timeout_s: float | None = None
    ) -> dict[str, Message]:
        """Run graph tensors by their names; the answers always use the typed fields."""
        values = self._session.run({name: (name, value) for name, value in feeds.items()}, fetches, timeout_s=timeout_s)
        return dict(zip(fetches, values, strict=True))

    def close(self) -> None:
        """Free the model and give its memory back to the system."""
        self._session.close()
        _trim_heap()


def _exists(directory: str, file: str) -> bool:
    return Path(directory, file).exists()


def _trim_heap() -> None:
    # The C library keeps freed memory for itself, and a server that swaps versions would grow by what it keeps.
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Callable[[int], int] | None:
    # Only the GNU library has it.
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
