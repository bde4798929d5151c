"""Random histories of a store, each step held against a model of it and against a store opened afresh."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from modelfleet.adapters.repository import RemoteObject
from modelfleet.errors import StoreError
from modelfleet.store import QuarantineRecord, Receipt, Store

SHELF = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (memory, where there is some: far quicker)
models = st.sampled_from(["digits", "a-b"])
numbers = st.integers(1, 3)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)


class Histories(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=SHELF))
        self.store = Store(self.place / "store")
        self.held, self.damaged, self.good, self.aside = {}, set(), set(), {}

    def teardown(self):
        shutil.rmtree(self.place)

    @rule(model=models, version=numbers, content=st.binary(min_size=1, max_size=9), deep=st.booleans())
    def publish(self, model, version, content, deep):
        staging = self.store.staging.claim(model, version)
        staging.clear()
        path = "variables/x" if deep else "saved_model.pb"
        (staging.path / path).parent.mkdir(exist_ok=True)
        (staging.path / path).write_bytes(content)
        receipt = Receipt("file:///r", (RemoteObject(path, len(content), "1", 1),), "now")
        self.store.publish(staging, receipt)
        self.held[model, version] = (receipt, path, content)
        self.damaged.discard((model, version))

    @rule(model=models, version=numbers)
    def abandon(self, model, version):
        staging = self.store.staging.claim(model, version)
        (staging.path / "half").write_bytes(b"x")
        staging.close()

    @rule()
    def clean(self):
        self.store.clean_staging()
        assert not list((self.store.root / ".staging").glob("*"))

    @rule(model=models, version=numbers)
    def remove(self, model, version):
        if (model, version) in self.held:
            self.store.remove(model, version)
            del self.held[model, version]
            self.damaged.discard((model, version))
            self.good.discard((model, version))
        else:
            with pytest.raises(StoreError):
                self.store.remove(model, version)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def damage(self, data):
        key = data.draw(st.sampled_from(sorted(self.held)))
        _, path, content = self.held[key]
        (self.store.root / key[0] / str(key[1]) / path).write_bytes(content + b"more")
        self.damaged.add(key)

    @rule(model=models, version=numbers)
    def mark_good(self, model, version):
        self.store.mark_good(model, version)
        self.good.add((model, version))

    @rule(model=models, version=numbers, message=texts, fingerprint=texts)
    def quarantine(self, model, version, message, fingerprint):
        record = QuarantineRecord("INCOMPLETE", message, fingerprint, "pull", "now")
        self.store.quarantine(model, version, record)
        self.aside[model, version] = record

    @rule(model=models, version=numbers)
    def release(self, model, version):
        assert self.store.release(model, version) == ((model, version) in self.aside)
        self.aside.pop((model, version), None)

    @rule()
    def reopen(self):
        self.store = Store(self.store.root)

    @invariant()
    def the_disk_says_what_happened(self):
        for store in (self.store, Store(self.store.root)):
            scan = store.scan()
            assert {(m, v): item.receipt for m, held in scan.items() for v, item in held.items()} == {
                key: receipt for key, (receipt, _, _) in self.held.items()
            }
            assert {(m, v) for m, held in scan.items() for v, item in held.items() if not item.complete} == self.damaged
            assert {(m, v) for m, held in store.good().items() for v in held} == self.good
            assert store.quarantined() == self.aside
        if self.store.root.is_dir():
            visible = {path.name for path in self.store.root.iterdir() if not path.name.startswith(".")}
            assert visible == {model for model, _ in self.held}, "the directory of a model goes with its last version"


Histories.TestCase.settings = settings(deadline=None, max_examples=30, stateful_step_count=25)
TestHistories = Histories.TestCase
