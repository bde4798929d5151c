"""The gRPC API of a real server process with real models."""

from __future__ import annotations

import pytest
from modelfleet.adapters.protos import message

from tests.support.model_server_client import failure, fill_spec, serving


@pytest.fixture
def client(shared_server):
    return shared_server.client


def predict_request(name, values=(1.0,), **spec):
    request = serving("PredictRequest")
    fill_spec(request.model_spec, name, **spec)
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.extend(values)
    tensor.tensor_shape.dim.add(size=len(values))
    return request


def example(value):
    result = message("tensorflow.Example")()
    result.features.feature["x"].float_list.value.append(value)
    return result


def test_predict_answers_in_the_typed_field_and_names_what_answered(client):
    response = client.call("Predict", predict_request("hp2", [1.0, 2.0, 5.0]))
    assert list(response.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert response.outputs["y"].tensor_content == b""
    assert (response.model_spec.name, response.model_spec.signature_name) == ("hp2", "serving_default")
    assert response.model_spec.version.value == 123


@pytest.mark.parametrize(("spec", "factor"), [({}, 3), ({"version": 1}, 2), ({"label": "stable"}, 2)])
def test_the_specification_chooses_the_version(client, spec, factor):
    assert client.predict("scale", [1.0, 10.0], **spec) == [factor, 10 * factor]


def test_classify_and_regress(client):
    classify = serving("ClassificationRequest")
    fill_spec(classify.model_spec, "hp2", signature="classify_with_labels")
    classify.input.example_list.examples.extend([example(2.0), example(4.0)])
    rows = client.call("Classify", classify).result.classifications
    assert [[(entry.label, entry.score) for entry in row.classes] for row in rows] == [
        [("positive", 3.0), ("negative", -3.0)],
        [("positive", 4.0), ("negative", -4.0)],
    ]
    regress = serving("RegressionRequest")
    fill_spec(regress.model_spec, "hp2", signature="regress_x_to_y")
    regress.input.example_list.examples.extend([example(2.0), example(4.0)])
    assert [entry.value for entry in client.call("Regress", regress).result.regressions] == [3.0, 4.0]


def test_multi_inference_answers_every_task(client):
    request = serving("MultiInferenceRequest")
    for key, method in (("regress_x_to_y", "regress"), ("classify_x_to_y", "classify")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        fill_spec(task.model_spec, "hp2", signature=key)
    request.input.example_list.examples.add().CopyFrom(example(2.0))
    results = client.call("MultiInference", request).results
    assert results[0].regression_result.regressions[0].value == 3.0
    assert results[1].classification_result.classifications[0].classes[0].score == 3.0


def test_metadata_holds_every_signature_and_no_signature_name(client):
    request = serving("GetModelMetadataRequest", metadata_field=["signature_def"])
    fill_spec(request.model_spec, "hp2")
    response = client.call("GetModelMetadata", request)
    signatures = message("tensorflow.serving.SignatureDefMap").FromString(response.metadata["signature_def"].value)
    assert "regress_x_to_y" in signatures.signature_def
    assert (response.model_spec.signature_name, response.model_spec.version.value) == ("", 123)


def test_status_lists_versions_from_the_highest_down(client):
    assert list(client.states("scale").items()) == [(2, 30), (1, 30)]


@pytest.mark.parametrize(
    ("method", "request_of", "code", "text"),
    [
        ("Predict", lambda: serving("PredictRequest"), "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("Predict", lambda: predict_request(""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("Predict", lambda: predict_request("no"), "NOT_FOUND", "Servable not found for request: Latest(no)"),
        (
            "Predict",
            lambda: predict_request("scale", version=7),
            "NOT_FOUND",
            "Servable not found for request: Specific(scale, 7)",
        ),
        (
            "Predict",
            lambda: predict_request("scale", label="no"),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: no",
        ),
        (
            "Predict",
            lambda: predict_request("hp2", signature="no"),
            "FAILED_PRECONDITION",
            'Serving signature key "no" not found.',
        ),
        ("GetModelStatus", lambda: serving("GetModelStatusRequest"), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            "HandleReloadConfigRequest",
            lambda: serving("ReloadConfigRequest"),
            "INVALID_ARGUMENT",
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            ),
        ),
        (
            "MultiInference",
            lambda: serving("MultiInferenceRequest"),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        ("GetModelMetadata", lambda: serving("GetModelMetadataRequest"), "INVALID_ARGUMENT", "Missing ModelSpec"),
    ],
)
def test_what_is_refused(client, method, request_of, code, text):
    assert failure(lambda: client.call(method, request_of())) == (code, text)


def test_metadata_fields_are_checked_before_the_model(client):
    request = serving("GetModelMetadataRequest", metadata_field=["something"])
    fill_spec(request.model_spec, "no-such-model")
    code, text = failure(lambda: client.call("GetModelMetadata", request))
    assert (code, text) == ("INVALID_ARGUMENT", "Metadata field something is not supported")


def test_a_long_error_text_is_cut(client):
    name = "m" * 3000
    _, text = failure(lambda: client.predict(name, [1.0]))
    full = f"Servable not found for request: Latest({name})"
    assert text == full[:1024] + "...TRUNCATED"


def test_the_clients_deadline_ends_the_run(client):
    code, _ = failure(lambda: client.predict("slow", [1.0], timeout_s=0.1))
    assert code == "DEADLINE_EXCEEDED"
    assert client.predict("slow", [1.0]) == [1.0]


def test_a_message_of_tens_of_megabytes_passes_both_ways(client):
    values = [0.5] * (8 * 1024 * 1024)
    request = serving("PredictRequest")
    fill_spec(request.model_spec, "scale", version=1)
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.tensor_content = b"\0\0\0\x3f" * len(values)
    tensor.tensor_shape.dim.add(size=len(values))
    output = client.call("Predict", request).outputs["y"]
    assert output.tensor_shape.dim[0].size == len(output.float_val) == len(values)
    assert set(output.float_val[::100_000]) == {1.0}
