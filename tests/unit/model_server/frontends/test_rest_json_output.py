"""Replies to JSON."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.protos import message
from modelfleet_services.model_server import rest_json_output
from modelfleet_services.model_server.rest_json_text import double_texts, float_texts
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.saved_models import tensor


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (1.0, "1.0"),
        (-3.0, "-3.0"),
        (9_000_000.0, "9e+06"),
        (0.00003, "3e-05"),
        (123456.0, "123456.0"),
        (1234567.0, "1234567.0"),
        (0.1234567, "0.123456702"),
        (1 / 3, "0.333333343"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_float_text(value, text):
    assert float_texts([struct.unpack("f", struct.pack("f", value))[0]]) == [text]


@pytest.mark.parametrize(
    ("value", "text"), [(0.2, "0.2"), (1 / 3, "0.33333333333333331"), (1e300, "1e+300"), (2.0, "2.0")]
)
def test_double_text(value, text):
    assert double_texts([value]) == [text]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float_texts_lose_nothing(values):
    back = [struct.unpack("f", struct.pack("f", float(text)))[0] for text in float_texts(values)]
    assert back == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_double_texts_lose_nothing(values):
    assert [float(text) for text in double_texts(values)] == values


def rows(**outputs):
    return rest_json_output.predictions(outputs, by_row=True).decode()


def columns(**outputs):
    return rest_json_output.predictions(outputs, by_row=False).decode()


def test_layout_of_rows():
    assert rows(y=tensor("float", [1.5, 2.0])) == '{\n    "predictions": [1.5, 2.0\n    ]\n}'
    matrix = tensor("int64", [1, 2, 3, 4], [2, 2])
    assert rows(y=matrix) == '{\n    "predictions": [[1, 2], [3, 4]\n    ]\n}'
    assert rows(b=tensor("bool", [True, False]), a=matrix) == (
        '{\n    "predictions": [\n        {\n            "a": [1, 2],\n            "b": true\n        },\n'
        '        {\n            "a": [3, 4],\n            "b": false\n        }\n    ]\n}'
    )


def test_layout_of_columns():
    assert columns(y=tensor("float", [1.5], [])) == '{\n    "outputs": 1.5\n}'
    assert columns(y=tensor("int32", [1, 2], [1, 2])) == (
        '{\n    "outputs": [\n        [\n            1,\n            2\n        ]\n    ]\n}'
    )
    assert columns(b=tensor("int32", [], [0]), a=tensor("int32", [1])) == (
        '{\n    "outputs": {\n        "a": [\n            1\n        ],\n        "b": []\n    }\n}'
    )


@pytest.mark.parametrize(
    ("dtype", "values", "shown"),
    [
        ("double", [0.1], [0.1]),
        ("int32", [-1], [-1]),
        ("uint8", [255], [255]),
        ("int16", [-7], [-7]),
        ("int8", [-7], [-7]),
        ("int64", [-(2**63)], [-(2**63)]),
        ("uint32", [2**32 - 1], [2**32 - 1]),
        ("uint64", [2**64 - 1], [2**64 - 1]),
        ("bool", [True], [True]),
        ("string", [b"a"], ["a"]),
    ],
)
def test_every_type_that_json_carries(dtype, values, shown):
    assert json.loads(rows(y=tensor(dtype, values))) == {"predictions": shown}


def test_values_packed_as_bytes_are_read_too():
    packed = tensor("float", [])
    packed.tensor_shape.dim[0].size = 2
    packed.tensor_content = struct.pack("<2f", 1.5, 2.5)
    assert json.loads(rows(y=packed)) == {"predictions": [1.5, 2.5]}


@pytest.mark.parametrize("dtype", ["half", "bfloat16"])
def test_types_that_json_does_not_carry(dtype):
    with pytest.raises(StatusError) as failure:
        rows(y=tensor(dtype, [0]))
    assert failure.value.code is Code.INVALID_ARGUMENT
    assert failure.value.message == f"Failed to write JSON value for tensor type: {dtype}"


def test_only_names_that_end_in_bytes_are_encoded():
    value = tensor("string", [b"a\x00"])
    assert json.loads(rows(image_bytes=value)) == {"predictions": [{"b64": "YQA="}]}
    assert json.loads(rows(image=value)) == {"predictions": ["a\x00"]}


def test_strings_are_escaped_and_otherwise_written_as_they_are():
    data = 'say "ü" \\ \n'.encode() + b"\xff"
    body = rest_json_output.predictions({"y": tensor("string", [data])}, by_row=True)
    assert b'["say \\"\xc3\xbc\\" \\\\ \\n\xff"' in body


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": tensor("float", [1.0], [])}, "Tensor name: y has no shape information "),
        (
            {"a": tensor("float", [1.0]), "b": tensor("float", [1.0, 2.0])},
            "Tensor name: b has inconsistent batch size: 2 expecting: 1",
        ),
    ],
)
def test_outputs_that_are_no_rows(outputs, problem):
    with pytest.raises(StatusError) as failure:
        rest_json_output.predictions(outputs, by_row=True)
    assert failure.value.message == problem


def test_results_of_classify_and_regress():
    result = message("tensorflow.serving.ClassificationResult")()
    row = result.classifications.add()
    row.classes.add(label="a", score=0.5)
    row.classes.add(score=1.0)
    assert json.loads(rest_json_output.classifications(result)) == {"results": [[["a", 0.5], ["", 1.0]]]}
    result = message("tensorflow.serving.RegressionResult")()
    result.regressions.add(value=2.0)
    assert rest_json_output.regressions(result) == b'{\n    "results": [2.0]\n}'


def test_results_that_are_empty_are_errors():
    for name, body in (
        ("ClassificationResult", rest_json_output.classifications),
        ("RegressionResult", rest_json_output.regressions),
    ):
        with pytest.raises(StatusError, match="Cannot convert empty"):
            body(message(f"tensorflow.serving.{name}")())


def test_an_error_holds_any_text():
    assert json.loads(rest_json_output.error('a "b"\n')) == {"error": 'a "b"\n'}
