"""The program ``modelfleet puller``: keeps a node's store as the manifest wants it, and tells about it on a port."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..common.command_line import SettingsRefused
from . import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFUSED = 2


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop; return 2 where the settings do not allow a start.

    Raises:
        InvalidInput: see ``serving.serve``.
    """
    try:
        options = settings.read(arguments, os.environ)
    except SettingsRefused as refused:
        for problem in refused.problems:
            sys.stderr.write(f"{settings.PROGRAM}: {problem.one_line()}\n")
        return _REFUSED
    from .serving import serve  # noqa: PLC0415  (slow, and a person who gave wrong settings is to be told at once)

    status = serve(options)
    # A thread that hangs must not keep the process: no joining of threads, no destructors.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
