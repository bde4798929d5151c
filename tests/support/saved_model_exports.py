"""Exports the test models that need TensorFlow: ``python saved_model_exports.py <directory>``, one folder a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flatbuffers
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema

if TYPE_CHECKING:
    from collections.abc import Sequence

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

v1 = tf.compat.v1


def _export_tf1(path: Path) -> None:
    """Export y = x / 2 + 2 and its relatives as TF1 did."""
    with tf.Graph().as_default(), v1.Session() as session:
        half = v1.get_variable("a", initializer=0.5, use_resource=False)
        two = v1.get_variable("b", initializer=2.0, use_resource=False)
        three = v1.get_variable("c", initializer=3.0, use_resource=False)
        examples = v1.placeholder(tf.string, name="tf_example")
        zero = [0.0]
        features = {
            "x": tf.io.FixedLenFeature([1], tf.float32, zero),
            "x2": tf.io.FixedLenFeature([1], tf.float32, zero),
        }
        parsed = v1.parse_example(examples, features)
        x = tf.identity(parsed["x"], name="x")
        y = tf.add(tf.multiply(half, x), two, name="y")
        y2 = tf.add(tf.multiply(half, x), three, name="y2")
        examples2 = v1.placeholder(tf.string, name="tf_example2")
        x2 = tf.identity(v1.parse_example(examples2, features)["x2"], name="x2")
        y3 = tf.add(tf.multiply(half, x2), three, name="y3")
        scores = tf.concat([y, -y], axis=1, name="scores")
        labels = tf.tile(tf.constant([["positive", "negative"]]), [tf.shape(x)[0], 1], name="labels")
        session.run(v1.global_variables_initializer())

        def signature(inputs: Any, outputs: Any, method: str) -> Any:
            info = v1.saved_model.utils.build_tensor_info
            return v1.saved_model.signature_def_utils.build_signature_def(
                {key: info(value) for key, value in inputs.items()},
                {key: info(value) for key, value in outputs.items()},
                method,
            )

        builder = v1.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, PREDICT),
                "regress_x_to_y": signature({"inputs": examples}, {"outputs": y}, REGRESS),
                "regress_x_to_y2": signature({"inputs": examples}, {"outputs": y2}, REGRESS),
                "regress_x2_to_y3": signature({"inputs": examples2}, {"outputs": y3}, REGRESS),
                "classify_x_to_y": signature({"inputs": examples}, {"scores": y}, CLASSIFY),
                "classify_with_labels": signature(
                    {"inputs": examples}, {"classes": labels, "scores": scores}, CLASSIFY
                ),
                "misnamed": signature({"x": x}, {"y": y}, "somebody/elses/method"),
            },
        )
        builder.save()


def _half_plus_two_module(shape: Sequence[int | None]) -> Any:
    class HalfPlusTwo(tf.Module):  # type: ignore[misc]  # tensorflow carries no types
        def __init__(self) -> None:
            super().__init__()
            self.a = tf.Variable(0.5)
            self.b = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])  # type: ignore[untyped-decorator]  # the same
        def half_plus_two(self, x: Any) -> dict[str, Any]:
            return {"y": self.a * x + self.b}

    return HalfPlusTwo()


def _export_tf2(path: Path) -> None:
    model = _half_plus_two_module([None])
    tf.saved_model.save(model, str(path), signatures=model.half_plus_two)


def _export_tflite(path: Path) -> None:
    model = _half_plus_two_module([1, 4])
    concrete = model.half_plus_two.get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model).convert()
    path.mkdir(parents=True)
    (path / "model.tflite").write_bytes(content)


def _export_tflite_described(path: Path) -> None:
    """Export the same with the metadata that TensorFlow Serving reads: a map of names to serialized signatures."""
    _export_tflite(path)
    file = path / "model.tflite"
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes(), 0))
    graph = model.subgraphs[0]
    signature = meta_graph_pb2.SignatureDef(method_name=PREDICT)
    signature.inputs["x"].name = graph.tensors[graph.inputs[0]].name.decode()
    signature.outputs["y"].name = graph.tensors[graph.outputs[0]].name.decode()
    map_builder = flexbuffers.Builder()
    with map_builder.Map():
        map_builder.Key("serving_default")
        map_builder.String(signature.SerializeToString().decode())
    buffer = schema.BufferT()
    buffer.data = bytes(map_builder.Finish())
    entry = schema.MetadataT()
    entry.name = "signature_defs_metadata"
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(bytes(builder.Output()))


def _export_tflite_strings(path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([2], tf.string, name="x")])  # type: ignore[untyped-decorator]  # the same
    def reverse(x: Any) -> Any:
        return tf.gather(x, [1, 0])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([reverse.get_concrete_function()])
    path.mkdir(parents=True)
    (path / "model.tflite").write_bytes(converter.convert())


EXPORTS = {
    "half_plus_two_tf1": _export_tf1,
    "half_plus_two_tf2": _export_tf2,
    "tflite": _export_tflite_described,
    "tflite_undescribed": _export_tflite,
    "tflite_strings": _export_tflite_strings,
}

if __name__ == "__main__":
    for kind, export in EXPORTS.items():
        shutil.rmtree(Path(sys.argv[1]) / kind, ignore_errors=True)
        export(Path(sys.argv[1]) / kind)
