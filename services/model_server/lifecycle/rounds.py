"""Work on a thread that must not die."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator


@contextmanager
def survived(logger: logging.Logger, text: str, *values: object) -> Iterator[None]:
    """Log whatever error the work ends with and go on: a thread that dies stops everything.

    Args:
        logger: Where the error is told, with its traceback.
        text: What has failed, as a format of the log.
        values: What the text needs.
    """
    try:
        yield
    except Exception:
        logger.exception(text, *values)
