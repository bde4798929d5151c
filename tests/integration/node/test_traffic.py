"""Switches, failures and a killed server under traffic: what clients see."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
from modelfleet import manifest as manifests
from modelfleet import pull
from modelfleet.adapters.files import FilesRepository
from modelfleet.adapters.tfserving import TFServing
from modelfleet.errors import ModelfleetError
from modelfleet.node import Limits, Node, converge, prune
from modelfleet.store import Store

from tests.support.model_server_process import running_model_server, spawn_model_server
from tests.support.saved_models import scale

FLAGS = (
    "--num_load_threads=2",
    "--num_unload_threads=1",
    "--max_num_load_retries=0",
    "--allow_version_labels_for_unavailable_models=true",
)
LIMITS = Limits(load_timeout_s=30, server_timeout_s=30, unload_timeout_s=30)
SWITCHES = 9


class Traffic:
    """Requests without a pause from two clients: one names the label, one names nothing."""

    def __init__(self, target):
        self.target = target
        self.answers = []
        self.failures = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(label,), daemon=True) for label in ("stable", "")]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self, label):
        with TFServing(self.target, timeout_s=10) as client:
            while not self._stop.is_set():
                try:
                    answer = client.predict("digits", {"x": [1.0]}, label=label)
                except ModelfleetError as error:
                    self.failures.append(error.one_line())
                else:
                    self.answers.append((label, answer.version, answer.outputs["y"]))


class Fleet:
    def __init__(self, root):
        self.root = root
        self.repository = root / "repository"
        self.store = Store(root / "store")
        self.config_file = root / "models.config"
        self.config_file.write_text("model_config_list { }\n")

    def publish(self, version):
        scale(self.repository / "digits" / str(version), factor=version)

    def spawn(self, port):
        return spawn_model_server(
            *FLAGS, directory=self.root, models_config=self.config_file, grpc_port=port, rest_port=0
        )

    def deploy(self, target, manifest, server_log=None):
        with TFServing(target) as server, self.store.lock(10):
            wish = manifests.parse(manifest, "test")
            desired, report = pull.converge(wish, FilesRepository(self.repository), self.store, "here")
            node = Node(self.store, self.config_file, server, str(self.store.root), server_log=server_log)
            outcome = converge(node, desired, LIMITS)
            prune(node, outcome.observation)
        return report, outcome


def wish(version, *, keep=2):
    return {"models": {"digits": {"versions": [version], "labels": {"stable": version}, "keep": keep}}}


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def test_switches_and_rollbacks_fail_no_request_and_every_answer_is_of_a_permitted_version(fleet):
    for version in range(1, SWITCHES + 1):
        fleet.publish(version)
    with running_model_server(*FLAGS, models_config=fleet.config_file, directory=fleet.root) as server:
        fleet.deploy(server.target, wish(1))
        with Traffic(server.target) as traffic:
            for version in range(2, SWITCHES + 1):
                fleet.deploy(server.target, wish(version))
                if version % 4 == 0:
                    fleet.deploy(server.target, wish(version - 1))
                    fleet.deploy(server.target, wish(version))
    assert traffic.failures == []
    assert len(traffic.answers) > 100
    assert {version for _, version, _ in traffic.answers} >= set(range(2, SWITCHES + 1))
    assert all(value == [float(version)] for _, version, value in traffic.answers)
    assert sorted(fleet.store.scan()["digits"]) == [SWITCHES - 1, SWITCHES]


def test_a_broken_version_in_between_fails_no_request(fleet):
    fleet.publish(1)
    with running_model_server(*FLAGS, models_config=fleet.config_file, directory=fleet.root) as server:
        fleet.deploy(server.target, wish(1))
        (fleet.repository / "digits" / "2").mkdir()
        (fleet.repository / "digits" / "2" / "saved_model.pb").write_bytes(b"broken")
        with Traffic(server.target) as traffic:
            _, outcome = fleet.deploy(server.target, wish(2))
            fleet.publish(3)
            fleet.deploy(server.target, wish(3))
    assert any("quarantine: digits version 2" in step for step in outcome.steps)
    assert traffic.failures == []
    assert {version for _, version, _ in traffic.answers} == {1, 3}


def test_a_killed_server_comes_back_with_its_models_and_labels_from_disk_alone(fleet):
    fleet.publish(1)
    fleet.publish(2)
    with running_model_server(*FLAGS, models_config=fleet.config_file, directory=fleet.root) as server:
        fleet.deploy(server.target, wish(1))
        fleet.deploy(server.target, wish(2))
        server.process.kill()
        server.process.wait(10)
        shutil.rmtree(fleet.repository)
        again = fleet.spawn(server.grpc_port)
        try:
            again.wait_for_port(again.grpc_port)
            with TFServing(again.target, timeout_s=10) as client:
                assert client.predict("digits", {"x": [1.0]}, label="stable").outputs == {"y": [2.0]}
        finally:
            again.stop()


class Supervisor:
    """Starts the server again whenever it ends, as the one of a node does."""

    def __init__(self, fleet, port):
        self._fleet = fleet
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(20)

    def _run(self):
        while not self._stop.is_set():
            child = self._fleet.spawn(self._port)
            while child.process.poll() is None and not self._stop.is_set():
                time.sleep(0.05)
            child.stop()


def test_a_version_that_rotted_on_disk_does_not_keep_the_server_down_and_comes_back(fleet):
    fleet.publish(1)
    with running_model_server(*FLAGS, models_config=fleet.config_file, directory=fleet.root) as server:
        fleet.deploy(server.target, wish(1))
        target, port = server.target, server.grpc_port
    graph = fleet.store.root / "digits" / "1" / "saved_model.pb"
    graph.write_bytes(b"\0" * graph.stat().st_size)
    scale(fleet.repository / "words" / "1", factor=5)
    failed = fleet.spawn(port)
    assert failed.process.wait(30) != 0
    both = {"models": {"digits": {"versions": [1]}, "words": {}}}
    with Supervisor(fleet, port), TFServing(target) as client:
        _, outcome = fleet.deploy(target, both, server_log=failed.log_path)
        assert client.predict("words", {"x": [1.0]}).outputs == {"y": [5.0]}
        assert any("quarantine: digits version 1: DAMAGED: saved_model.pb" in step for step in outcome.steps)
        report, outcome = fleet.deploy(target, both)
        assert [(item.model, item.version) for item in report.pulled] == [("digits", 1)]
        assert client.predict("digits", {"x": [1.0]}).outputs == {"y": [1.0]}
