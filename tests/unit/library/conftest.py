"""Modules as Ansible runs them: arguments in, JSON out; against one real model server with real SavedModels."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.support.model_server_process import running_model_server
from tests.support.saved_models import scale

if TYPE_CHECKING:
    from pathlib import Path

EMPTY = "model_config_list { }\n"
FLAGS = (
    "--num_load_threads=2",
    "--num_unload_threads=1",
    "--max_num_load_retries=0",
    "--allow_version_labels_for_unavailable_models=true",
)


@pytest.fixture
def call(capsys):
    """Return a function that runs a module and returns its JSON, with ``failed`` where it failed."""

    def run(name, *, check=False, diff=False, **arguments):
        module = importlib.import_module(f"ansible.modules.{name}")
        given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}
        capsys.readouterr()
        with patch_module_args(given), pytest.raises(SystemExit) as exit_:
            module.main()
        result = json.loads(capsys.readouterr().out)
        assert bool(result.get("failed", False)) == (exit_.value.code != 0)
        return result

    return run


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Return a running server without models."""
    with running_model_server(*FLAGS, models_config=EMPTY, directory=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def scales(tmp_path_factory):
    """Return a directory of SavedModels that multiply by 1 to 4."""
    folder = tmp_path_factory.mktemp("scales")
    for factor in (1, 2, 3, 4):
        scale(folder / str(factor), factor=factor)
    return folder


@dataclass
class Lab:
    """One node's directories and the calls that tests repeat."""

    root: Path
    target: str
    scales: Path
    call: object

    @property
    def repository(self):
        return self.root / "repository"

    @property
    def store(self):
        return self.root / "store"

    @property
    def config_file(self):
        return self.root / "models.config"

    def publish(self, model, *versions):
        for version in versions:
            shutil.copytree(self.scales / str(version), self.repository / model / str(version))

    def corrupt(self, model, version):
        (self.repository / model / str(version)).mkdir(parents=True)
        (self.repository / model / str(version) / "saved_model.pb").write_bytes(b"not a graph")

    def pull(self, *, check=False, diff=False, **options):
        places = {"repository": str(self.repository), "store": str(self.store), "headroom": "1Mi"}
        given = {name: value for name, value in {**places, **options}.items() if value is not None}
        return self.call("modelfleet_pull", check=check, diff=diff, **given)

    def serving(self, name, desired, *, check=False, diff=False, **options):
        places = {"store": str(self.store), "config_file": str(self.config_file), "target": self.target}
        return self.call(name, check=check, diff=diff, **{"desired": desired, **places, **options})

    def deploy(self, **manifest):
        pulled = self.pull(manifest=manifest)
        assert not pulled.get("failed"), pulled
        return self.serving("modelfleet_reload", pulled["desired"]), pulled["desired"]


@pytest.fixture
def lab(tmp_path, server, scales, call):
    return Lab(tmp_path, server.target, scales, call)


@pytest.fixture
def nobody(tmp_path, scales, call):
    """Return a node on whose port nothing listens."""
    return Lab(tmp_path, "127.0.0.1:1", scales, call)
