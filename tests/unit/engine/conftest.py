"""What tests of the engine share: a node, a store, and a place to unpack archives."""

from __future__ import annotations

import pytest
from modelfleet.store import Store

from tests.support.node_rig import Rig


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    for model in ("digits", "words"):
        rig.publish(model, 1)
    return rig


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "version").mkdir()
    return tmp_path
