"""JSON bodies to requests."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.protos import message
from modelfleet_services.model_server import rest_json_input
from modelfleet_services.model_server.rest_json_parse import parse
from modelfleet_services.model_server.rpc_status import Code, StatusError

FLOAT, DOUBLE, INT32, UINT8, INT16, INT8, STRING, INT64, BOOL, HALF, UINT32, UINT64 = (
    *(1, 2, 3, 4, 5, 6, 7, 9, 10, 19),
    *(22, 23),
)
CODES = {
    FLOAT: "f",
    DOUBLE: "d",
    INT32: "i",
    UINT8: "B",
    INT16: "h",
    INT8: "b",
    INT64: "q",
    BOOL: "?",
    UINT32: "I",
    UINT64: "Q",
}


def infos_of(**dtypes):
    return {name: message("tensorflow.TensorInfo")(dtype=dtype) for name, dtype in dtypes.items()}


def tensor_of(proto):
    """Return (dtype, shape, values) of a TensorProto."""
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.dtype == STRING:
        return proto.dtype, shape, list(proto.string_val)
    code = CODES[proto.dtype]
    values = struct.unpack(f"<{len(proto.tensor_content) // struct.calcsize(code)}{code}", proto.tensor_content)
    return proto.dtype, shape, list(values)


def predict(body, **dtypes):
    request = message("tensorflow.serving.PredictRequest")()
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    by_row = rest_json_input.fill_predict(parse(text), lambda _: infos_of(**dtypes), request)
    return by_row, {name: tensor_of(proto) for name, proto in request.inputs.items()}, request


def refused(body, **dtypes):
    with pytest.raises(StatusError) as failure:
        predict(body, **dtypes)
    return failure.value.code.name, failure.value.message


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "The document is empty"),
        (b" \n\t", "The document is empty"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a":', "Invalid value. at offset: 5"),
        (b'{"a":x}', "Invalid value. at offset: 5"),
        (b'{"a":1', "Missing a comma or } after an object member. at offset: 6"),
        (b'{"a":[1 2]}', "Missing a comma or ] after an array element. at offset: 8"),
        (b'{"\xc3\xbc":[{"b":"]"} 2]}', "Missing a comma or ] after an array element. at offset: 17"),
        (b'{"a":1e400}', "Number too big to be stored in double. at offset: 5"),
        (b'{"\xc3\xbc1e400":[1,-1E+400]}', "Number too big to be stored in double. at offset: 14"),
        (b'{"a":' + b"1" * 400 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":-' + b"1" * 5000 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":[Inf,1e400]}', "Number too big to be stored in double. at offset: 10"),
        (b'{"a":[-Inf 2]}', "Missing a comma or ] after an array element. at offset: 11"),
        (b'{"a":"x\\ud800"}', "The surrogate pair in string is invalid. at offset: 7"),
        (b'{"\\uDC80":1}', "The surrogate pair in string is invalid. at offset: 2"),
        (b'{"a":"\\\\\\ud83d\\ude00\\ud83d\\u0041"} ', "The surrogate pair in string is invalid. at offset: 20"),
        (b'{"a":"\\udfff" x', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 5"),
    ],
)
def test_syntax_errors(body, text):
    with pytest.raises(StatusError) as failure:
        parse(body)
    assert (failure.value.code, failure.value.message) == (Code.INVALID_ARGUMENT, f"JSON Parse error: {text}")


def test_other_things_than_objects():
    with pytest.raises(StatusError, match=r"JSON Value: \[\n    1\n\] Is not object"):
        parse(b"[1]")


def test_a_bottomless_document_is_an_error_and_no_crash():
    with pytest.raises(StatusError, match="nested too deeply"):
        parse(b'{"a":' + b"[" * 100_000)


def test_what_follows_the_document_and_a_byte_order_mark_do_not_matter():
    assert parse(b'\xef\xbb\xbf {"a": 1} trailing') == {"a": 1}


def test_the_spellings_of_numbers_that_are_none():
    text = b'{"a":[Inf,-Inf,Infinity,-Infinity,NaN,-NaN,"Inf","-Infinity\\"Inf"],"Inf":1e308}'
    values = parse(text)
    assert str(values) == "{'a': [inf, -inf, inf, -inf, nan, nan, 'Inf', '-Infinity\"Inf'], 'Inf': 1e+308}"
    with pytest.raises(StatusError, match=r"Invalid value. at offset: 5"):
        parse(b'{"a":Ing}')


def test_pairs_of_surrogates_and_escaped_backslashes_are_text():
    assert parse(rb'{"a": "\ud83d\uDE00 \\ud800"} \ud800') == {"a": "\U0001f600 \\ud800"}


def test_names_that_are_not_utf_8():
    assert refused(b'{"instances":[{"\xff":1}]}', x=FLOAT) == (
        "INVALID_ARGUMENT",
        (
            "Failed to process element: 0 key: \ufffd of 'instances' list."
            " Error: INVALID_ARGUMENT: JSON object: does not have named input: \ufffd"
        ),
    )
    assert predict(b'{"signature_name":"\xff","inputs":1}', x=FLOAT)[2].model_spec.signature_name == "\ufffd"
    request = message("tensorflow.serving.ClassificationRequest")()
    with pytest.raises(StatusError, match="Feature: \ufffd has a name that is not UTF-8"):
        rest_json_input.fill_examples(parse(b'{"examples":[{"\xff":1}]}'), request)


def test_rows_of_one_input():
    assert predict({"instances": [1, 2.5, -3e2]}, x=FLOAT)[:2] == (True, {"x": (FLOAT, (3,), [1.0, 2.5, -300.0])})
    assert predict({"instances": [[1, 2], [3, 4]]}, x=INT64)[1] == {"x": (INT64, (2, 2), [1, 2, 3, 4])}
    assert predict({"instances": [{"x": [[1]]}, {"x": [[2]]}]}, x=UINT8)[1] == {"x": (UINT8, (2, 1, 1), [1, 2])}
    assert predict({"instances": [[], []]}, x=FLOAT)[1] == {"x": (FLOAT, (2, 0), [])}


def test_rows_of_several_inputs():
    body = {"instances": [{"a": 1.5, "b": ["u", "v"]}, {"b": ["w", "x"], "a": 2}]}
    assert predict(body, a=DOUBLE, b=STRING)[1] == {
        "a": (DOUBLE, (2,), [1.5, 2.0]),
        "b": (STRING, (2, 2), [b"u", b"v", b"w", b"x"]),
    }


def test_columns():
    assert predict({"inputs": [[1], [2]]}, x=INT32)[:2] == (False, {"x": (INT32, (2, 1), [1, 2])})
    assert predict({"inputs": 7}, x=INT32)[1] == {"x": (INT32, (), [7])}
    body = {"inputs": {"a": [True, False], "b": "text", "not an input": 1}}
    assert predict(body, a=BOOL, b=STRING)[1] == {"a": (BOOL, (2,), [True, False]), "b": (STRING, (), [b"text"])}


def test_the_signature_is_looked_up_by_name():
    request = message("tensorflow.serving.PredictRequest")()
    asked = []

    def infos(name):
        asked.append(name)
        return infos_of(x=FLOAT)

    rest_json_input.fill_predict({"signature_name": "s", "inputs": 1}, infos, request)
    assert (asked, request.model_spec.signature_name) == (["s"], "s")


def test_bytes_as_base64():
    for data in (b"", b"\x00", b"ab", b"abc", bytes(range(256))):
        text = base64.b64encode(data).decode()
        for spelled in (text, text.rstrip("="), text[:2] + "\n" + text[2:]):
            assert predict({"instances": [{"b64": spelled}]}, x=STRING)[1] == {"x": (STRING, (1,), [data])}
    assert predict({"inputs": {"b64": "YQ=="}}, x=STRING)[1] == {"x": (STRING, (), [b"a"])}
    assert refused({"instances": [{"b64": "?"}]}, x=STRING)[1].endswith("Unable to base64 decode")
    assert "not formatted correctly for base64 data" in refused({"inputs": {"x": {"b64": "YQ==", "c": 1}}}, x=STRING)[1]


def test_strings_keep_their_bytes():
    body = b'{"instances": ["\xc3\xbc\\u00fc\\ud83d\\ude00", "\xff"]}'
    assert predict(body, x=STRING)[1]["x"][2] == ["üü\U0001f600".encode(), b"\xff"]
    assert "surrogate pair" in refused(b'{"instances": ["\\ud83d"]}', x=STRING)[1]


@pytest.mark.parametrize(
    ("dtype", "value", "problem"),
    [
        (FLOAT, "text", 'JSON Value: "text" Type: String is not of expected type: float'),
        (FLOAT, None, "JSON Value: null Type: Null is not of expected type: float"),
        (FLOAT, True, "JSON Value: true Type: True is not of expected type: float"),
        (FLOAT, 2**24, "Cannot convert JSON value: 16777216 to float without loss of precision."),
        (FLOAT, 1e39, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        (DOUBLE, 2**53, "Cannot convert JSON value: 9007199254740992 to double without loss of precision."),
        (INT32, 1.0, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (INT32, 2**31, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (UINT8, True, "JSON Value: true Type: True is not of expected type: uint8"),
        (INT64, 2**63, "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        (UINT32, -1, "JSON Value: -1 Type: Number is not of expected type: uint32"),
        (UINT64, -1, "JSON Value: -1 Type: Number is not of expected type: uint64"),
        (BOOL, 1, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (STRING, 1, "JSON Value: 1 Type: Number is not of expected type: string"),
        (HALF, 1.0, "Conversion of JSON Value: 1.0 to type: half"),
    ],
)
def test_values_that_do_not_fit_alone_or_among_others(dtype, value, problem):
    code = "UNIMPLEMENTED" if dtype == HALF else "INVALID_ARGUMENT"
    assert refused({"inputs": value}, x=dtype) == (code, problem)
    assert refused({"inputs": [value]}, x=dtype) == (code, problem)
    assert refused({"instances": [value]}, x=dtype) == (
        "INVALID_ARGUMENT",
        f"Failed to process element: 0 of 'instances' list. Error: {code}: {problem}",
    )
    assert refused({"instances": [{"x": [value]}]}, x=dtype) == (
        "INVALID_ARGUMENT",
        f"Failed to process element: 0 key: x of 'instances' list. Error: {code}: {problem}",
    )


def test_numbers_at_the_edge_fit():
    body = {"inputs": [2**24 - 1, -(2**24) + 1, 3.4028234663852886e38]}
    assert predict(body, x=FLOAT)[1]["x"][2] == [16777215.0, -16777215.0, 3.4028234663852886e38]
    assert predict({"inputs": [2**64 - 1]}, x=UINT64)[1]["x"][2] == [2**64 - 1]
    assert predict({"inputs": [-(2**63)]}, x=INT64)[1]["x"][2] == [-(2**63)]
    assert predict(b'{"inputs": [NaN, Infinity, -Infinity]}', x=FLOAT)[1]["x"][2][1:] == [float("inf"), -float("inf")]


def test_narrow_integers_keep_their_low_bits():
    assert predict({"inputs": [300, -1]}, x=UINT8)[1]["x"][2] == [44, 255]
    assert predict({"inputs": [300, -129]}, x=INT8)[1]["x"][2] == [44, 127]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [1], "inputs": 1}, "Not formatted correctly expecting only one of 'inputs' or 'instances'"),
        ({"instances": 1}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1, 2]}, "instances is a plain list, but expecting list of objects as multiple input tensors"),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object as multiple input tensors"),
        ({"inputs": {"a": 1}}, "Missing named input: b in 'inputs' object."),
        ({"instances": [{"a": 1}]}, "keys must be equal to: a,b"),
        ({"instances": [{"a": 1, "c": 1}]}, "does not have named input: c"),
        ({"instances": [{"a": 1, "b": 1}, 3]}, "Expecting object but got list at item 1 of input list"),
        ({"instances": [{"a": 1, "b": 1}, {"a": [1, 2], "b": 1}]}, "Expecting tensor size: 1 but got: 2"),
        ({"signature_name": 1, "inputs": 1}, "'signature_name' key must be a string value."),
    ],
)
def test_bodies_that_do_not_fit_two_inputs(body, problem):
    code, text = refused(body, a=FLOAT, b=FLOAT)
    assert code == "INVALID_ARGUMENT"
    assert problem in text


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"instances": [1, {"x": 1}]}, "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [[1, 2], [1]]}, "Expecting tensor size: 2 but got: 1"),
        ({"instances": [[[1, 2]], [[1], [2]]]}, "Expecting shape [1,2] but got: [2,1]"),
        ({"inputs": [[1, 2], [3]]}, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": [[1], 2]}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ],
)
def test_shapes_that_do_not_fit(body, problem):
    assert problem in refused(body, x=FLOAT)[1]


def test_an_error_repeats_only_the_beginning_of_a_large_body():
    code, text = refused({"instances": "y" * 10_000}, x=FLOAT)
    assert code == "INVALID_ARGUMENT"
    assert len(text) < 400


def test_a_signature_without_inputs():
    assert refused({"inputs": 1}) == ("INVALID_ARGUMENT", "Failed to get input map for signature: DEFAULT")


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.floats(width=32, allow_nan=False), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    )
)
def test_any_matrix_arrives_the_same_by_row_and_by_column(rows):
    as_rows = predict({"instances": rows}, x=FLOAT)[2].inputs["x"]
    as_columns = predict({"inputs": rows}, x=FLOAT)[2].inputs["x"]
    assert as_rows == as_columns
    assert as_rows.tensor_content == b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)


def examples(body):
    request = message("tensorflow.serving.ClassificationRequest")()
    rest_json_input.fill_examples(parse(json.dumps(body).encode()), request)
    return request


def test_examples_hold_features_of_each_kind():
    request = examples({"examples": [{"i": [1, True], "f": 1.5, "s": ["a", {"b64": "/w=="}], "none": []}]})
    feature = request.input.example_list.examples[0].features.feature
    assert list(feature["i"].int64_list.value) == [1, 1]
    assert list(feature["f"].float_list.value) == [1.5]
    assert list(feature["s"].bytes_list.value) == [b"a", b"\xff"]
    assert feature["none"].WhichOneof("kind") is None


def test_a_context_comes_along():
    request = examples({"signature_name": "s", "context": {"c": 1}, "examples": [{"a": 2}]})
    both = request.input.example_list_with_context
    assert list(both.context.features.feature["c"].int64_list.value) == [1]
    assert (len(both.examples), request.model_spec.signature_name) == (1, "s")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": {"x": 1}}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, 1.5]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": ["s", 1]}]}, "Unexpected element type in feature: a expecting type: bytes"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64 element. Only int64 is supported."),
        ({"examples": [{"a": 1e39}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    ],
)
def test_examples_that_are_refused(body, problem):
    with pytest.raises(StatusError) as failure:
        examples(body)
    assert failure.value.code is Code.INVALID_ARGUMENT
    assert problem in failure.value.message
