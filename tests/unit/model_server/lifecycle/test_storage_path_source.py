"""Which directories are versions, and which of them a policy wants."""

from __future__ import annotations

import logging

import pytest
from modelfleet.adapters.protos import message
from modelfleet_services.model_server.lifecycle.storage_path_source import (
    MonitoredModel,
    StoragePathSource,
    version_number,
    wanted_versions,
)
from modelfleet_services.model_server.rpc_status import StatusError

LOG = logging.getLogger("source")
NOTHING_FOUND = (
    "No versions of servable m found under base path {}. Did you forget to name your leaf directory as a number "
    "(eg. '/1/')?"
)


def wanted(base, policy="latest", **options):
    found = wanted_versions(MonitoredModel("m", str(base), policy, **options), LOG)
    for version, path in found.items():
        assert path.startswith(f"{base}/")
        assert int(path.rpartition("/")[2]) == version
    return {version: path.rpartition("/")[2] for version, path in found.items()}


def lay(base, *names):
    for name in names:
        (base / name).mkdir()
    return base


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("001", 1),
        ("+2", 2),
        ("-3", -3),
        (" 4 ", 4),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", None),
        ("", None),
        ("v1", None),
        ("1.tmp", None),
        ("2.denied", None),
        ("1_000", None),
        ("0x1", None),
        ("1e3", None),
        ("+ 1", None),
        ("\u0661", None),
        (".staging", None),
    ],
)
def test_a_version_is_a_whole_64_bit_integer(name, version):
    assert version_number(name) == version


def test_latest_takes_the_highest_numbers_not_the_last_names(tmp_path):
    lay(tmp_path, "9", "10", "2", "v11")
    assert wanted(tmp_path) == {10: "10"}
    assert wanted(tmp_path, latest=2) == {10: "10", 9: "9"}
    assert wanted(tmp_path, latest=99) == {10: "10", 9: "9", 2: "2"}


def test_of_two_names_for_a_number_latest_takes_the_last_and_all_the_first(tmp_path, caplog):
    lay(tmp_path, "001", "1")
    assert wanted(tmp_path) == {1: "1"}
    assert caplog.messages == [
        "Duplicate version directories detected. Version 1 will be loaded from 1, 001 will be ignored."
    ]
    assert wanted(tmp_path, "all") == {1: "001"}


def test_specific_looks_for_the_unpadded_name_first_and_lists_only_when_one_is_missing(tmp_path, caplog):
    lay(tmp_path, "1", "01", "002", "3")
    assert wanted(tmp_path, "specific", specific=frozenset({1, 3})) == {1: "1", 3: "3"}
    assert caplog.messages == []
    assert wanted(tmp_path, "specific", specific=frozenset({1, 2})) == {1: "1", 2: "002"}
    assert "Duplicate version directories" in caplog.text


def test_specific_leaves_out_what_is_missing_with_a_warning_each(tmp_path, caplog):
    lay(tmp_path, "1")
    assert wanted(tmp_path, "specific", specific=frozenset({1, 2, 3})) == {1: "1"}
    assert [text.split()[1] for text in caplog.messages] == ["2", "3"]


def test_nothing_found_is_an_empty_list_and_a_warning(tmp_path, caplog):
    lay(tmp_path, "v1")
    for policy in ("latest", "all", "specific"):
        caplog.clear()
        assert wanted(tmp_path, policy) == {}
        assert caplog.messages == [NOTHING_FOUND.format(tmp_path)]


def test_a_file_uri_is_a_local_path(tmp_path):
    lay(tmp_path, "1")
    assert wanted_versions(MonitoredModel("m", f"file://{tmp_path}"), LOG) == {1: str(tmp_path / "1")}


def test_a_missing_base_path(tmp_path):
    with pytest.raises(StatusError) as failure:
        wanted(tmp_path / "gone")
    assert failure.value.message == (
        f"Could not find base path {tmp_path}/gone for servable m with error NOT_FOUND: {tmp_path}/gone not found"
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ("latest", 1, frozenset())),
        ({"latest": {"num_versions": 0}}, ("latest", 1, frozenset())),
        ({"latest": {"num_versions": 3}}, ("latest", 3, frozenset())),
        ({"all": {}}, ("all", 1, frozenset())),
        ({"specific": {"versions": [4, 5]}}, ("specific", 1, frozenset({4, 5}))),
        ({"specific": {}}, ("specific", 1, frozenset())),
    ],
)
def test_the_policy_of_a_model(policy, expected):
    config = message("tensorflow.serving.ModelConfig")(name="m", base_path="/m", model_version_policy=policy)
    model = MonitoredModel.of(config)
    assert (model.name, model.base_path) == ("m", "/m")
    assert (model.policy, model.latest, model.specific) == expected


class TestRounds:
    @pytest.fixture
    def source(self, tmp_path):
        self.received = []
        for name in ("a", "b"):
            lay(lay(tmp_path, name) / name, "1")
        self.models = [MonitoredModel(name, str(tmp_path / name)) for name in ("b", "a")]
        return StoragePathSource(
            self.models,
            poll_wait_s=1.0,
            set_wanted=lambda name, paths: self.received.append((name, sorted(paths))),
            log=LOG,
        )

    def test_a_round_sends_one_list_for_each_model(self, source):
        source.poll()
        assert self.received == [("a", [1]), ("b", [1])]

    def test_a_round_in_which_one_base_path_is_missing_sends_nothing(self, source, tmp_path):
        (tmp_path / "b" / "1").rmdir()
        (tmp_path / "b").rmdir()
        source.poll()
        assert self.received == []

    def test_an_update_unwants_what_is_gone_at_once_and_looks_for_nothing(self, source, tmp_path):
        source.update([MonitoredModel("a", str(tmp_path / "elsewhere")), MonitoredModel("new", str(tmp_path / "a"))])
        assert self.received == [("b", [])]
        assert source.names() == {"a", "new"}
