"""Values cross from messages to TensorFlow and back unchanged, whatever form they were sent in."""

from __future__ import annotations

import ctypes
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.rpc_status import Code, StatusError
from modelfleet_services.model_server.runtime import tensors
from modelfleet_services.model_server.runtime.tensors import (
    numbers_proto,
    strings_proto,
    strings_value,
    value_bytes,
)

from tests.support.runtime_lab import loaded, predict_request
from tests.support.saved_models import DTYPES, echo, tensor

#: (format of one stored number, values that meet the limits of the type)
NUMBERS = {
    "float": ("f", [0.0, -1.5, 3.4e38, 1e-45, math.inf]),
    "double": ("d", [0.0, -1.5, 1.7e308, 5e-324, -math.inf]),
    "int32": ("i", [0, -1, 2**31 - 1, -(2**31)]),
    "uint8": ("B", [0, 127, 128, 255]),
    "int16": ("h", [0, -1, 2**15 - 1, -(2**15)]),
    "int8": ("b", [0, -1, 127, -128]),
    "complex64": ("f", [0.0, 1.0, -2.5, math.inf]),
    "int64": ("q", [0, -1, 2**63 - 1, -(2**63)]),
    "bool": ("?", [True, False, True]),
    "bfloat16": ("H", [0, 0x3F80, 0xFF80, 0x7F80]),
    "uint16": ("H", [0, 127, 128, 2**16 - 1]),
    "complex128": ("d", [0.0, 1.0, -2.5, math.inf]),
    "half": ("H", [0, 0x3C00, 0xBC00, 0x7C00]),
    "uint32": ("I", [0, 128, 2**32 - 1]),
    "uint64": ("Q", [0, 128, 2**64 - 1]),
}
STRINGS = [b"", b"short", b"\x00\xff", b"x" * 22, b"y" * 23, b"z" * 100_000]


def sent(dtype, values):
    count = len(values) // 2 if dtype.startswith("complex") else len(values)
    return tensor(dtype, values, [count])


def content_of(dtype, values):
    """Return the same tensor as sent() makes, its values as they lie in memory."""
    result = sent(dtype, [])
    del result.tensor_shape.dim[:]
    result.tensor_shape.CopyFrom(sent(dtype, values).tensor_shape)
    code, _ = NUMBERS[dtype]
    result.tensor_content = struct.pack(f"={len(values)}{code}", *values)
    return result


def answer(servable, value):
    return servable.run("serving_default", {"x": value}, ["y"])["y"]


@pytest.fixture(params=sorted(NUMBERS))
def dtype(request):
    return request.param


def test_every_number_type_round_trips_in_either_form(dtype, tmp_path):
    _, values = NUMBERS[dtype]
    typed, content = sent(dtype, values), content_of(dtype, values)
    path = echo(tmp_path / "1", dtype)
    with loaded(path) as servable:
        assert answer(servable, typed) == typed
        assert answer(servable, content) == typed
    with loaded(path, enable_serialization_as_tensor_content=True) as servable:
        assert answer(servable, typed) == content


def test_a_tensor_without_values_keeps_its_shape(dtype, tmp_path):
    with loaded(echo(tmp_path / "1", dtype)) as servable:
        assert answer(servable, tensor(dtype, [], [3, 0, 2])) == tensor(dtype, [], [3, 0, 2])


def test_the_message_of_numbers_and_their_bytes_are_inverses(dtype):
    code, values = NUMBERS[dtype]
    data = struct.pack(f"={len(values)}{code}", *values)
    proto = numbers_proto(DTYPES[dtype], [d.size for d in sent(dtype, values).tensor_shape.dim], data)
    assert proto == sent(dtype, values)
    assert value_bytes(proto) == data
    assert value_bytes(content_of(dtype, values)) == data


@pytest.mark.parametrize("as_content", [False, True])
def test_strings_of_every_length_round_trip(tmp_path, as_content):
    with loaded(echo(tmp_path / "1"), enable_serialization_as_tensor_content=as_content) as servable:
        reply = answer(servable, tensor("string", STRINGS, [2, 3]))
        assert reply == strings_proto([2, 3], STRINGS, as_content=as_content)
        assert bool(reply.tensor_content) == as_content
        # What is given as content is understood as content.
        assert answer(servable, reply) == reply


def test_strings_are_read_in_each_of_their_four_layouts():
    outside = ctypes.create_string_buffer(b"a view on memory of somebody else", 33)
    large = ctypes.create_string_buffer(b"a string with memory of its own", 31)
    texts = [b"small", large.raw, b"lies behind the tensor", outside.raw]
    layouts = [
        struct.pack("=B23s", len(texts[0]) << 2 | 0, texts[0]),
        struct.pack("=QQQ", len(texts[1]) << 2 | 1, 64, ctypes.addressof(large)),
        # Relative to where this string itself lies: the third of four.
        struct.pack("=III12x", len(texts[2]) << 2 | 2, 2 * 24, 0),
        struct.pack("=QQQ", len(texts[3]) << 2 | 3, ctypes.addressof(outside), 0),
    ]
    memory = ctypes.create_string_buffer(b"".join(layouts) + texts[2])
    assert tensors._strings(ctypes.addressof(memory), 4) == texts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=12))
def test_any_strings_round_trip(shared_echo, values):
    assert list(answer(shared_echo, tensor("string", values)).string_val) == values


@pytest.fixture(scope="module")
def shared_echo(tmp_path_factory):
    with loaded(echo(tmp_path_factory.mktemp("echo") / "1")) as servable:
        yield servable


@pytest.fixture(scope="module")
def floats(tmp_path_factory):
    with loaded(echo(tmp_path_factory.mktemp("floats") / "1", "float")) as servable:
        yield servable


def test_the_last_value_of_a_short_list_is_repeated(floats):
    assert list(answer(floats, tensor("float", [1, 2], [5])).float_val) == [1, 2, 2, 2, 2]
    assert value_bytes(tensor("float", [1, 2], [3])) == struct.pack("3f", 1, 2, 2)
    assert strings_value(tensor("string", [b"a", b"b"], [3])) == [b"a", b"b", b"b"]


def test_what_a_long_list_has_too_many_is_left_out(floats):
    assert list(answer(floats, tensor("float", [1, 2, 3], [2])).float_val) == [1, 2]
    assert value_bytes(tensor("float", [1, 2, 3], [2])) == struct.pack("2f", 1, 2)
    assert strings_value(tensor("string", [b"a", b"b"], [1])) == [b"a"]


def test_packed_strings_are_not_unpacked():
    with pytest.raises(ValueError, match="tensor_content"):
        strings_value(strings_proto([1], [b"a"], as_content=True))


def test_a_shape_without_values_is_zeros(floats):
    assert list(answer(floats, tensor("float", [], [3])).float_val) == [0, 0, 0]
    assert value_bytes(tensor("float", [], [2])) == bytes(8)
    assert strings_value(tensor("string", [], [2])) == [b"", b""]


def test_a_scalar_has_no_dimension(floats):
    assert answer(floats, tensor("float", [2.5], [])) == tensor("float", [2.5], [])


def test_a_million_floats_come_back(floats):
    data = struct.pack("=f", 0.25) * 1_000_000
    value = message("tensorflow.TensorProto")(dtype=1, tensor_content=data)
    value.tensor_shape.dim.add(size=1_000_000)
    assert value_bytes(answer(floats, value)) == data


@pytest.mark.parametrize(
    "broken",
    [
        {"dtype": 1, "tensor_content": b"abc", "tensor_shape": {"dim": [{"size": 1}]}},
        {"dtype": 1, "tensor_content": b"abcdefgh", "tensor_shape": {"dim": [{"size": 1}]}},
        {"dtype": 7, "tensor_content": b"\xff\xff\xff\xff\x01", "tensor_shape": {"dim": [{"size": 1}]}},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": -2}]}},
        {},
    ],
)
def test_bytes_that_are_no_tensor_are_refused_by_alias(floats, broken):
    with pytest.raises(StatusError) as error:
        answer(floats, message("tensorflow.TensorProto")(**broken))
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, "tensor parsing error: x")


def test_a_later_broken_input_does_not_disturb_the_next_request(floats):
    with pytest.raises(StatusError):
        answer(floats, predict_request(x=message("tensorflow.TensorProto")(dtype=1, tensor_content=b"a")).inputs["x"])
    assert list(answer(floats, tensor("float", [4])).float_val) == [4]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (message("tensorflow.TensorProto")(dtype=1, tensor_content=b"abc"), "^3$"),
        (tensor("string", [b"a"]), "DT_STRING"),
        (tensor("float", [1], [-1]), r"\[-1\]"),
    ],
)
def test_content_of_another_size_strings_and_no_shape_have_no_bytes(value, words):
    with pytest.raises(ValueError, match=words):
        value_bytes(value)


def test_a_type_without_a_field_cannot_be_answered():
    with pytest.raises(StatusError, match="DT_RESOURCE") as error:
        numbers_proto(20, [], b"")
    assert error.value.code == Code.UNIMPLEMENTED
