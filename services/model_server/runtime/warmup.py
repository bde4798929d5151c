"""Warm-up: the requests that a version brings along, run before the version becomes available."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from modelfleet.adapters.protos import Message, message

from ..rpc_status import Code, StatusError
from .inference import classify, multi_inference, predict, regress
from .session import session_of_graph
from .tensors import strings_proto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..servable import Servable

_LOG = logging.getLogger(__name__)

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000

_DT_STRING = 7
_DT_INT64 = 9
_DT_BOOL = 10


def warm_up(  # noqa: PLR0913  (an acquired version is three of them)
    path: str, name: str, version: int, servable: Servable, *, iterations: int = 1, check_method_names: bool = False
) -> None:
    """Run the warm-up requests of a version, if it has any, one after the other.

    Args:
        path: Directory of the version.
        name: Name of the model.
        version: Number of the version.
        servable: The loaded version.
        iterations: Times each request runs.
        check_method_names: As for ``inference.predict``.

    Raises:
        StatusError: a request failed, or the file is not one of at most 1000 readable records.
    """
    file = f"{path}/{WARMUP_FILE}"
    if not Path(file).exists():
        _LOG.info("No warmup data file found at %s", file)
        return
    started = time.monotonic()
    records = read_records(file, limit=MAX_RECORDS + 1)
    for number, record in enumerate(records, start=1):
        log = _parse(record, file)
        for _ in range(iterations):
            _run(log, name, version, servable, check_method_names=check_method_names)
        if number > MAX_RECORDS:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
            )
    _LOG.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %d.",
        file,
        len(records),
        (time.monotonic() - started) * 1e6,
    )


def read_records(file: str, *, limit: int) -> Sequence[bytes]:
    """Return the first records of a TFRecord file, checksums verified by TensorFlow's own reader.

    Raises:
        StatusError: DATA_LOSS, the file is damaged or no TFRecord file.
    """
    session = session_of_graph(_reader_graph())
    feeds = {
        "file:0": ("file", strings_proto([1], [os.fsencode(file)])),
        "limit:0": ("limit", message("tensorflow.TensorProto")(dtype=_DT_INT64, tensor_shape={}, int64_val=[limit])),
    }
    try:
        (records,) = session.run(feeds, ["records:0"])
    except StatusError as error:
        if error.code == Code.INVALID_ARGUMENT and "empty" in error.message:
            return ()
        # TensorFlow appends the node of the reader's graph, which means nothing to the model's owner.
        text = error.message.partition("\n")[0]
        if error.code == Code.DATA_LOSS:
            text += ". Please verify your warmup data is in TFRecord format."
        raise StatusError(error.code, text) from error
    finally:
        session.close()
    values: Sequence[bytes] = records.string_val
    return values


def _parse(record: bytes, file: str) -> Message:
    try:
        return message("tensorflow.serving.PredictionLog").FromString(record)
    except DecodeError as error:
        shown = record.decode(errors="replace")
        raise StatusError(Code.INVALID_ARGUMENT, f"Failed to parse warmup record: {shown} from {file}") from error


def _run(log: Message, name: str, version: int, servable: Servable, *, check_method_names: bool) -> None:
    kind = log.WhichOneof("log_type")
    infer = {
        "predict_log": predict,
        "classify_log": classify,
        "regress_log": regress,
        "multi_inference_log": multi_inference,
    }.get(kind)
    if infer is not None:
        infer(getattr(log, kind).request, name, version, servable, check_method_names=check_method_names)
    elif kind is not None:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def _reader_graph() -> bytes:
    """Return a serialized graph that reads at most ``limit`` records of ``file`` into the vector ``records``."""
    graph = message("tensorflow.GraphDef")()
    one_string = {
        "output_types": {"list": {"type": [_DT_STRING]}},
        "output_shapes": {"list": {"shape": [{"unknown_rank": True}]}},
    }

    def node(name: str, operation: str, inputs: Sequence[str] = (), **attributes: Message) -> None:
        graph.node.add(name=name, op=operation, input=inputs, attr=attributes)

    def constant(name: str, dtype: int, **values: Message) -> None:
        tensor = {"dtype": dtype, "tensor_shape": {}, **values}
        node(name, "Const", dtype={"type": dtype}, value={"tensor": tensor})

    node("file", "Placeholder", dtype={"type": _DT_STRING})
    node("limit", "Placeholder", dtype={"type": _DT_INT64})
    constant("compression", _DT_STRING, string_val=[b""])
    constant("buffer_size", _DT_INT64, int64_val=[1 << 18])
    constant("drop_remainder", _DT_BOOL, bool_val=[False])
    node("all", "TFRecordDataset", ["file", "compression", "buffer_size"])
    node("first", "TakeDataset", ["all", "limit"], **one_string)
    node("together", "BatchDatasetV2", ["first", "limit", "drop_remainder"], **one_string)
    node("records", "DatasetToSingleElement", ["together"], **one_string)
    serialized: bytes = graph.SerializeToString()
    return serialized
