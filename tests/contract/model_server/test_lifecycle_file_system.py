"""What the disk does to what is served."""

from __future__ import annotations

import logging
import shutil

import pytest

from tests.support.lifecycle_lab import eventually, settle


@pytest.fixture
def serving(make_lab):
    """Return a maker of a lab that serves model m by a policy."""

    def make(*versions, **policy):
        lab = make_lab(num_load_threads=2, num_unload_threads=1, max_num_load_retries=0)
        lab.lay("m", *versions)
        lab.start(lab.model("m", **policy))
        lab.events.clear()
        return lab

    return make


def remove(lab, *path):
    shutil.rmtree(lab.root.joinpath(*path))


def test_a_numeric_directory_is_picked_up_by_policy_latest(serving):
    lab = serving(1)
    lab.lay("m", 2)
    lab.until_state("m", 1, "END")
    assert lab.serving("m") == {2}


def test_latest_2_serves_the_two_highest(serving):
    lab = serving(1, 2, 3, latest=2)
    lab.until_serving("m", 2, 3)
    lab.lay("m", 10)
    lab.until_serving("m", 3, 10)


def test_a_directory_with_another_name_is_not_picked_up_until_renamed(serving):
    lab = serving(1)
    lab.lay("m", "2.tmp")
    settle()
    assert lab.serving("m") == {1}
    (lab.root / "m" / "2.tmp").rename(lab.root / "m" / "2")
    lab.until_serving("m", 2)


def test_latest_loads_the_next_lower_number_before_a_vanished_one_unloads(serving):
    lab = serving(1, 2)
    remove(lab, "m", "2")
    lab.until_state("m", 2, "END")
    assert lab.events == [("load", "m", 1), ("close", "m", 2)]


def test_the_last_version_removed_unloads_the_model(serving, caplog):
    lab = serving(1)
    with caplog.at_level(logging.WARNING):
        remove(lab, "m", "1")
        lab.until_state("m", 1, "END")
    assert any(text.startswith("No versions of servable m found under base path") for text in caplog.messages)


def test_the_whole_base_path_removed_unloads_nothing_but_stops_polling_for_all(make_lab):
    lab = make_lab(num_load_threads=1)
    lab.lay("a", 1), lab.lay("b", 1)
    lab.start(lab.model("a"), lab.model("b"))
    remove(lab, "a")
    settle()
    lab.lay("b", 2)
    settle()
    assert lab.serving("a") == {1}
    assert lab.states("b") == {1: "AVAILABLE"}
    lab.lay("a", 1)
    lab.until_serving("b", 2)


def test_specific_with_a_missing_version_unloads_the_one_that_serves(serving, caplog):
    lab = serving(1, specific=[1])
    with caplog.at_level(logging.WARNING):
        lab.reload(lab.model("m", specific=[2]))
        lab.until_state("m", 1, "END")
    assert (
        "Version 2 of servable m, which was requested to be served as a 'specific' version in the servable's version "
        "policy, was not found in the file system"
    ) in caplog.messages


def test_specific_1_and_2_with_2_missing_keeps_1(serving):
    lab = serving(1, specific=[1])
    lab.reload(lab.model("m", specific=[1, 2]))
    settle()
    assert lab.states("m") == {1: "AVAILABLE"}
    lab.lay("m", 2)
    lab.until_serving("m", 1, 2)


def test_specific_without_versions_unloads_all(serving):
    lab = serving(1, 2, specific=[1, 2])
    lab.until_serving("m", 1, 2)
    lab.reload(lab.model("m", specific=[]))
    lab.until_state("m", 1, "END")
    lab.until_state("m", 2, "END")


def test_policy_all_serves_every_number(serving):
    lab = serving(1, 5, 30, all=True)
    lab.until_serving("m", 1, 5, 30)


def test_contents_of_a_loaded_version_are_never_read_again(serving):
    lab = serving(1)
    (lab.root / "m" / "1" / "saved_model.pb").write_bytes(b"other")
    settle()
    assert lab.attempts == [("m", 1)]


def test_a_file_with_a_numeric_name_counts_as_a_version_and_fails(serving):
    lab = serving(1)
    path = lab.root / "m" / "7"
    path.write_bytes(b"")
    lab.until_state("m", 7, "END")
    report = lab.core.statuses("m", 7)[0]
    assert report.error_message == (
        f"Error while attempting to reserve resources to load servable {{name: m version: 7}}: {path}; Not a directory"
    )
    assert lab.serving("m") == {1}


def test_a_dangling_link_in_a_version_fails_its_estimate(serving):
    lab = serving(1)
    staged = lab.lay("m", "2.tmp") / "2.tmp"
    (staged / "assets").symlink_to(lab.root / "nowhere")
    staged.rename(lab.root / "m" / "2")
    lab.until_state("m", 2, "END")
    report = lab.core.statuses("m", 2)[0]
    assert report.error_code == 5
    assert report.error_message.startswith(
        "Error while attempting to reserve resources to load servable {name: m version: 2}: "
    )


def test_a_slow_copy_may_succeed_by_the_retries_of_the_estimate(make_lab):
    lab = make_lab(num_load_threads=1, max_num_load_retries=100)
    lab.lay("m", 1)
    lab.start(lab.model("m"))
    path = lab.root / "m" / "2"
    path.symlink_to(lab.root / "later")
    lab.until_state("m", 2, "START")
    (lab.root / "later").mkdir()
    lab.until_serving("m", 2)


def test_a_link_to_a_directory_is_followed(serving):
    lab = serving(1)
    lab.lay("elsewhere", "x")
    (lab.root / "m" / "2").symlink_to(lab.root / "elsewhere" / "x")
    lab.until_serving("m", 2)


def test_a_repaired_version_is_tried_again_after_it_was_gone_for_a_poll(serving):
    lab = serving(1, all=True)
    lab.fail("m", 2)
    lab.lay("m", 2)
    lab.until_state("m", 2, "END")
    lab.failures.clear()
    settle()
    assert lab.attempts.count(("m", 2)) == 1
    remove(lab, "m", "2")
    lab.until_forgotten("m", 2)
    lab.lay("m", 2)
    lab.until_serving("m", 1, 2)


def test_a_base_path_that_is_a_file_is_an_access_error(serving, caplog):
    lab = serving(1)
    (lab.root / "plain").write_bytes(b"")
    with caplog.at_level(logging.ERROR):
        reload = lab.reload_in_background(lab.model("m"), lab.model("plain"))
        eventually(lambda: any("plain; Not a directory" in text for text in caplog.messages), "the error in the log")
    assert not reload.done
