"""models.config against protobuf's own text format, in both directions."""

from __future__ import annotations

import re

import pytest
from google.protobuf import text_format as oracle
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.protos import message
from modelfleet.errors import InvalidInput
from modelfleet.models_config import ModelEntry, ModelsConfig, diff, parse, render

names = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
versions = st.integers(1, 2**63 - 1)
paths = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: f"/{text}")


@st.composite
def entries(draw, name=names):
    numbers = draw(st.lists(versions, min_size=1, max_size=4, unique=True))
    labels = draw(st.dictionaries(names, st.sampled_from(numbers), max_size=3))
    return ModelEntry(draw(name), draw(paths), tuple(numbers), labels)


configs = st.lists(entries(), max_size=4).map(ModelsConfig.of)


def as_message(config):
    result = message("tensorflow.serving.ModelServerConfig")()
    result.model_config_list.SetInParent()
    for entry in config.entries.values():
        item = result.model_config_list.config.add(
            name=entry.name, base_path=entry.base_path, model_platform="tensorflow"
        )
        item.model_version_policy.specific.versions.extend(entry.versions)
        item.version_labels.update(entry.labels)
    return result


@given(configs)
def test_what_is_rendered_means_the_same_to_protobuf(config):
    read = oracle.Parse(render(config), message("tensorflow.serving.ModelServerConfig")())
    assert read == as_message(config)


@given(configs)
def test_what_is_rendered_is_parsed_again(config):
    assert parse(render(config), "file") == config


@given(configs, st.booleans(), st.booleans(), st.booleans())
def test_what_protobuf_writes_is_parsed(config, short, pointy, utf8):
    text = oracle.MessageToString(
        as_message(config), as_one_line=short, pointy_brackets=pointy, as_utf8=utf8, use_short_repeated_primitives=short
    )
    assert parse(text, "file") == config


@st.composite
def spellings(draw, config):  # noqa: C901  (a grammar in one place)
    """The same configuration in any of the ways the grammar allows."""

    def blank():
        return draw(st.sampled_from([" ", "\n", "\t", " # a comment { \" '\n", "\r\n"]))

    def end():
        return draw(st.sampled_from(["", ";", ","])) + blank()

    def block(name, body):
        opening, closing = draw(st.sampled_from(["{}", "<>"]))
        return f"{name}{blank()}{draw(st.sampled_from(['', ':']))}{blank()}{opening}{blank()}{body}{closing}{end()}"

    def string(text):
        pieces = [text[: len(text) // 2], text[len(text) // 2 :]] if draw(st.booleans()) else [text]
        return blank().join(quoted(piece) for piece in pieces)

    def quoted(text):
        quote = draw(st.sampled_from("\"'"))
        return quote + "".join(character(item, quote) for item in text) + quote

    def character(item, quote):
        how = draw(st.sampled_from(["plain", "octal", "hex"]))
        if how == "plain" and item not in f"\\\n{quote}":
            return item
        digits = "\\{:03o}" if how == "octal" else "\\x{:02x}"
        return "".join(digits.format(byte) for byte in item.encode())

    def number(value):
        return draw(st.sampled_from(["{}", "0x{:x}", "0X{:X}", "0{:o}"])).format(value)

    def scalar(name, value):
        return f"{name}{blank()}:{blank()}{value}{end()}"

    def listed(values):
        if draw(st.booleans()):
            return scalar("versions", f"[{','.join(number(value) + blank() for value in values)}]")
        return "".join(scalar("versions", number(value)) for value in values)

    bodies = []
    for entry in config.entries.values():
        parts = [
            scalar("name", string(entry.name)),
            scalar("base_path", string(entry.base_path)),
            scalar("model_platform", string("tensorflow")),
            block("model_version_policy", block("specific", listed(entry.versions))),
        ]
        for label, version in entry.labels.items():
            pair = [scalar("key", string(label)), scalar("value", number(version))]
            parts.append(block("version_labels", "".join(draw(st.permutations(pair)))))
        bodies.append("".join(draw(st.permutations(parts))))
    if draw(st.booleans()):
        inner = f"config: [{', '.join(f'{{ {body} }}' for body in bodies)}]"
    else:
        inner = "".join(block("config", body) for body in bodies)
    return blank() + block("model_config_list", inner)


@given(st.data())
def test_every_spelling_of_the_grammar_is_read_as_protobuf_reads_it(data):
    config = data.draw(configs)
    text = data.draw(spellings(config))
    assert oracle.Parse(text, message("tensorflow.serving.ModelServerConfig")()) == as_message(config)
    assert parse(text, "file") == config


TOKENS = re.compile(r"[A-Za-z_]+|\"[^\"]*\"|\d+|\S")
SPARE = ["{", "}", "<", ">", "[", "]", ":", ",", ";", '"a"', "'", "1", "-1", "1.5", "08", "0x", "name", "latest", "all",
         "\\", "\x00", "config", "true", "#"]  # fmt: skip


@given(st.data())
def test_whatever_is_accepted_means_the_same_to_protobuf(data):
    tokens = TOKENS.findall(render(data.draw(configs)).split("\n", 1)[1])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(tokens)))
        how = data.draw(st.sampled_from(["drop", "insert", "replace", "double"]))
        if how in {"drop", "replace"}:
            del tokens[place : place + 1]
        if how in {"insert", "replace"}:
            tokens.insert(place, data.draw(st.sampled_from(SPARE)))
        if how == "double":
            tokens[place:place] = tokens[place : place + 1]
    text = " ".join(tokens)
    try:
        config = parse(text, "file")
    except InvalidInput as error:
        refusal = error
    else:
        assert oracle.Parse(text, message("tensorflow.serving.ModelServerConfig")()) == as_message(config)
        return
    assert refusal.subject.startswith("file")


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text):
    with pytest.raises(InvalidInput):
        parse(text, "file")


@given(configs, configs)
def test_a_difference_is_told_exactly_when_there_is_one(before, after):
    assert bool(diff(before, after)) == (before != after)
