"""One node with a real store and file, and the contract's server in a clock that the test owns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelfleet import models_config
from modelfleet.adapters.checksums import crc32c_function
from modelfleet.adapters.repository import RemoteObject
from modelfleet.manifest import Desired, DesiredModel
from modelfleet.node import Limits, Node, converge
from modelfleet.receipts import Receipt
from modelfleet.store import Store
from modelfleet.waiting import Clock

from tests.support.contract_model import ContractServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRAPH = b"graph"
CHECKSUM = crc32c_function()(GRAPH, 0)
LIMITS = Limits(load_timeout_s=10, server_timeout_s=5, unload_timeout_s=3)


class Folders(dict[str, set[int]]):
    """The versions on the store's disk, as a server that polls it would find them."""

    def __init__(self, root: Path):
        super().__init__()
        self.root = root

    def get(self, name, default=None):
        folder = self.root / name
        return {int(path.name) for path in folder.iterdir() if path.name.isdigit()} if folder.is_dir() else default

    def __getitem__(self, name):
        return self.get(name)


class Recorded(ContractServer):
    """A server that remembers every list of versions and labels that it was sent."""

    def __init__(self, disk, failing):
        super().__init__(disk, failing)
        self.sent = []

    def reload(self, config, *, timeout_s):
        self.sent.append({name: (entry.versions, dict(entry.labels)) for name, entry in config.entries.items()})
        super().reload(config, timeout_s=timeout_s)


@dataclass
class Rig:
    """One node, the server, and what happens while time passes."""

    root: Path
    time: float = 0.0
    failing: set[tuple[str, int]] = field(default_factory=set)
    log: Path | None = None
    while_waiting: Callable[[], object] | None = None

    def __post_init__(self):
        self.store = Store(self.root / "store")
        self.server = Recorded(Folders(self.store.root), self.failing)
        self.file = self.root / "models.config"

    def sleep(self, seconds):
        self.time += seconds
        if self.server.up:
            self.server.tick()
        if self.while_waiting:
            self.while_waiting()

    @property
    def node(self):
        return Node(
            self.store,
            self.file,
            self.server,
            str(self.store.root),
            server_log=self.log,
            clock=Clock(now=lambda: self.time, sleep=self.sleep),
        )

    def publish(self, model, version):
        with self.store.lock(1):
            staging = self.store.staging.claim(model, version)
            (staging.path / "saved_model.pb").write_bytes(GRAPH)
            self.store.publish(
                staging, Receipt("file:///r", (RemoteObject("saved_model.pb", 5, "1", CHECKSUM),), "now")
            )

    def converge(self, models, **options):
        with self.store.lock(1):
            return converge(self.node, Desired(models, **options), LIMITS)

    def available(self):
        return {
            name: sorted(v for v, s in versions.items() if s.available)
            for name, versions in self.server.monitor.items()
        }

    def configured(self):
        config = models_config.read(self.file)
        assert config is not None, "no models.config was written"
        return {name: entry.versions for name, entry in config.entries.items()}


def one(*versions, labels=None, keep=2):
    return DesiredModel(tuple(versions), labels or {}, keep)


def released_after_a_failed_load(rig):
    """Let version 2 fail to load beside version 1, then mend and release it; return what is wanted."""
    rig.converge({"digits": one(1), "words": one(1)})
    rig.publish("digits", 2)
    rig.failing.add(("digits", 2))
    wish = {"digits": one(2), "words": one(1)}
    rig.converge(wish)
    rig.failing.clear()
    rig.store.release("digits", 2)
    return wish
