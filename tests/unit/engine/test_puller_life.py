"""Signs of life: who waits for work is well, who hangs is not."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

from modelfleet.adapters.files import FilesRepository

from tests.support.pull_lab import saved_model
from tests.support.running_puller import RunningPuller, wants


def published(root):
    for path, data in saved_model("m").items():
        target = root / "m" / "1" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return FilesRepository(root, str(root))


class Hanging(FilesRepository):
    """Opens objects only when the test is over."""

    def __init__(self, root):
        super().__init__(root, str(root))
        self.asked, self.let_go = threading.Event(), threading.Event()

    @contextmanager
    def open(self, *arguments, **options):
        self.asked.set()
        self.let_go.wait(20)
        with super().open(*arguments, **options) as source:
            yield source


def signs(puller):
    return {name: age for name, (age, _) in puller.puller.heartbeats().items() if name.startswith("pull-")}


def test_workers_without_work_owe_no_sign_of_life(tmp_path):
    with RunningPuller(published(tmp_path / "r"), tmp_path / "s", wants("m")) as puller:
        puller.wait_until_complete("m")
        puller.wait(lambda: set(signs(puller).values()) == {0.0})
        time.sleep(0.3)
        assert signs(puller) == {"pull-1": 0.0, "pull-2": 0.0}


def test_a_worker_that_hangs_ages(tmp_path):
    published(tmp_path / "r")
    repository = Hanging(tmp_path / "r")
    with RunningPuller(repository, tmp_path / "s", wants("m")) as puller:
        assert repository.asked.wait(10)
        puller.wait(lambda: max(signs(puller).values()) > 0.3)
        repository.let_go.set()
        puller.wait_until_complete("m")
