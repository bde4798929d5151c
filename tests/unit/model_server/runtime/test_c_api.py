"""The library is found without importing TensorFlow, and its absence is one clear line."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from importlib.machinery import ModuleSpec

import pytest
from modelfleet.errors import InvalidInput, MissingDependency
from modelfleet_services.model_server.rpc_status import Code, StatusError
from modelfleet_services.model_server.runtime.c_api import Status, borrowed_buffer, c_api, package_directory


@pytest.fixture
def installed_as(monkeypatch, tmp_path):
    """Make an empty directory the installed package ``tensorflow``."""
    specification = ModuleSpec("tensorflow", None, is_package=True)
    specification.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: specification)
    c_api.cache_clear()
    yield tmp_path
    c_api.cache_clear()


def test_the_version_is_the_wheels():
    installed = [d for d in ("tensorflow-cpu", "tensorflow") if _version(d)]
    assert c_api().version == _version(installed[0])


def _version(distribution):
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def test_without_the_package_the_dependency_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="tensorflow-cpu"):
        package_directory()


def test_a_package_without_the_libraries_counts_as_missing(installed_as):
    with pytest.raises(MissingDependency, match="tensorflow-cpu"):
        c_api()


def test_libraries_that_do_not_load_are_named(installed_as):
    for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
        (installed_as / name).write_bytes(b"not a library")
    with pytest.raises(InvalidInput, match="cannot be loaded") as error:
        c_api()
    assert error.value.subject == str(installed_as)


def test_a_failed_call_tells_its_code_and_text():
    api = c_api()
    tensor = api.TF_AllocateTensor(1, None, 0, 4)
    with Status(api) as status:
        api.TF_TensorFromProto(borrowed_buffer(b"\xff\xff"), tensor, status.handle)
        with pytest.raises(StatusError) as error:
            status.check()
    api.TF_DeleteTensor(tensor)
    assert error.value.code == Code.INVALID_ARGUMENT
    assert error.value.message


def test_a_function_the_library_lacks_is_not_made_up():
    with pytest.raises(AttributeError, match="TF_Nothing"):
        _ = c_api().TF_Nothing
