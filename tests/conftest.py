"""What every test needs: our modules below Ansible's names, and the descriptors of TensorFlow Serving's messages."""

from __future__ import annotations

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


@pytest.fixture(scope="session", autouse=True)
def message_descriptors(tmp_path_factory):
    """Let this process and its children find the descriptor set, made once where role host has not laid one."""
    if protos_path().is_file():
        yield
        return
    path = tmp_path_factory.mktemp("protos") / "tfserving.binpb"
    protos.write(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PROTOS_VARIABLE, str(path))
        yield
