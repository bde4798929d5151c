"""Requests are answered with the model's values, and with the model, signature and version that gave them."""

from __future__ import annotations

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.runtime.inference import (
    classify,
    model_metadata,
    multi_inference,
    predict,
    regress,
)

from tests.support.runtime_lab import (
    NAME,
    VERSION,
    example,
    example_request,
    loaded,
    multi_request,
    predict_request,
)
from tests.support.saved_models import (
    CLASSIFY,
    REGRESS,
    half_plus_two_tf1,
    half_plus_two_tf2,
    tensor,
    with_defaults,
)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    with loaded(half_plus_two_tf1(tmp_path_factory.mktemp("half") / "1")) as servable:
        yield servable


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    with loaded(with_defaults(tmp_path_factory.mktemp("biased") / "1")) as servable:
        yield servable


def values(response):
    return {alias: list(value.float_val) for alias, value in response.outputs.items()}


def spec(reply):
    return reply.model_spec.name, reply.model_spec.version.value, reply.model_spec.signature_name


def test_predict_names_what_answered(half):
    response = predict(predict_request(x=[1.0, 2.0]), NAME, VERSION, half)
    assert values(response) == {"y": [2.5, 3.0]}
    assert spec(response) == (NAME, VERSION, "serving_default")
    assert spec(predict(predict_request("misnamed", x=[1.0]), NAME, VERSION, half))[2] == "misnamed"


def test_any_signature_can_be_predicted(half):
    serialized = tensor("string", [example(x=6.0).SerializeToString()])
    response = predict(predict_request("regress_x_to_y", inputs=serialized), NAME, VERSION, half)
    assert values(response) == {"outputs": [5.0]}


def test_outputs_are_filtered(biased):
    request = predict_request(x=[1.0], bias=[2.0])
    assert values(predict(request, NAME, VERSION, biased)) == {"total": [3.0], "difference": [-1.0]}
    request.output_filter.append("difference")
    assert values(predict(request, NAME, VERSION, biased)) == {"difference": [-1.0]}


def test_an_input_with_a_default_may_be_left_out(biased):
    assert values(predict(predict_request(x=[1.0]), NAME, VERSION, biased)) == {"total": [11.0], "difference": [-9.0]}


def test_static_shapes_of_the_signature_are_not_enforced(half):
    request = predict_request(x=tensor("float", [1.0, 2.0, 3.0, 4.0], [1, 2, 2]))
    assert values(predict(request, NAME, VERSION, half)) == {"y": [2.5, 3.0, 3.5, 4.0]}


def test_classify_gives_scores_without_labels(half):
    request = example_request("Classification", "classify_x_to_y", example(x=2.0), example(x=4.0))
    response = classify(request, NAME, VERSION, half)
    assert [[(c.label, c.score) for c in r.classes] for r in response.result.classifications] == [
        [("", 3.0)],
        [("", 4.0)],
    ]
    assert spec(response) == (NAME, VERSION, "classify_x_to_y")


def test_classify_gives_labels_and_scores(half):
    request = example_request("Classification", "classify_with_labels", example(x=2.0), example(x=4.0))
    response = classify(request, NAME, VERSION, half)
    assert [[(c.label, c.score) for c in r.classes] for r in response.result.classifications] == [
        [("positive", 3.0), ("negative", -3.0)],
        [("positive", 4.0), ("negative", -4.0)],
    ]


def test_regress_gives_a_value_an_example(half):
    request = example_request("Regression", "regress_x_to_y2", example(x=2.0), example())
    response = regress(request, NAME, VERSION, half)
    assert [r.value for r in response.result.regressions] == [4.0, 3.0]
    assert spec(response) == (NAME, VERSION, "regress_x_to_y2")


def test_the_context_completes_every_example(half):
    request = example_request("Regression", "regress_x_to_y", example(), example(x=4.0), context=example(x=2.0))
    response = regress(request, NAME, VERSION, half)
    # A feature that an Example has itself wins.
    assert [r.value for r in response.result.regressions] == [3.0, 4.0]


def test_all_tasks_of_a_multi_inference_are_answered_in_order(half):
    tasks = (("regress_x_to_y2", REGRESS), ("classify_with_labels", CLASSIFY), ("regress_x_to_y", REGRESS))
    response = multi_inference(multi_request(*tasks, examples=(example(x=2.0),)), NAME, VERSION, half)
    assert [spec(result) for result in response.results] == [(NAME, VERSION, key) for key, _ in tasks]
    assert [r.value for r in response.results[0].regression_result.regressions] == [4.0]
    assert [c.score for c in response.results[1].classification_result.classifications[0].classes] == [3.0, -3.0]
    assert [r.value for r in response.results[2].regression_result.regressions] == [3.0]


def test_answers_as_tensor_content_concern_predict_alone(tmp_path):
    with loaded(half_plus_two_tf1(tmp_path / "1"), enable_serialization_as_tensor_content=True) as servable:
        assert predict(predict_request(x=[1.0]), NAME, VERSION, servable).outputs["y"].tensor_content
        request = example_request("Regression", "regress_x_to_y", example(x=2.0))
        assert regress(request, NAME, VERSION, servable).result.regressions[0].value == 3.0


def test_metadata_holds_every_signature_and_no_signature_name(tmp_path):
    request = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=["signature_def"])
    with loaded(half_plus_two_tf2(tmp_path / "1")) as servable:
        response = model_metadata(request, NAME, VERSION, servable)
        assert spec(response) == (NAME, VERSION, "")
        packed = response.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        unpacked = message("tensorflow.serving.SignatureDefMap").FromString(packed.value)
        assert dict(unpacked.signature_def) == dict(servable.signatures)
        assert "__saved_model_init_op" in unpacked.signature_def


def test_deadlines_reach_the_model(half):
    for call, request in (
        (predict, predict_request(x=[1.0])),
        (classify, example_request("Classification", "classify_x_to_y", example(x=2.0))),
        (regress, example_request("Regression", "regress_x_to_y", example(x=2.0))),
        (multi_inference, multi_request(("regress_x_to_y", REGRESS), examples=(example(x=2.0),))),
    ):
        assert call(request, NAME, VERSION, half, timeout_s=30.0)
        with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
            call(request, NAME, VERSION, half, timeout_s=0.0)
