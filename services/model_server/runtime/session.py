"""One TensorFlow session: a loaded graph that is fed and fetched by tensor names."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .c_api import Output, Status, borrowed_buffer, c_api, owned_bytes
from .tensors import to_proto, to_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .c_api import CApi

#: The pool of threads number that means the thread that calls, as ``RunOptions`` puts it.
_CALLING_THREAD = -1
#: Distinct sets of feeds and fetches remembered by a session; a client chooses the fetches.
_PLANS = 256


@dataclass
class _Plan:
    """The feeds and fetches of one run, resolved in the graph."""

    feeds: ctypes.Array[Output]
    feed_values: type[ctypes.Array[ctypes.c_void_p]]
    fetches: ctypes.Array[Output]
    fetch_values: type[ctypes.Array[ctypes.c_void_p]]


class Session:
    """A session and its graph. ``run`` may be called from many threads; ``close`` once, after the last run."""

    def __init__(self, api: CApi, session: int, graph: int) -> None:
        self._api = api
        self._session = session
        self._graph = graph
        self._plan = lru_cache(maxsize=_PLANS)(self._make_plan)

    def run(
        self,
        feeds: Mapping[str, tuple[str, Message]],
        fetches: Sequence[str],
        *,
        timeout_s: float | None = None,
        as_content: bool = False,
    ) -> list[Message]:
        """Run the graph.

        Args:
            feeds: (alias for error texts, TensorProto) by tensor name (``name:0``).
            fetches: Tensor names.
            timeout_s: Deadline in seconds; none without, which is quicker.
            as_content: Answer with ``tensor_content`` instead of typed fields.

        Returns:
            TensorProtos in the order of ``fetches``.

        Raises:
            StatusError: with the code and the message TensorFlow gave.
        """
        api = self._api
        if timeout_s is not None and timeout_s <= 0:
            raise StatusError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        with Status(api) as status:
            plan = self._plan(tuple(feeds), tuple(fetches))
            options = _run_options(timeout_s)
            inputs: ctypes.Array[Any] = plan.feed_values()
            outputs: ctypes.Array[Any] = plan.fetch_values()
            try:
                for position, (alias, proto) in enumerate(feeds.values()):
                    inputs[position] = to_tensor(api, status, alias, proto)
                api.TF_SessionRun(
                    self._session,
                    borrowed_buffer(options),
                    plan.feeds,
                    inputs,
                    len(inputs),
                    plan.fetches,
                    outputs,
                    len(outputs),
                    None,
                    0,
                    None,
                    status.handle,
                )
                status.check()
                return [to_proto(api, tensor, as_content=as_content) for tensor in outputs]
            finally:
                # Outputs may share memory with inputs, so both live until here.
                for tensor in (*inputs, *outputs):
                    if tensor:
                        api.TF_DeleteTensor(tensor)

    def close(self) -> None:
        """Free the session, the graph and every variable."""
        self._plan.cache_clear()
        with Status(self._api) as status:
            self._api.TF_CloseSession(self._session, status.handle)
            self._api.TF_DeleteSession(self._session, status.handle)
        self._api.TF_DeleteGraph(self._graph)

    def _make_plan(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Plan:
        return _Plan(
            (Output * len(feeds))(*map(self._output, feeds)),
            ctypes.c_void_p * len(feeds),
            (Output * len(fetches))(*map(self._output, fetches)),
            ctypes.c_void_p * len(fetches),
        )

    def _output(self, tensor_name: str) -> Output:
        name, _, index = tensor_name.partition(":")
        operation = self._api.TF_GraphOperationByName(self._graph, name.encode())
        if not operation or not (index or "0").isdecimal():
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Tensor {tensor_name}, specified in either feed_devices or fetch_devices was not found in the Graph",
            )
        return Output(operation, int(index or 0))


def load_saved_model(path: str, tags: Sequence[str], config: bytes) -> tuple[Session, bytes]:
    """Load a SavedModel into a session of its own.

    Args:
        path: Directory of the SavedModel.
        tags: The set of tags of the wanted meta graph.
        config: Serialized ``tensorflow.ConfigProto``.

    Returns:
        The session, and a serialized ``MetaGraphDef`` that holds the signatures only.

    Raises:
        StatusError: with the code and the message TensorFlow gave.
    """
    api = c_api()
    graph = api.TF_NewGraph()
    buffer = api.TF_NewBuffer()
    try:
        with Status(api) as status:
            options = _session_options(api, config, status)
            try:
                session = api.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(path),
                    (ctypes.c_char_p * len(tags))(*(tag.encode() for tag in tags)),
                    len(tags),
                    graph,
                    buffer,
                    status.handle,
                )
            finally:
                api.TF_DeleteSessionOptions(options)
            status.check()
        signatures = _signatures_only(owned_bytes(buffer.contents))
    except BaseException:
        api.TF_DeleteGraph(graph)
        raise
    finally:
        api.TF_DeleteBuffer(buffer)
    return Session(api, session, graph), signatures


def session_of_graph(graph_def: bytes) -> Session:
    """Return a session for a serialized ``GraphDef``.

    Raises:
        StatusError: the graph is not valid for this TensorFlow.
    """
    api = c_api()
    graph = api.TF_NewGraph()
    try:
        with Status(api) as status:
            imports = api.TF_NewImportGraphDefOptions()
            options = _session_options(api, b"", status)
            try:
                api.TF_GraphImportGraphDef(graph, borrowed_buffer(graph_def), imports, status.handle)
                status.check()
                session = api.TF_NewSession(graph, options, status.handle)
                status.check()
            finally:
                api.TF_DeleteSessionOptions(options)
                api.TF_DeleteImportGraphDefOptions(imports)
    except BaseException:
        api.TF_DeleteGraph(graph)
        raise
    return Session(api, session, graph)


def _session_options(api: CApi, config: bytes, status: Status) -> int:
    options: int = api.TF_NewSessionOptions()
    api.TF_SetConfig(options, config, len(config), status.handle)
    try:
        status.check()
    except StatusError:
        api.TF_DeleteSessionOptions(options)
        raise
    return options


def _run_options(timeout_s: float | None) -> bytes:
    """Return the serialized RunOptions of a run.

    The calling thread computes a small graph five times faster than a pool of threads does, but it cannot be stopped
    when time is up. How long a run takes depends on its input, so every run with a deadline is given to the pool.
    """
    if timeout_s is None:
        return _inline_run_options()
    options: bytes = message("tensorflow.RunOptions")(timeout_in_ms=max(1, round(timeout_s * 1000))).SerializeToString()
    return options


@lru_cache(maxsize=1)
def _inline_run_options() -> bytes:
    options: bytes = message("tensorflow.RunOptions")(inter_op_thread_pool=_CALLING_THREAD).SerializeToString()
    return options


def _signatures_only(meta_graph: memoryview) -> bytes:
    """Return a serialized MetaGraphDef without anything but its signatures, without parsing the graph in it."""
    wanted = message("tensorflow.MetaGraphDef").DESCRIPTOR.fields_by_name["signature_def"].number
    kept = []
    position = 0
    while position < len(meta_graph):
        start = position
        key, position = _read_varint(meta_graph, position)
        # Every field of a MetaGraphDef is length-delimited.
        length, position = _read_varint(meta_graph, position)
        position += length
        if key >> 3 == wanted:
            kept.append(meta_graph[start:position])
    return b"".join(kept)


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:  # the last byte has no continuation bit
            return value, position
        shift += 7
