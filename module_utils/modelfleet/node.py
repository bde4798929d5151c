"""One node: look at it, take the planner's next step, look again.

The Ansible modules and the services call the same functions under the same lock of the store: a module is "converge
now and tell me", a service is "keep converging".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, Protocol

from . import convergence, models_config
from .convergence import Configure, Freeze, Key, Observation, Quarantine, Send, Sent, Settled, Wait
from .errors import DeadlineExceeded, ReloadLockHeld, ServerRefused, ServerUnreachable
from .integrity import damaged_files
from .models_config import ModelEntry, ModelsConfig
from .status import DAMAGED, LOAD_FAILED, LOAD_TIMEOUT, ServingState
from .store import QuarantineRecord, Store
from .waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .manifest import Desired
    from .status import VersionStatus

#: How often the server is asked while something is awaited, in seconds.
POLL_INTERVAL_S = 0.1

#: Under this name the store remembers the digest of the configuration that the server took last.
ACKNOWLEDGED = "acknowledged"

#: How often the server may go away while it loads a version before that version is held to be the reason.
CRASHES = 2

#: What the server needs beside its file-system poll to take a list over: a tick of its manager and some room. In
#: seconds.
TAKE_OVER_S = 1.0

_START_FAILURE = re.compile(
    r"\{\{name: (?P<model>\S+) version: (?P<version>\d+)\}"
    r"(?: due to error: (?P<message>.*?))?\}, (?=\{\{name: |\}\s*(?:\n|$))",
    re.DOTALL,  # TensorFlow's own messages go over several lines
)
#: What the server logs around a start.
_FAILED_START = "Failed to start server. Error:"
_STARTED = "Running gRPC ModelServer at"


class Server(Protocol):
    """What the loop asks of TensorFlow Serving; see ``adapters.tfserving.TFServing``."""

    def statuses(self, models: Iterable[str]) -> dict[str, dict[int, VersionStatus]]:
        """Return the server's versions and states by model."""

    def labels(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """Return the version that each label leads to."""

    def reload(self, config: ModelsConfig, *, timeout_s: float) -> None:
        """Send the whole configuration."""


@dataclass(frozen=True)
class Node:
    """The parts of one node.

    Attributes:
        store: Its models on disk.
        config_file: Its models.config.
        server: Its TensorFlow Serving; None when only the files are of interest.
        base_path: The store's directory as the server sees it.
        server_log: The server's log, to name a version that broke its start; None when it cannot be read here.
        clock: For waits.
    """

    store: Store
    config_file: Path
    server: Server | None
    base_path: str
    server_log: Path | None = None
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True)
class Limits:
    """Deadlines, in seconds, and what is allowed.

    Attributes:
        load_timeout_s: For a version to become AVAILABLE; beyond it the version is set aside and the old one stays.
        server_timeout_s: For a server that does not answer to come (back) up.
        unload_timeout_s: For versions that are no longer wanted to be gone; beyond it they are reported and left.
        poll_interval_s: The server's ``--file_system_poll_wait_seconds``: a new list of versions of a known model is
            noticed after that time, not when the reload returns.
        allow_empty: See ``Observation``.
        allow_shrink: See ``Observation``.
    """

    load_timeout_s: float = 300.0
    server_timeout_s: float = 60.0
    unload_timeout_s: float = 60.0
    poll_interval_s: float = 1.0
    allow_empty: bool = False
    allow_shrink: bool = False

    @property
    def take_over_s(self) -> float:
        """How long the server may take to act upon a list that it was sent, in seconds."""
        return self.poll_interval_s + TAKE_OVER_S


@dataclass(frozen=True)
class Outcome:
    """What a convergence did and left.

    Attributes:
        steps: What was done, one line each, in order.
        observation: The last look at the node.
        lingering: Versions that the server had not let go of when the wait for it ended.
    """

    steps: tuple[str, ...]
    observation: Observation
    lingering: str = ""


def observe(node: Node, desired: Desired, limits: Limits, *, sent: Sent | None = None) -> Observation:
    """Look at the node.

    Raises:
        StoreError: the store cannot be read.
        InvalidInput: the models.config on disk is broken, or is not one of ours.
        ServerRefused: the server answered a question with an error.
    """
    scan = node.store.scan()
    disk = {name: frozenset(v for v, item in items.items() if item.complete) for name, items in scan.items()}
    config = models_config.read(node.config_file)
    serving: dict[str, dict[int, VersionStatus]] | None = None
    labels: dict[tuple[str, str], int | None] = {}
    if node.server is not None:
        known = set(desired.models) | set(disk) | (set(config.entries) if config else set())
        try:
            serving = node.server.statuses(sorted(known))
            labels = node.server.labels(sorted(_labels_of(desired, config)))
        except ServerUnreachable:
            serving = None
            labels = {}
    return Observation(
        base_path=node.base_path,
        desired=desired,
        disk=disk,
        quarantined={key: f"{record.code}: {record.message}" for key, record in node.store.quarantined().items()},
        config=config,
        serving=serving,
        labels=labels,
        sent=sent,
        acknowledged=config is not None and node.store.noted(ACKNOWLEDGED) == models_config.digest(config),
        incomplete={
            name: frozenset(v for v, item in items.items() if not item.complete) for name, items in scan.items()
        },
        good={name: frozenset(versions) for name, versions in node.store.good().items()},
        origins={
            name: frozenset(item.receipt.source for item in items.values() if item.receipt)
            for name, items in scan.items()
        },
        store_present=node.store.root.is_dir(),
        allow_empty=limits.allow_empty,
        allow_shrink=limits.allow_shrink,
    )


def _labels_of(desired: Desired, config: ModelsConfig | None) -> set[tuple[str, str]]:
    result = {(name, label) for name, model in desired.models.items() for label in model.labels}
    if config is not None:
        result |= {(name, label) for name, entry in config.entries.items() for label in entry.labels}
    return result


def converge(
    node: Node, desired: Desired, limits: Limits, *, on_step: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Bring the server to serve what is wanted, as far as it can be, and prove it.

    Versions that cannot be served end in quarantine and do not stop their neighbours; they are not an error here. The
    caller holds the store's lock.

    Raises:
        GuardRefused: the next step would take models away.
        ReloadLockHeld: a reload did not return in time.
        ServerRefused: the server refused a configuration.
        ServerUnreachable: no server answered in time.
        DeadlineExceeded: the server does not follow its configuration.
    """
    return _Convergence(node, desired, limits, on_step).run()


class _Convergence:
    """The loop's memory: what was sent, what was done, what is awaited since when."""

    def __init__(self, node: Node, desired: Desired, limits: Limits, on_step: Callable[[str], None]) -> None:
        self._node = node
        self._desired = desired
        self._limits = limits
        self._on_step = on_step
        self._steps: list[str] = []
        self._sent: Sent | None = None
        self._accepted: ModelsConfig | None = None
        self._refused: set[str] = set()
        self._loading: frozenset[Key] = frozenset()
        self._crashes: dict[Key, int] = {}
        self._server_wait = Deadline(limits.server_timeout_s, node.clock)
        self._unsent_wait = Deadline(limits.server_timeout_s, node.clock)
        self._load_wait = Deadline(limits.load_timeout_s, node.clock)
        self._unload_wait = Deadline(limits.unload_timeout_s, node.clock)
        self._take_over = Deadline(0, node.clock)
        self._dropped_failures = False

    def run(self) -> Outcome:
        while True:
            o = observe(self._node, self._desired, self._limits, sent=self._sent)
            if not self._steps:
                self._accepted = o.config
            if o.serving is not None:
                self._server_wait = Deadline(self._limits.server_timeout_s, self._node.clock)
            self._note_crash(o)
            self._remember_good(o)
            self._forget_old_failures(o)
            outcome = self._act(o, convergence.next_action(o))
            if outcome is not None:
                return outcome

    def _note_crash(self, o: Observation) -> None:
        """Set aside what the server was loading each time it went away: the next start must not try it for ever."""
        if o.serving is not None:
            config = o.config.entries if o.config else {}
            self._loading = frozenset(
                (name, version)
                for name, entry in config.items()
                for version in entry.versions
                if (status := o.serving.get(name, {}).get(version)) is None or not status.available
            )
            return
        for key in self._loading:
            self._crashes[key] = self._crashes.get(key, 0) + 1
        self._loading = frozenset()
        guilty = {key for key, count in self._crashes.items() if count == CRASHES}
        self._quarantine(dict.fromkeys(guilty, f"the server went away {CRASHES} times while it loaded it"), LOAD_FAILED)

    def _act(self, o: Observation, action: convergence.Action) -> Outcome | None:
        """Take one step; return the outcome when it was the last."""
        if isinstance(action, Freeze):
            raise action.error
        if isinstance(action, Quarantine):
            self._quarantine(action.failures, LOAD_FAILED)
        elif isinstance(action, Configure):
            models_config.write(self._node.config_file, action.config)
            self._step(f"configure: {action.reason} ({'; '.join(models_config.diff(o.config, action.config))})")
            if o.serving is not None:
                self._send(o, action.config)
        elif isinstance(action, Send):
            self._step(f"reload: {action.reason}")
            self._send(o, action.config)
        elif isinstance(action, Wait):
            lingering = self._wait(action)
            return Outcome(tuple(self._steps), o, lingering) if lingering else None
        elif isinstance(action, Settled):
            return self._settle(o)
        else:
            self._await_server()
        return None

    def _settle(self, o: Observation) -> Outcome | None:
        """Return the outcome, once the server has surely seen that failed versions are not wanted any more.

        A version that failed can be tried again only after the server has taken over a list without it. Nothing shows
        that it has, so it gets the time before anybody can send the next list.
        """
        if self._dropped_failures and not self._take_over.expired:
            self._take_over.pause(POLL_INTERVAL_S)
            return None
        return Outcome(tuple(self._steps), o)

    def _step(self, line: str) -> None:
        self._steps.append(line)
        self._on_step(line)

    def _remember_good(self, o: Observation) -> None:
        for name, versions in (o.serving or {}).items():
            known = o.good.get(name, frozenset())
            for version, status in versions.items():
                if status.available and version not in known and version in o.disk.get(name, frozenset()):
                    self._node.store.mark_good(name, version)

    def _forget_old_failures(self, o: Observation) -> None:
        """Drop remembered failures that the server has moved on from, or that outlived their grace."""
        if self._sent is None or not self._sent.failed_before:
            return
        if self._take_over.expired:
            still: frozenset[Key] = frozenset()
        else:
            still = frozenset(
                (name, version)
                for name, version in self._sent.failed_before
                if (status := (o.serving or {}).get(name, {}).get(version)) is not None and status.failed
            )
        self._sent = Sent(self._sent.config, still)

    def _send(self, o: Observation, config: ModelsConfig) -> None:
        failed = frozenset(
            (name, version)
            for name, versions in (o.serving or {}).items()
            for version, status in versions.items()
            if status.failed
        )
        wanted = {(name, version) for name, entry in config.entries.items() for version in entry.versions}
        self._sent = Sent(config, failed & wanted)
        previous = o.config.entries if o.config else {}
        before = {(name, version) for name, entry in previous.items() for version in entry.versions}
        self._dropped_failures = bool(failed & before - wanted)
        server = self._node.server
        if server is None:
            return
        try:
            server.reload(config, timeout_s=self._limits.load_timeout_s)
        except ServerUnreachable:
            self._not_sent()
        except ReloadLockHeld as error:
            self._give_up_loading(error)
        except ServerRefused as error:
            self._refusal(config, error)
        else:
            self._acknowledge(config)
        self._load_wait = Deadline(self._limits.load_timeout_s, self._node.clock)
        self._unload_wait = Deadline(self._limits.unload_timeout_s, self._node.clock)
        self._take_over = Deadline(self._limits.take_over_s, self._node.clock)

    def _acknowledge(self, config: ModelsConfig) -> None:
        """Remember, beyond this process, that the server has taken a configuration."""
        self._accepted = config
        self._unsent_wait = Deadline(self._limits.server_timeout_s, self._node.clock)
        self._node.store.note(ACKNOWLEDGED, models_config.digest(config))

    def _not_sent(self) -> None:
        """Go on after the server went away in the middle: the file is written, and a starting server reads it.

        Raises:
            ServerUnreachable: no reload has returned for as long as a server may be away.
        """
        self._sent = None
        if self._unsent_wait.expired:
            raise self._unreachable("took a configuration")
        self._node.clock.sleep(POLL_INTERVAL_S)

    def _refusal(self, config: ModelsConfig, error: ServerRefused) -> None:
        """Go on after a failed load, which the states will tell; else return to the accepted configuration."""
        if error.grpc_code == "UNKNOWN" and "did not become available" in error.server_message:
            self._acknowledge(config)  # the list is in force; only a version of it failed
            return
        text = models_config.render(config)
        if text not in self._refused:
            # A label's version may have gone between the look and the reload: look once more before giving up.
            self._refused.add(text)
            self._sent = None
            return
        if self._accepted is not None and self._node.server is not None:
            # The server may keep a configuration that it refused, so the accepted one is sent again.
            models_config.write(self._node.config_file, self._accepted)
            self._node.server.reload(self._accepted, timeout_s=self._limits.load_timeout_s)
            self._step("restore: the last accepted configuration, after the server refused the new one")
        raise error

    def _give_up_loading(self, error: ReloadLockHeld) -> None:
        """Leave a file with which a restart is enough, set aside what was loading all the time, report the lock.

        What the server had not begun yet is not set aside: it comes back into the list with the next run.
        """
        o = observe(self._node, self._desired, self._limits, sent=self._sent)
        if o.serving is None or o.config is None:
            raise error
        entries = []
        stuck: dict[Key, str] = {}
        for name, entry in o.config.entries.items():
            states = {version: o.serving.get(name, {}).get(version) for version in entry.versions}
            available = tuple(v for v, status in states.items() if status is not None and status.available)
            for version, status in states.items():
                if status is not None and status.state is ServingState.LOADING:
                    stuck[(name, version)] = f"was not AVAILABLE after {self._limits.load_timeout_s:g} s"
            if available:
                labels = {label: version for label, version in entry.labels.items() if version in available}
                entries.append(ModelEntry(name, entry.base_path, available, labels))
        self._quarantine(stuck, LOAD_TIMEOUT)
        models_config.write(self._node.config_file, ModelsConfig.of(entries))
        raise error

    def _wait(self, action: Wait) -> str:
        """Pause; return what lingers when only unloading is left and its time is up."""
        if action.loading or action.unsettled:
            if self._load_wait.expired and action.loading:
                message = f"was still loading after {self._limits.load_timeout_s:g} s"
                self._quarantine(dict.fromkeys(action.loading, message), LOAD_TIMEOUT)
                return ""
            if self._load_wait.expired:
                raise DeadlineExceeded(
                    "TensorFlow Serving",
                    f"does not follow its configuration: {action.reason}",
                    "restart it; its models.config is right",
                )
        elif self._unload_wait.expired:
            return action.reason
        self._node.clock.sleep(POLL_INTERVAL_S)
        return ""

    def _await_server(self) -> None:
        culprits = self._start_failures()
        if culprits:
            self._quarantine(culprits, LOAD_FAILED)
            return
        if self._server_wait.expired or self._node.server is None:
            raise self._unreachable("answered")
        self._node.clock.sleep(POLL_INTERVAL_S)

    def _unreachable(self, verb: str) -> ServerUnreachable:
        return ServerUnreachable(
            str(getattr(self._node.server, "target", "TensorFlow Serving")),
            f"no TensorFlow Serving {verb} within {self._limits.server_timeout_s:g} s",
            "look at the server's log; its models.config is right",
        )

    def _start_failures(self) -> dict[Key, str]:
        """Return the configured versions that the server's last start named as the cause of its end."""
        if self._node.server_log is None:
            return {}
        try:
            text = self._node.server_log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        config = models_config.read(self._node.config_file)
        if config is None:
            return {}
        quarantined = self._node.store.quarantined()
        return {
            key: message
            for key, message in start_failures(text).items()
            if key[1] in config.versions(key[0]) and key not in quarantined
        }

    def _quarantine(self, failures: Mapping[Key, str], code: str) -> None:
        for (model, version), words in sorted(failures.items()):
            record = self._record(model, version, code, " ".join(words.split()))
            self._node.store.quarantine(model, version, record)
            self._step(f"quarantine: {model} version {version}: {record.code}: {record.message}")

    def _record(self, model: str, version: int, code: str, message: str) -> QuarantineRecord:
        """Return why a version is set aside; damage on this node's disk is not the fault of its source."""
        store = self._node.store
        fingerprint = store.fingerprint(model, version)
        damaged = damaged_files(store, model, version) if code == LOAD_FAILED else ()
        if damaged:
            # Without the source's fingerprint the next pull brings the version anew, once its files are deleted.
            code, fingerprint = DAMAGED, ""
            message = f"{', '.join(damaged)} on this node's disk is not what was pulled ({message})"
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return QuarantineRecord(code=code, message=message, fingerprint=fingerprint, stage="load", at=at)


def start_failures(log: str) -> dict[Key, str]:
    """Return the versions named by the last start in a server's log, with the reasons it gave; none if it succeeded."""
    begin = log.rfind(_FAILED_START)
    if begin < log.rfind(_STARTED) or "did not become available" not in log[begin:]:
        return {}
    return {
        (found["model"], int(found["version"])): (found["message"] or "did not become available").strip()
        for found in _START_FAILURE.finditer(log, begin)
    }


def prune(node: Node, o: Observation) -> list[tuple[str, int, int]]:
    """Delete what the planner says may go; return (model, version, bytes) of each. The caller holds the lock."""
    scan = node.store.scan()
    removed = []
    for model, version in convergence.prunable(o):
        size = scan[model][version].bytes
        node.store.remove(model, version)
        removed.append((model, version, size))
    return removed
