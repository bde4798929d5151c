"""What every test needs: our modules below Ansible's names, and the descriptors of TensorFlow Serving's messages."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ansible.module_utils
import ansible.modules
import pytest
from modelfleet.adapters.protos import PROTOS_VARIABLE, protos_path
from modelfleet_services import protos

PROJECT = Path(__file__).resolve().parent.parent

# As AnsiballZ does on a node: a module is ansible.modules.<name> and finds its helpers with relative imports.
ansible.modules.__path__.append(str(PROJECT / "library"))
ansible.module_utils.__path__.append(str(PROJECT / "module_utils"))


def pytest_configure(config):
    """Let this process and its children find the descriptor set, made where role host has not laid one.

    Not a fixture: test modules ask for messages while they are collected.
    """
    if protos_path().is_file():
        return
    directory = tempfile.TemporaryDirectory(prefix="modelfleet-protos-")
    config.add_cleanup(directory.cleanup)
    path = Path(directory.name) / "tfserving.binpb"
    protos.write(path)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv(PROTOS_VARIABLE, str(path))
