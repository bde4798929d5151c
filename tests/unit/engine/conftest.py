"""The node that the tests of its loop share."""

from __future__ import annotations

import pytest

from tests.support.node_rig import Rig


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    for model in ("digits", "words"):
        rig.publish(model, 1)
    return rig
