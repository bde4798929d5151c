"""Fixtures of the model server's contract."""

from __future__ import annotations

import pytest

from tests.support.lifecycle_lab import Lab


@pytest.fixture
def make_lab(tmp_path):
    """Make life cycles on one temporary directory; all are stopped at the end."""
    labs = []

    def make(**options):
        labs.append(Lab(tmp_path, **options))
        return labs[-1]

    yield make
    for lab in labs:
        lab.stop()
