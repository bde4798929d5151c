"""A life cycle on real directories, with a loader that fails, blocks and counts as told, and quick clocks."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict

from modelfleet.adapters.protos import message
from modelfleet_services.model_server.lifecycle import CoreOptions, ManagerState, ServerCore
from modelfleet_services.model_server.rpc_status import Code, StatusError

#: Longer than any step here takes, on a busy machine too.
DEADLINE_S = 10.0
#: Many rounds of the quick clocks below: time enough for anything to happen that would.
QUIET_S = 0.15
QUICK = {"file_system_poll_wait_s": 0.01, "load_retry_interval_s": 0.01, "manager_tick_s": 0.005}


def eventually(condition, what="the condition"):
    """Return the first true value of the condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.003)
    return value


def settle():
    """Let the quick clocks tick many times."""
    time.sleep(QUIET_S)


class FakeServable:
    """A loaded version that knows whether it was freed."""

    def __init__(self, lab, name, version, path):
        self.lab, self.name, self.version, self.path = lab, name, version, path
        self.closed = False

    def close(self):
        assert not self.closed
        self.closed = True
        self.lab.events.append(("close", self.name, self.version))


class Background:
    """A call on a thread of its own."""

    def __init__(self, call):
        self.error = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._call()
        except StatusError as error:
            self.error = error

    @property
    def done(self):
        return not self._thread.is_alive()

    def result(self):
        """Wait for the end; raise what the call raised."""
        self._thread.join(DEADLINE_S)
        assert self.done, "the call did not return"
        if self.error is not None:
            raise self.error


class Lab:
    """One server core, its directories and its loader.

    ``failures`` holds by (model, version) how many attempts fail; ``gates`` the event an attempt waits for.
    """

    def __init__(self, root, **options):
        self.root = root
        self.failures = defaultdict(int)
        self.gates = {}
        self.attempts = []
        self.events = []
        self.log = logging.getLogger("lifecycle-lab")
        self.core = ServerCore(CoreOptions(**{**QUICK, **options}), self.load, log=self.log)

    def load(self, name, version, path):
        self.attempts.append((name, version))
        gate = self.gates.get((name, version))
        if gate is not None:
            assert gate.wait(DEADLINE_S)
        if self.failures[name, version]:
            self.failures[name, version] -= 1
            raise StatusError(Code.NOT_FOUND, f"no SavedModel of {name} {version}")
        self.events.append(("load", name, version))
        return FakeServable(self, name, version, path)

    def fail(self, name, version, attempts=10**9):
        self.failures[name, version] = attempts

    def gate(self, name, version):
        """Block the attempts to load a version until the returned event is set."""
        return self.gates.setdefault((name, version), threading.Event())

    def lay(self, name, *versions):
        """Make version directories; return the base path."""
        for version in versions:
            (self.root / name / str(version)).mkdir(parents=True, exist_ok=True)
        return self.root / name

    def model(self, name, *, base=None, platform="tensorflow", labels=None, **policy):
        """Return a ModelConfig; ``latest=n``, ``all=True`` or ``specific=[...]``."""
        config = message("tensorflow.serving.ModelConfig")(
            name=name, base_path=str(self.root / name if base is None else base), model_platform=platform
        )
        if "latest" in policy:
            config.model_version_policy.latest.num_versions = policy["latest"]
        elif "all" in policy:
            config.model_version_policy.all.SetInParent()
        elif "specific" in policy:
            config.model_version_policy.specific.SetInParent()
            config.model_version_policy.specific.versions.extend(policy["specific"])
        for label, version in (labels or {}).items():
            config.version_labels[label] = version
        return config

    def config(self, *models):
        """Return a ModelServerConfig that holds a list, an empty one without models."""
        config = message("tensorflow.serving.ModelServerConfig")()
        config.model_config_list.SetInParent()
        config.model_config_list.config.extend(models)
        return config

    def wants(self, **specific):
        """Return a configuration of models with these specific versions."""
        return self.config(*(self.model(name, specific=versions) for name, versions in specific.items()))

    def start(self, *models):
        self.core.start(self.config(*models))

    def reload(self, *models):
        self.core.reload_config(self.config(*models))

    def reload_in_background(self, *models):
        return Background(lambda: self.reload(*models))

    def states(self, name):
        """Return the name of each version's state."""
        try:
            return {report.version: ManagerState(report.state).name for report in self.core.statuses(name, None)}
        except StatusError:
            return {}

    def serving(self, name):
        """Return the versions that are AVAILABLE."""
        return {version for version, state in self.states(name).items() if state == "AVAILABLE"}

    def until_serving(self, name, *versions):
        eventually(lambda: self.serving(name) == set(versions), f"{name} serving {versions}, but {self.states(name)}")

    def until_state(self, name, version, state):
        eventually(
            lambda: self.states(name).get(version) == state, f"{name} {version} {state}, but {self.states(name)}"
        )

    def managed(self, name):
        """Return what the manager holds of a model, by version."""
        return {harness.id.version: harness for harness in self.core._basic.managed().get(name, [])}

    def until_dropped(self, name, version):
        """Wait until the manager took over a list without the version."""
        eventually(
            lambda: version not in (held := self.managed(name)) or not held[version].wanted, f"{name} {version} dropped"
        )

    def until_forgotten(self, name, version):
        """Wait until a dropped version is managed no more, so that it can be wanted anew."""
        eventually(lambda: version not in self.managed(name), f"{name} {version} forgotten")

    def spec(self, name, *, version=None, label=None):
        spec = message("tensorflow.serving.ModelSpec")(name=name)
        if version is not None:
            spec.version.value = version
        if label is not None:
            spec.version_label = label
        return spec

    def served(self, name, **choice):
        """Return the version a request gets."""
        with self.core.acquire(self.spec(name, **choice)) as (_, version, servable):
            assert isinstance(servable, FakeServable)
            assert not servable.closed
            return version

    def stop(self):
        for gate in self.gates.values():
            gate.set()
        self.core.stop()
