"""How requests that do not fit a model are refused: codes and texts of every inference API."""

from __future__ import annotations

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError
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
    PREDICT,
    REGRESS,
    GraphWriter,
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
def half_tf2(tmp_path_factory):
    with loaded(half_plus_two_tf2(tmp_path_factory.mktemp("half_tf2") / "1")) as servable:
        yield servable


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    with loaded(with_defaults(tmp_path_factory.mktemp("biased") / "1")) as servable:
        yield servable


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Signatures for classification and regression whose form or answers are wrong, one fault each."""
    graph = GraphWriter()
    graph.placeholder("s", "string")
    graph.placeholder("other", "string")
    labels = {"flat_s": ("string", [2]), "wide_s": ("string", [1, 3]), "two_s": ("string", [2, 2])}
    scores = {"flat_f": ("float", [2]), "wide_f": ("float", [1, 2]), "two_f": ("float", [2, 2])}
    for name, (dtype, shape) in (labels | scores).items():
        graph.constant(name, tensor(dtype, [b"label"] if dtype == "string" else [1.0], shape))
    serialized = {"inputs": ("s:0", "string")}

    def classifier(key, **outputs):
        graph.signature(key, serialized, {alias: (f"{n}:0", "float") for alias, n in outputs.items()}, method=CLASSIFY)

    classifier("flat_classes", classes="flat_s")
    classifier("flat_scores", scores="flat_f")
    classifier("classes_of_floats", classes="wide_f")
    classifier("scores_of_strings", scores="wide_s")
    classifier("classes_of_two", classes="two_s")
    classifier("scores_of_two", scores="two_f")
    classifier("unequal", classes="wide_s", scores="wide_f")
    classifier("third_output", classes="wide_s", scores="wide_f", more="wide_f")
    classifier("other_output", something="wide_f")
    regressor = {
        "matrix": "wide_f",
        "two_values": "flat_f",
        "strings": "flat_s",
    }
    for key, name in regressor.items():
        graph.signature(f"regress_{key}", serialized, {"outputs": (f"{name}:0", "float")}, method=REGRESS)
    result = {"outputs": ("wide_f:0", "float")}
    graph.signature("regress_misnamed_output", serialized, {"y": ("wide_f:0", "float")}, method=REGRESS)
    graph.signature("regress_two_outputs", serialized, result | {"y": ("wide_f:0", "float")}, method=REGRESS)
    graph.signature("misnamed_input", {"x": ("s:0", "string")}, result, method=REGRESS)
    graph.signature("two_inputs", serialized | {"x": ("other:0", "string")}, result, method=REGRESS)
    graph.signature("missing_tensor", {"x": ("nowhere:0", "float")}, {"y": ("wide_f:0", "float")})
    with loaded(graph.write(tmp_path_factory.mktemp("odd") / "1")) as servable:
        yield servable


def refusal(call, request, servable, **options):
    with pytest.raises(StatusError) as error:
        call(request, NAME, VERSION, servable, **options)
    return error.value.code, error.value.message


ONE = (example(x=1.0),)


class TestPredict:
    def test_unknown_signature(self, half):
        assert refusal(predict, predict_request("nowhere", x=[1.0]), half) == (
            Code.FAILED_PRECONDITION,
            'Serving signature key "nowhere" not found.',
        )

    def test_the_name_of_the_default_signature_is_told(self, odd):
        assert refusal(predict, predict_request(x=[1.0]), odd) == (
            Code.FAILED_PRECONDITION,
            'Serving signature key "serving_default" not found.',
        )

    def test_missing_input(self, half):
        assert refusal(predict, predict_request(), half) == (
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        )

    def test_extra_input(self, half):
        assert refusal(predict, predict_request(x=[1.0], b=[1.0], a=[1.0]), half) == (
            Code.INVALID_ARGUMENT,
            (
                "input size does not match signature: 3!=1 len({a,b,x}) != len({x}). Sent extra: {a,b}. "
                "Missing but required: {}."
            ),
        )

    def test_right_number_wrong_name(self, half):
        code, text = refusal(predict, predict_request(z=[1.0]), half)
        assert code == Code.INVALID_ARGUMENT
        assert text.startswith(
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided"
        )
        assert "{z}" in text

    def test_only_inputs_with_defaults_may_be_left_out(self, biased):
        code, text = refusal(predict, predict_request(bias=[1.0]), biased)
        assert code == Code.INVALID_ARGUMENT
        assert text.startswith("Signature input alias: x(feed name: x:0) not found in request")
        assert text.endswith("or default input alias set: bias")

    def test_an_unknown_name_beside_a_default(self, biased):
        code, text = refusal(predict, predict_request(x=[1.0], z=[1.0]), biased)
        assert code == Code.INVALID_ARGUMENT
        assert text == "Inputs contains invalid name. Used request inputs: x, request input: x,z"

    def test_bad_tensor_bytes(self, half):
        broken = message("tensorflow.TensorProto")(dtype=1, tensor_content=b"abc")
        assert refusal(predict, predict_request(x=broken), half) == (
            Code.INVALID_ARGUMENT,
            "tensor parsing error: x",
        )

    def test_unknown_output(self, biased):
        request = predict_request(output_filter=("nowhere",), x=[1.0])
        assert refusal(predict, request, biased) == (
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: nowhere Outputs expected to be in the set {difference,total}.",
        )

    def test_output_named_twice(self, biased):
        request = predict_request(output_filter=("total", "total"), x=[1.0])
        assert refusal(predict, request, biased) == (Code.INVALID_ARGUMENT, "duplicate output tensor alias: total")

    @pytest.mark.parametrize("model", ["half", "half_tf2", "biased"])
    def test_wrong_type(self, request, model):
        servable = request.getfixturevalue(model)
        code, text = refusal(predict, predict_request(x=tensor("string", [b"text"])), servable)
        assert code == Code.INVALID_ARGUMENT
        assert "to be float but string is provided" in text

    def test_a_signature_whose_tensor_is_not_in_the_graph(self, odd):
        code, text = refusal(predict, predict_request("missing_tensor", x=[1.0]), odd)
        assert code == Code.INVALID_ARGUMENT
        assert "nowhere:0" in text

    def test_the_check_of_method_names(self, half):
        request = predict_request("misnamed", x=[1.0])
        assert predict(request, NAME, VERSION, half)
        assert refusal(predict, request, half, check_method_names=True) == (
            Code.INTERNAL,
            (
                f"Expected prediction signature method_name to be one of {{{PREDICT}, {CLASSIFY}, {REGRESS}}}. "
                "Was: somebody/elses/method"
            ),
        )
        assert predict(predict_request(x=[1.0]), NAME, VERSION, half, check_method_names=True)


class TestClassifyAndRegress:
    @pytest.mark.parametrize(("call", "kind"), [(classify, "Classification"), (regress, "Regression")])
    def test_unknown_signature(self, half, call, kind):
        assert refusal(call, example_request(kind, "nowhere", *ONE), half) == (
            Code.INVALID_ARGUMENT,
            "No signature was found with the name: nowhere",
        )

    @pytest.mark.parametrize(
        ("call", "kind", "key"),
        [(classify, "Classification", "classify_x_to_y"), (regress, "Regression", "regress_x_to_y")],
    )
    def test_no_examples(self, half, call, kind, key):
        refused = (Code.INVALID_ARGUMENT, "Input is empty.")
        assert refusal(call, example_request(kind, key), half) == refused
        assert refusal(call, example_request(kind, key, context=example(x=1.0)), half) == refused
        request = message(f"tensorflow.serving.{kind}Request")(model_spec={"name": NAME, "signature_name": key})
        assert refusal(call, request, half) == refused

    def test_the_check_of_method_names(self, half):
        for call, kind, key, word, wanted in (
            (classify, "Classification", "regress_x_to_y", "classification", CLASSIFY),
            (regress, "Regression", "classify_x_to_y", "regression", REGRESS),
        ):
            code, text = refusal(call, example_request(kind, key, *ONE), half, check_method_names=True)
            assert code == Code.INVALID_ARGUMENT
            assert text.startswith(f"Expected {word} signature method_name to be {wanted}. Was: ")

    @pytest.mark.parametrize(
        ("key", "code", "text"),
        [
            ("flat_classes", Code.INVALID_ARGUMENT, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
            ("flat_scores", Code.INVALID_ARGUMENT, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
            ("classes_of_floats", Code.INVALID_ARGUMENT, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
            ("scores_of_strings", Code.INVALID_ARGUMENT, "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
            ("classes_of_two", Code.INVALID_ARGUMENT, "Expected classes output batch size of 1. Got: 2"),
            ("scores_of_two", Code.INVALID_ARGUMENT, "Expected scores output batch size of 1. Got: 2"),
            ("unequal", Code.INVALID_ARGUMENT, "Tensors class and score should match in dim_size(1). Got 3 vs. 2"),
            ("third_output", Code.INVALID_ARGUMENT, "Expected one or two output Tensors, found 3"),
            ("other_output", Code.FAILED_PRECONDITION, "Expected classification signature outputs to contain at"),
            ("misnamed_input", Code.FAILED_PRECONDITION, "No classification inputs found in SignatureDef: "),
            ("two_inputs", Code.INVALID_ARGUMENT, "Expected one input Tensor."),
        ],
    )
    def test_models_that_do_not_classify(self, odd, key, code, text):
        refused = refusal(classify, example_request("Classification", key, *ONE), odd)
        assert refused[0] == code
        assert refused[1].startswith(text)

    @pytest.mark.parametrize(
        ("key", "code", "text"),
        [
            (
                "regress_matrix",
                Code.INVALID_ARGUMENT,
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]",
            ),
            (
                "regress_two_values",
                Code.INVALID_ARGUMENT,
                "Input batch size did not match output batch size: 1 vs. 2",
            ),
            ("regress_misnamed_output", Code.FAILED_PRECONDITION, "No regression outputs found in SignatureDef: "),
            ("regress_two_outputs", Code.INVALID_ARGUMENT, "Expected one output Tensor."),
            ("misnamed_input", Code.FAILED_PRECONDITION, "No regression inputs found in SignatureDef: "),
            ("two_inputs", Code.INVALID_ARGUMENT, "Expected one input Tensor."),
        ],
    )
    def test_models_that_do_not_regress(self, odd, key, code, text):
        refused = refusal(regress, example_request("Regression", key, *ONE), odd)
        assert refused[0] == code
        assert refused[1].startswith(text)

    def test_a_regression_of_strings(self, odd):
        request = example_request("Regression", "regress_strings", *ONE, *ONE)
        assert refusal(regress, request, odd) == (
            Code.INVALID_ARGUMENT,
            "Expected output Tensor of DT_FLOAT.  Got: DT_STRING",
        )


class TestMultiInference:
    def test_unknown_signature(self, half):
        assert refusal(multi_inference, multi_request(("nowhere", REGRESS), examples=ONE), half) == (
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: nowhere",
        )

    def test_tasks_of_two_models(self, half):
        tasks = (("regress_x_to_y", REGRESS), ("regress_x_to_y2", REGRESS))
        assert refusal(multi_inference, multi_request(*tasks, examples=ONE, names=("m", "n")), half) == (
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        )

    def test_a_task_without_a_model(self, half):
        tasks = (("regress_x_to_y", REGRESS), ("regress_x_to_y2", REGRESS))
        assert refusal(multi_inference, multi_request(*tasks, examples=ONE, names=("m", "")), half) == (
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
        )

    def test_one_signature_twice(self, half):
        tasks = (("regress_x_to_y", REGRESS), ("regress_x_to_y", REGRESS))
        assert refusal(multi_inference, multi_request(*tasks, examples=ONE), half) == (
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: regress_x_to_y",
        )

    def test_another_method(self, half):
        assert refusal(multi_inference, multi_request(("serving_default", PREDICT), examples=ONE), half) == (
            Code.UNIMPLEMENTED,
            f"Unsupported signature method_name: {PREDICT}",
        )

    def test_signatures_with_different_inputs(self, half):
        tasks = (("regress_x_to_y", REGRESS), ("regress_x2_to_y3", REGRESS))
        assert refusal(multi_inference, multi_request(*tasks, examples=ONE), half) == (
            Code.INVALID_ARGUMENT,
            "Input tensor must be the same for all Signatures.",
        )

    def test_no_examples(self, half):
        assert refusal(multi_inference, multi_request(("regress_x_to_y", REGRESS), examples=()), half) == (
            Code.INVALID_ARGUMENT,
            "Input is empty.",
        )

    def test_the_check_of_method_names(self, half):
        request = multi_request(("regress_x_to_y", CLASSIFY), examples=ONE)
        code, text = refusal(multi_inference, request, half, check_method_names=True)
        assert code == Code.INVALID_ARGUMENT
        assert text == f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}"


class TestMetadata:
    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ([], "GetModelMetadataRequest must specify at least one metadata_field"),
            (["signature_def", "weights"], "Metadata field weights is not supported"),
        ],
    )
    def test_fields(self, half, fields, text):
        request = message("tensorflow.serving.GetModelMetadataRequest")(metadata_field=fields)
        assert refusal(model_metadata, request, half) == (Code.INVALID_ARGUMENT, text)
