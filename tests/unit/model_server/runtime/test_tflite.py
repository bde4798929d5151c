"""TensorFlow Lite models are served where they are preferred, without TensorFlow's package."""

from __future__ import annotations

import subprocess
import sys

import flatbuffers
import pytest
from flatbuffers import flexbuffers
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError
from modelfleet_services.model_server.runtime.inference import predict
from modelfleet_services.model_server.runtime.tflite_metadata import described_signature

from tests.support.runtime_lab import NAME, VERSION, load, loaded, predict_request
from tests.support.saved_models import scale, tensor, tflite, tflite_strings, tflite_undescribed


@pytest.fixture
def model(tmp_path):
    with loaded(tflite(tmp_path / "1"), prefer_tflite_model=True) as servable:
        yield servable


def answer(servable, value, **options):
    return predict(predict_request(x=value), NAME, VERSION, servable, **options).outputs["y"]


def test_the_metadata_names_the_aliases(model):
    assert list(model.signatures) == ["serving_default"]
    signature = model.signatures["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert (list(signature.inputs), list(signature.outputs)) == (["x"], ["y"])
    assert signature.inputs["x"].dtype == 1
    assert [d.size for d in signature.inputs["x"].tensor_shape.dim] == [1, 4]


def test_values_are_computed(model):
    assert answer(model, tensor("float", [1, 2, 3, 4], [1, 4])) == tensor("float", [2.5, 3, 3.5, 4], [1, 4])


def test_values_stay_right_when_other_memory_comes_and_goes(model):
    for size in range(200):
        scratch = bytes(size * 37)
        assert answer(model, tensor("float", [1, 2, 3, 4], [1, 4])) == tensor("float", [2.5, 3, 3.5, 4], [1, 4])
        del scratch


def test_another_size_is_taken_and_the_first_again(model):
    assert answer(model, tensor("float", [1] * 6, [2, 3])) == tensor("float", [2.5] * 6, [2, 3])
    assert answer(model, tensor("float", [2] * 4, [1, 4])) == tensor("float", [3] * 4, [1, 4])


def test_a_size_the_model_cannot_take_leaves_it_able_to_answer(model):
    with pytest.raises(StatusError) as error:
        answer(model, tensor("float", [], [1 << 33, 0]))
    assert error.value.code == Code.INTERNAL
    assert error.value.message.startswith("Failed to resize input tensor: ")
    assert answer(model, tensor("float", [2] * 4, [1, 4])) == tensor("float", [3] * 4, [1, 4])


def test_as_many_values_in_another_shape_are_taken_as_they_lie(model):
    assert answer(model, tensor("float", [1, 2, 3, 4])) == tensor("float", [2.5, 3, 3.5, 4], [1, 4])


def test_a_short_list_and_content_are_understood(model):
    assert list(answer(model, tensor("float", [2], [1, 4])).float_val) == [3] * 4
    content = tensor("float", [], [1, 4])
    content.tensor_content = bytes(16)
    assert list(answer(model, content).float_val) == [2] * 4


def test_answers_may_be_tensor_content(tmp_path):
    options = {"prefer_tflite_model": True, "enable_serialization_as_tensor_content": True}
    with loaded(tflite(tmp_path / "1"), **options) as servable:
        assert len(answer(servable, tensor("float", [1] * 4, [1, 4])).tensor_content) == 16
        name = servable.signatures["serving_default"].outputs["y"].name
        feed = servable.signatures["serving_default"].inputs["x"].name
        assert list(servable.run_many({feed: tensor("float", [2] * 4, [1, 4])}, [name])[name].float_val) == [3] * 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (tensor("string", [b"a"] * 4), "Expects x to be DT_FLOAT but DT_STRING is provided"),
        (tensor("int64", [1] * 4), "Expects x to be DT_FLOAT but DT_INT64 is provided"),
        (message("tensorflow.TensorProto")(dtype=1, tensor_content=b"abc"), "tensor parsing error: x"),
        (tensor("float", [1], [-1]), "tensor parsing error: x"),
        (tensor("float", [1], [1 << 60, 1 << 60]), "tensor parsing error: x"),
    ],
)
def test_a_wrong_input_is_refused(model, value, text):
    with pytest.raises(StatusError) as error:
        answer(model, value)
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, text)


def test_without_metadata_tensors_are_known_by_their_names(tmp_path):
    with loaded(tflite_undescribed(tmp_path / "1"), prefer_tflite_model=True) as servable:
        signature = servable.signatures["serving_default"]
        ((alias, info),) = signature.inputs.items()
        assert alias == info.name == "serving_default_x:0"
        assert described_signature((tmp_path / "1" / "model.tflite").read_bytes()) is None


def test_strings_are_computed(tmp_path):
    with loaded(tflite_strings(tmp_path / "1"), prefer_tflite_model=True) as servable:
        signature = servable.signatures["serving_default"]
        (feed,), (fetch,) = (
            (info.name for info in signature.inputs.values()),
            (info.name for info in signature.outputs.values()),
        )
        for values in ([b"a", b"\xff\x00" * 50], [b"", b"longer than before"]):
            reply = servable.run_many({feed: tensor("string", values)}, [fetch])[fetch]
            assert reply == tensor("string", values[::-1])


def test_it_is_served_only_where_it_is_preferred_and_present(tmp_path):
    path = tflite(scale(tmp_path / "1", 3.0))
    with loaded(path) as servable:
        assert list(answer(servable, [1.0]).float_val) == [3.0]
    with loaded(path, prefer_tflite_model=True) as servable:
        assert list(answer(servable, tensor("float", [1] * 4, [1, 4])).float_val) == [2.5] * 4
    (path / "model.tflite").unlink()
    with loaded(path, prefer_tflite_model=True) as servable:
        assert list(answer(servable, [1.0]).float_val) == [3.0]


@pytest.mark.parametrize("content", [b"", b"not a flatbuffer of this kind", bytes(200)])
def test_a_file_that_is_no_model_fails_the_load(tmp_path, content):
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(StatusError) as error:
        load(tmp_path, prefer_tflite_model=True)
    assert error.value.code == Code.INVALID_ARGUMENT
    assert str(tmp_path) in error.value.message


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, bytes(3)])
def test_bytes_that_are_no_flatbuffer_have_no_readable_metadata(content):
    with pytest.raises(StatusError, match="Invalid SignatureDefs") as error:
        described_signature(content)
    assert error.value.code == Code.INVALID_ARGUMENT


def test_the_engine_never_imports_tensorflow(tmp_path):
    program = """
import sys
from pathlib import Path
from tests.support.runtime_lab import loaded
from tests.support.saved_models import scale, tflite
with loaded(scale(Path(sys.argv[1]) / "1")), loaded(tflite(Path(sys.argv[1]) / "2"), prefer_tflite_model=True):
    sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)


def flatbuffer(entries):
    """Return a model of nothing but metadata: (name, content) each."""
    builder = flatbuffers.Builder()

    def vector_of(offsets):
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    buffers, metadata = [], []
    for number, (name, content) in enumerate(entries):
        label, data = builder.CreateString(name), builder.CreateByteVector(content)
        builder.StartObject(1)
        builder.PrependUOffsetTRelativeSlot(0, data, 0)
        buffers.append(builder.EndObject())
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, label, 0)
        # As any writer does, the number 0 is left out.
        builder.PrependUint32Slot(1, number, 0)
        metadata.append(builder.EndObject())
    buffer_list, metadata_list = vector_of(buffers), vector_of(metadata)
    builder.StartObject(7)
    builder.PrependUOffsetTRelativeSlot(4, buffer_list, 0)
    builder.PrependUOffsetTRelativeSlot(6, metadata_list, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def signature_map(*keys):
    builder = flexbuffers.Builder()
    with builder.Map():
        for key in keys:
            builder.Key(key)
            builder.String(message("tensorflow.SignatureDef")(method_name=f"for {key}").SerializeToString().decode())
    return bytes(builder.Finish())


@pytest.mark.parametrize("others", [[], [("min_runtime_version", b"1.5.0")]])
def test_the_signature_is_found_among_other_metadata(others):
    content = flatbuffer([*others, ("signature_defs_metadata", signature_map("a"))])
    assert described_signature(content).method_name == "for a"


@pytest.mark.parametrize("entries", [[], [("other", b"data")], [("signature_defs_metadata", signature_map())]])
def test_without_a_signature_in_the_metadata_there_is_none(entries):
    assert described_signature(flatbuffer(entries)) is None


def test_several_signatures_are_refused():
    with pytest.raises(StatusError, match="Multiple SignatureDefs found in TfLite model") as error:
        described_signature(flatbuffer([("signature_defs_metadata", signature_map("a", "b"))]))
    assert error.value.code == Code.INVALID_ARGUMENT


def test_metadata_that_names_other_tensors_fails_the_load(tmp_path):
    file = tflite(tmp_path / "1") / "model.tflite"
    named = b"\n\x13serving_default_x:0"
    assert file.read_bytes().count(named) == 1
    file.write_bytes(file.read_bytes().replace(named, b"\n\x13serving_default_z:0"))
    with pytest.raises(StatusError, match="Cannot find signature def input name from tflite input tensor") as error:
        load(tmp_path / "1", prefer_tflite_model=True)
    assert error.value.code == Code.INTERNAL
