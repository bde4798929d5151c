"""What the program prints where callers of the real server look for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .rpc_status import StatusError

if TYPE_CHECKING:
    from modelfleet.errors import ModelfleetError


def say(text: str) -> None:
    """Write to stdout at once, where callers look for what the real server prints there."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def start_failed(error: StatusError | ModelfleetError) -> None:
    """Say why the server, or a part of it, does not start."""
    text = str(error) if isinstance(error, StatusError) else error.one_line()
    say(f"Failed to start server. Error: {text}")
