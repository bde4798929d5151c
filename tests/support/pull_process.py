"""Pulls in processes of their own, so that tests can kill them at any moment.

Run as a program it reads jobs, one JSON object a line, and forks a process for each: a killed pull costs no start of
an interpreter. It answers with the process's number, and with its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from modelfleet import manifest, pull
from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.adapters.sources import Sources, SourcesRepository
from modelfleet.locations import Location
from modelfleet.pull_settings import PullSettings
from modelfleet.pull_status import PullState
from modelfleet.puller import Puller, PullerSettings
from modelfleet.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelfleet.adapters.repository import Repository
    from modelfleet.manifest import Manifest

PROJECT = Path(__file__).resolve().parents[2]
#: What a process says before it changes something on disk.
CHANGES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Job:
    """What one process does: bring everything that a manifest wants.

    Attributes:
        uri: The repository; when it is a single file over HTTP, the source of model ``m``.
        endpoint: Where Google Cloud Storage is.
        store: The store's directory.
        models: The manifest's models; None means all of the repository.
        workers: How many threads pull.
        segment_bytes: Up to how many bytes are read by one request.
        die_at: Before which change of the disk the process kills itself, counted from 1; 0 means never.
        stall_s: How long a read may bring no byte.
        service: Whether the loop of the service does it, which is stopped when everything is there.
    """

    uri: str
    endpoint: str
    store: str
    models: dict[str, Any] | None = None
    workers: int = 4
    segment_bytes: int = 32 << 20
    die_at: int = 0
    stall_s: float = 60.0
    service: bool = False


def carry_out(job: Job) -> dict[str, Any]:
    """Be the process that pulls; return what it did."""
    changes = _Changes(job.store, job.die_at)
    if job.die_at:
        changes.watch()
    repository = _repository(job)
    wanted = manifest.parse({"models": job.models}, "manifest")
    if job.service:
        return _serve_until_complete(job, wanted, repository)
    settings = PullSettings(
        workers=job.workers, segment_bytes=job.segment_bytes, stall_s=job.stall_s, first_retry_s=0.05
    )
    _, report = pull.converge(wanted, repository, Store(job.store), "node", settings)
    return {
        "pulled": [(item.model, item.version, item.bytes) for item in report.pulled],
        "refused": [item.error.one_line() for item in report.refused],
        "changes": changes.count,
    }


def _repository(job: Job) -> Repository:
    access = Access(gcs_endpoint=job.endpoint)
    if job.uri.startswith("http://"):
        return SourcesRepository({"m": Location(job.uri)}, lambda _model: {}, Sources(access), "test")
    return open_repository(job.uri, access)


def _serve_until_complete(job: Job, wanted: Manifest, repository: Repository) -> dict[str, Any]:
    """Run the loop of the service, and stop it when it says that everything is there."""
    settings = PullerSettings(
        workers=job.workers, segment_bytes=job.segment_bytes, headroom_bytes=0, resync_s=0.1, watch_s=0.05
    )
    stop = threading.Event()
    puller = Puller(lambda: (wanted, repository), Store(job.store), "node", settings)
    loop = threading.Thread(target=puller.run, args=(stop,))
    loop.start()
    while not (versions := puller.status().versions) or {item.state for item in versions} != {PullState.COMPLETE}:
        time.sleep(0.01)
    stop.set()
    loop.join()
    return {"pulled": [(item.model, item.version, item.bytes_total) for item in versions], "refused": []}


class _Changes:
    """Counts what a process changes on disk, and kills it before one of these."""

    def __init__(self, store: str, die_at: int) -> None:
        self.count = 0
        self._store = store
        self._die_at = die_at

    def watch(self) -> None:
        """Count from now on; the interpreter tells of everything but what is written."""
        sys.addaudithook(self._told)
        for name in ("fsync", "ftruncate", "pwrite", "write"):
            setattr(os, name, self._counting(getattr(os, name)))

    def _told(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and (event != "open" or str(arguments[0]).startswith(self._store)):
            self._one_more()

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any) -> Any:
            self._one_more()
            return function(*arguments)

        return counting

    def _one_more(self) -> None:
        self.count += 1
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def serve() -> None:
    """Answer jobs until there are no more."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _tell(carry_out(Job(**json.loads(line))))
            os._exit(0)
        _tell({"pid": pid})
        _tell({"exit": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})


def _tell(data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        killed: Whether it was killed before it was done.
        did: What it did; empty when it was killed.
    """

    killed: bool
    did: dict[str, Any]


class Pullers:
    """Starts processes that pull, one after the other, and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.pull_process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            pass

    def start(self, job: Job) -> int:
        """Let a process begin a job; return its number."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return int(self._read()["pid"])

    def wait(self) -> Ending:
        """Wait for the end of the process."""
        answer = self._read()
        did = {} if "exit" in answer else answer
        code = answer["exit"] if "exit" in answer else self._read()["exit"]
        assert code in {0, -signal.SIGKILL}, f"the process ended with {code}"
        return Ending(code == -signal.SIGKILL, did)

    def run(self, job: Job, kill_after_s: float | None = None) -> Ending:
        """Let a process do a job, and kill it after some seconds."""
        pid = self.start(job)
        if kill_after_s is None:
            return self.wait()
        killer = threading.Timer(kill_after_s, _kill, (pid,))
        killer.start()
        try:
            return self.wait()
        finally:
            killer.cancel()
            killer.join()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
