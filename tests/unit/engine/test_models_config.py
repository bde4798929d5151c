from __future__ import annotations

import stat

import pytest
from modelfleet.errors import InvalidInput
from modelfleet.models_config import ForeignConfig, ModelEntry, ModelsConfig, diff, parse, read, render, write

DIGITS = ModelEntry("digits", "/models/digits", (3, 2), {"stable": 3})
CONFIG = ModelsConfig.of([DIGITS, ModelEntry("a", "/models/a", (1,))])


def entry_text(**changes):
    fields = {
        "name": '"digits"',
        "base_path": '"/models/digits"',
        "model_platform": '"tensorflow"',
        "model_version_policy": "{ specific { versions: 1 } }",
    } | changes
    inner = " ".join(f"{key}: {value}" for key, value in fields.items() if value is not None)
    return f"model_config_list {{\n config {{ {inner} }} }}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry_text(model_version_policy="{ latest { num_versions: 2 } }"), "policy latest"),
        (entry_text(model_version_policy="{ all { } }"), "policy all"),
        (entry_text(model_version_policy="{ }"), "policy latest"),
        (entry_text(model_version_policy=None), "no version policy"),
        (entry_text(model_version_policy="{ specific { } }"), "no version"),
        (entry_text(model_platform=None), "platform"),
        (entry_text(model_platform='"torch"'), "platform"),
        (entry_text(model_type="TENSORFLOW", model_platform=None), "model_type"),
        (entry_text(logging_config="{ }"), "logging_config"),
        (entry_text(base_path='"models"'), "not absolute"),
        (entry_text(name='"dig its"'), "letters"),
        (entry_text(version_labels="{ key: 'stable' value: 9 }"), "version 9"),
        (entry_text(version_labels="{ key: 'stable' }"), "version 0"),
        ("custom_model_config { }", "custom_model_config"),
        ("", "no model_config_list"),
        ("# only a comment\n", "no model_config_list"),
    ],
)
def test_what_the_fleet_never_writes_is_foreign(text, words):
    with pytest.raises(ForeignConfig) as caught:
        parse(text, "models.config")
    assert words in str(caught.value)
    assert "models.config" in caught.value.subject


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (entry_text(nme="1"), "f:2:", "nme is not a field"),
        (entry_text(model_version_policy="{ specific { versions: 1 } all { } }"), "f:2:", "two version policies"),
        ("model_config_list { } model_config_list { }", "f:1:23", "given twice"),
        (entry_text() + "\n}", "f:3:1", "} stands"),
        ("model_config_list {\n  config {", "f:2:11", "end of the file"),
        ("model_config_list { config: [{} }", "f:1:33", "list of config"),
        (entry_text(name='"a'), "f:2:", "not understood"),
        (entry_text(name=r'"\777"'), "f:2:", "escape"),
        (entry_text(name=r'"\q"'), "f:2:", "escape"),
        (entry_text(name=r'"\xff"'), "f:2:", "UTF-8"),
        (entry_text(name="1"), "f:2:", "not a string"),
        (entry_text(model_version_policy="{ specific { versions: 9223372036854775808 } }"), "f:2:", "64-bit"),
        (entry_text(model_version_policy="{ specific { versions: 08 } }"), "f:2:", "not a number"),
        (entry_text(model_version_policy="3"), "f:2:", "no block"),
        ("model_config_list " + "{ config " * 99, "f:1:", "deep"),
    ],
)
def test_an_unreadable_text_names_line_and_column(text, place, words):
    with pytest.raises(InvalidInput) as caught:
        parse(text, "f")
    assert caught.value.subject.startswith(place)
    assert words in caught.value.problem
    assert not isinstance(caught.value, ForeignConfig)


def test_a_model_listed_twice_is_refused():
    twice = render(ModelsConfig.of([DIGITS])).replace("\n}\n", "") + " " + entry_text().split("\n", 1)[1]
    with pytest.raises(InvalidInput, match="listed twice"):
        parse(twice, "f")


def test_the_empty_list_is_a_configuration_of_its_own():
    assert parse("model_config_list {}", "f") == ModelsConfig()
    assert parse(render(ModelsConfig()), "f") == ModelsConfig()


def test_an_entry_is_normalised_and_checked():
    assert DIGITS.versions == (2, 3)
    with pytest.raises(InvalidInput, match="label stable points to version 4"):
        ModelEntry("digits", "/m", (3,), {"stable": 4})


def test_copies_without_a_model_or_a_version():
    assert list(CONFIG.without("digits").entries) == ["a"]
    assert CONFIG.without("digits", 3).entries["digits"] == ModelEntry("digits", "/models/digits", (2,))
    assert CONFIG.without("a", 1).versions("a") == ()
    assert CONFIG.without("missing") == CONFIG
    assert CONFIG.with_entry(ModelEntry("a", "/models/a", (2,))).versions("a") == (2,)
    assert (CONFIG.labels("digits"), CONFIG.labels("missing")) == ({"stable": 3}, {})


def test_a_difference_is_told_line_by_line():
    moved = ModelsConfig.of([ModelEntry("digits", "/other/digits", (3, 4), {"stable": 4, "canary": 4})])
    assert diff(CONFIG, moved) == (
        "a: removed",
        "digits: base_path /models/digits -> /other/digits",
        "digits: + version 4",
        "digits: - version 2",
        "digits: label canary -> 4",
        "digits: label stable 3 -> 4",
    )
    assert diff(None, moved)[0] == "digits: added"
    assert diff(CONFIG, ModelsConfig.of([ModelEntry("digits", "/models/digits", (2, 3))]))[1:] == (
        "digits: label stable removed",
    )


def test_a_file_is_written_once_and_read_back(tmp_path):
    path = tmp_path / "models.config"
    assert read(path) is None
    assert write(path, CONFIG)
    before = path.stat()
    assert stat.S_IMODE(before.st_mode) == 0o644
    assert not write(path, CONFIG)
    assert path.stat().st_ino == before.st_ino
    assert write(path, CONFIG.without("a"))
    assert path.stat().st_ino != before.st_ino, "replaced by renaming, never rewritten in place"
    assert read(path) == CONFIG.without("a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["models.config"]


def test_files_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="not UTF-8"):
        read(tmp_path / "binary")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match=f"check that {tmp_path}/missing exists"):
        write(tmp_path / "missing" / "models.config", CONFIG)
