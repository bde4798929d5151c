"""Memory from files."""

from __future__ import annotations

import pytest
from modelfleet_services.model_server.lifecycle.resource_estimate import estimate_ram_bytes
from modelfleet_services.model_server.rpc_status import Code, StatusError


def test_all_files_below_count(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 100)
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"x" * 850)
    (tmp_path / "stray").write_bytes(b"x" * 50)
    assert estimate_ram_bytes(str(tmp_path)) == 1200


def test_what_cannot_be_measured_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "link").symlink_to(tmp_path / "nowhere")
    for name, code, text in [
        ("gone", Code.NOT_FOUND, "gone; No such file or directory"),
        ("file", Code.FAILED_PRECONDITION, "file; Not a directory"),
        ("version", Code.NOT_FOUND, "version/link; No such file or directory"),
    ]:
        with pytest.raises(StatusError) as failure:
            estimate_ram_bytes(str(tmp_path / name))
        assert (failure.value.code, failure.value.message) == (code, f"{tmp_path}/{text}")
