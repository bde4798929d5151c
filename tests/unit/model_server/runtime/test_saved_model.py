"""Which directories load, and what a version that does not load says."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.runtime_lab import load, loaded
from tests.support.saved_models import half_plus_two_tf1, half_plus_two_tf2, scale, tensor


def halved(servable):
    reply = servable.run("serving_default", {"x": tensor("float", [1, 2, 5])}, ["y"])["y"]
    return list(reply.float_val)


@pytest.mark.parametrize("make", [half_plus_two_tf1, half_plus_two_tf2])
def test_models_with_variables_load_whatever_wrote_them(tmp_path, make):
    with loaded(make(tmp_path / "1")) as servable:
        assert halved(servable) == [2.5, 3.0, 4.5]


def test_signatures_are_all_there(tmp_path):
    with loaded(half_plus_two_tf2(tmp_path / "2")) as servable:
        assert set(servable.signatures) == {"serving_default", "__saved_model_init_op"}
    with loaded(half_plus_two_tf1(tmp_path / "1")) as servable:
        assert servable.signatures["classify_with_labels"].method_name == "tensorflow/serving/classify"
        assert len(servable.signatures) == 7
        assert servable.signatures["serving_default"].inputs["x"].name == "x:0"


def test_a_text_saved_model_loads(tmp_path):
    path = scale(tmp_path / "1", 4.0)
    model = message("tensorflow.SavedModel").FromString((path / "saved_model.pb").read_bytes())
    (path / "saved_model.pb").unlink()
    (path / "saved_model.pbtxt").write_text(text_format.MessageToString(model))
    with loaded(path) as servable:
        assert halved(servable) == [4.0, 8.0, 20.0]


def test_the_set_of_tags_must_be_the_same(tmp_path):
    path = scale(tmp_path / "1", 4.0)
    model = message("tensorflow.SavedModel").FromString((path / "saved_model.pb").read_bytes())
    model.meta_graphs[0].meta_info_def.tags.append("special")
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(StatusError, match=r"matching supplied tags: \{ serve \}") as error:
        load(path)
    assert error.value.code == Code.NOT_FOUND
    with loaded(path, saved_model_tags=("special", "serve")) as servable:
        assert halved(servable) == [4.0, 8.0, 20.0]


def test_a_session_configuration_is_applied(tmp_path):
    config = message("tensorflow.ConfigProto")(inter_op_parallelism_threads=1, intra_op_parallelism_threads=1)
    with loaded(scale(tmp_path / "1", 4.0), session_config=config.SerializeToString()) as servable:
        assert halved(servable) == [4.0, 8.0, 20.0]


def test_a_broken_session_configuration_is_an_error_and_not_a_crash(tmp_path):
    with pytest.raises(StatusError) as error:
        load(scale(tmp_path / "1"), session_config=b"\xff\xff")
    assert error.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("cut", ["variables/variables.data-00000-of-00001", "variables/variables.index"])
@pytest.mark.parametrize("make", [half_plus_two_tf1, half_plus_two_tf2])
def test_truncated_variables_fail_the_load_with_tensorflows_words(tmp_path, make, cut):
    path = make(tmp_path / "1")
    content = (path / cut).read_bytes()
    (path / cut).write_bytes(content[: len(content) // 2])
    with pytest.raises(StatusError) as error:
        load(path)
    assert error.value.code in {Code.DATA_LOSS, Code.OUT_OF_RANGE}


def test_a_graph_that_is_no_message_fails_the_load(tmp_path):
    path = scale(tmp_path / "1")
    (path / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(StatusError) as error:
        load(path)
    assert error.value.code == Code.DATA_LOSS
    assert str(path) in error.value.message


def test_an_operation_tensorflow_does_not_know_fails_the_load(tmp_path):
    path = scale(tmp_path / "1")
    model = message("tensorflow.SavedModel").FromString((path / "saved_model.pb").read_bytes())
    model.meta_graphs[0].graph_def.node.add(name="z", op="NobodyWroteThis")
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(StatusError, match="NobodyWroteThis"):
        load(path)


def test_failed_loads_leave_the_next_one_unharmed(tmp_path):
    path = scale(tmp_path / "1", 4.0)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"\xff" * 100)
    for _ in range(20):
        with pytest.raises(StatusError):
            load(tmp_path / "2")
    with loaded(path) as servable:
        assert halved(servable) == [4.0, 8.0, 20.0]
