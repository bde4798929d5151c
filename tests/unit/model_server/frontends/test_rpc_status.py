"""The words of a failure."""

from __future__ import annotations

import os

from modelfleet_services.model_server.rpc_status import Code, StatusError


def test_a_file_name_that_is_no_text_is_shown_with_replacement_characters():
    error = StatusError(Code.NOT_FOUND, f"{os.fsdecode(bytes([0x2F, 0xFF]))}; No such file \u00fc")
    assert error.message == "/\ufffd; No such file \u00fc"
    assert str(error) == f"NOT_FOUND: {error.message}"
