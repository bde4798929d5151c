"""Why a version does not load, in the words that operators look for in model states and logs."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.rpc_status import Code, StatusError

from tests.support.runtime_lab import load
from tests.support.saved_models import scale


def failure(path, **options):
    with pytest.raises(StatusError) as error:
        load(path, **options)
    return error.value.code, error.value.message


def test_a_directory_without_a_saved_model_is_named(tmp_path):
    assert failure(tmp_path) == (
        Code.NOT_FOUND,
        (
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {tmp_path}"
        ),
    )


def test_a_directory_that_vanished_is_named_the_same_way(tmp_path):
    code, text = failure(tmp_path / "gone")
    assert code == Code.NOT_FOUND
    assert text.endswith(f"\nSpecified file path: {tmp_path / 'gone'}")


def test_a_session_bundle_is_refused_even_beside_a_saved_model(tmp_path):
    scale(tmp_path)
    (tmp_path / "export.meta").touch()
    assert failure(tmp_path) == (Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")


def test_tags_that_no_meta_graph_has_are_listed(tmp_path):
    code, text = failure(scale(tmp_path), saved_model_tags=("train",))
    assert code == Code.NOT_FOUND
    assert "Could not find meta graph def matching supplied tags: { train }" in text


@pytest.mark.parametrize("tags", [("serve", "gpu"), ()])
def test_more_or_fewer_tags_than_the_meta_graph_has_do_not_match(tmp_path, tags):
    code, text = failure(scale(tmp_path), saved_model_tags=tags)
    assert code == Code.NOT_FOUND
    assert "Could not find meta graph def matching supplied tags" in text
