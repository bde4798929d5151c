"""Finds the version directories of every model and says which of them are wanted."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..rpc_status import Code, StatusError
from .rounds import survived

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping

    from .states import ModelConfig

_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*", re.ASCII)
_INT64 = range(-(2**63), 2**63)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9.]*)://(.*)", re.DOTALL)


class SetWanted(Protocol):
    """Receives the wanted versions of a model."""

    def __call__(self, name: str, paths: Mapping[int, str]) -> None:
        """Want exactly these versions, each with its directory."""


@dataclass(frozen=True)
class MonitoredModel:
    """What the source knows of a model.

    Attributes:
        name: The model.
        base_path: Parent of its version directories, as configured.
        policy: ``latest``, ``all`` or ``specific``.
        latest: How many of the highest versions policy ``latest`` wants.
        specific: The versions policy ``specific`` wants.
    """

    name: str
    base_path: str
    policy: str = "latest"
    latest: int = 1
    specific: frozenset[int] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> MonitoredModel:
        """Read it from a ``tensorflow.serving.ModelConfig``; no policy means the latest one, 0 of them means 1."""
        policy = config.model_version_policy
        return cls(
            name=config.name,
            base_path=config.base_path,
            policy=policy.WhichOneof("policy_choice") or "latest",
            latest=max(policy.latest.num_versions, 1),
            specific=frozenset(policy.specific.versions),
        )


def version_number(name: str) -> int | None:
    """Return the version a directory name stands for; the whole name has to be a 64-bit integer."""
    match = _NUMBER.fullmatch(name)
    number = int(match[1]) if match else None
    return number if number is not None and number in _INT64 else None


def wanted_versions(model: MonitoredModel, log: logging.Logger) -> dict[int, str]:
    """Look on disk for the versions the model's policy wants, now.

    Returns:
        The directory of each wanted version; empty, with a warning, when there is none.

    Raises:
        StatusError: the base path does not exist, cannot be listed, or is not on a local file system.
    """
    base = _base_directory(model)
    found = _specific_by_name(model, base) if model.policy == "specific" else None
    if found is None:
        names = _children(base)
        found = _all(names) if model.policy == "all" else _chosen(model, _by_version(names, log))
    if model.policy == "specific":
        for version in sorted(model.specific - found.keys()):
            log.warning(
                "Version %d of servable %s, which was requested to be served as a 'specific' version in the servable's "
                "version policy, was not found in the file system",
                version,
                model.name,
            )
    if not found:
        log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a "
            "number (eg. '/1/')?",
            model.name,
            model.base_path,
        )
    return {version: str(base / name) for version, name in found.items()}


def _base_directory(model: MonitoredModel) -> Path:
    uri = _SCHEME.fullmatch(model.base_path)
    if uri and uri[1] != "file":
        problem = f"UNIMPLEMENTED: File system scheme '{uri[1]}' not implemented (file: '{model.base_path}')"
    else:
        base = Path(uri[2] if uri else model.base_path)
        if _exists(base):
            return base
        problem = f"NOT_FOUND: {model.base_path} not found"
    text = f"Could not find base path {model.base_path} for servable {model.name} with error {problem}"
    raise StatusError(Code.INVALID_ARGUMENT, text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # what may not be looked at is not there, as far as serving goes
        return False


def _children(base: Path) -> list[str]:
    try:
        return sorted((child.name for child in base.iterdir()), key=os.fsencode)
    except OSError as error:
        raise StatusError(Code.FAILED_PRECONDITION, f"{base}; {error.strerror}") from error


def _specific_by_name(model: MonitoredModel, base: Path) -> dict[int, str] | None:
    """Return the specific versions when each has a directory named without padding, else nothing."""
    if model.specific and all(_exists(base / str(version)) for version in model.specific):
        return {version: str(version) for version in model.specific}
    return None


def _all(names: Iterable[str]) -> dict[int, str]:
    """Return every version; of two names for one number the first counts."""
    found: dict[int, str] = {}
    for name in names:
        version = version_number(name)
        if version is not None:
            found.setdefault(version, name)
    return found


def _by_version(names: Iterable[str], log: logging.Logger) -> dict[int, str]:
    """Return every version; of two names for one number the last counts, with a warning."""
    found: dict[int, str] = {}
    for name in names:
        version = version_number(name)
        if version is None:
            continue
        if version in found:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version,
                name,
                found[version],
            )
        found[version] = name
    return found


def _chosen(model: MonitoredModel, found: Mapping[int, str]) -> dict[int, str]:
    if model.policy == "specific":
        return {version: name for version, name in found.items() if version in model.specific}
    return {version: found[version] for version in sorted(found, reverse=True)[: model.latest]}


class StoragePathSource:
    """One thread that polls for all models together.

    A round in which any model's base path cannot be read is abandoned for every model. Nothing is polled when the
    models change: that waits for the next round, and there is none when the file system is polled once or never.
    """

    def __init__(
        self,
        models: Iterable[MonitoredModel],
        *,
        poll_wait_s: float,
        set_wanted: SetWanted,
        log: logging.Logger,
    ) -> None:
        """Take what to look for.

        Args:
            models: The models, each name once.
            poll_wait_s: Pause between two rounds in seconds; 0 polls once, less never.
            set_wanted: Receives the wanted versions of each model after each complete round.
            log: Where findings are told.
        """
        self._lock = threading.Lock()
        self._models = tuple(models)
        self._poll_wait_s = poll_wait_s
        self._set_wanted = set_wanted
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-system-poll", daemon=True)

    def start(self) -> None:
        """Start polling; the first round comes at once."""
        if self._poll_wait_s >= 0:
            self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the polling; return whether the thread ended within the timeout."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def names(self) -> set[str]:
        """Return the names of the models."""
        with self._lock:
            return {model.name for model in self._models}

    def update(self, models: Iterable[MonitoredModel]) -> None:
        """Look for these models from the next round on; those that are gone are un-wanted at once."""
        with self._lock:
            models = tuple(models)
            for name in sorted({model.name for model in self._models} - {model.name for model in models}):
                self._set_wanted(name, {})
            self._models = models

    def poll(self) -> None:
        """Do one round; called by the thread."""
        with self._lock:
            try:
                found = {model.name: wanted_versions(model, self._log) for model in self._models}
            except StatusError as error:
                self._log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error.message)
                return
            for name, paths in sorted(found.items()):
                self._set_wanted(name, paths)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with survived(self._log, "A round of looking for versions failed unexpectedly"):
                self.poll()
            if self._poll_wait_s == 0:
                return
            self._stopping.wait(self._poll_wait_s)


def monitored_models(configs: Iterable[ModelConfig]) -> list[MonitoredModel]:
    """Read the models of a list, in its order."""
    return [MonitoredModel.of(config) for config in configs]
