"""Applies configurations, and answers which version serves a request and how every version stands."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelfleet.adapters.protos import message

from ..rpc_status import Code, StatusError
from . import config_rules
from .aspired_versions_manager import AspiredVersionsManager
from .basic_manager import BasicManager
from .events import EventBus
from .harness import Retrier
from .resource_estimate import estimate_ram_bytes
from .servable_state_monitor import ServableStateMonitor, require_available
from .states import VersionReport
from .storage_path_source import StoragePathSource, monitored_models

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..servable import LoadServable, Servable
    from .states import ModelServerConfig, ModelSpec
    from .storage_path_source import MonitoredModel

#: Threads per processor for the loads before the server opens.
_INITIAL_LOAD_THREADS_PER_CPU = 4
#: How long ``stop`` waits for requests, loads and threads, in seconds.
_STOP_S = 5.0


@dataclass(frozen=True, kw_only=True)
class CoreOptions:
    """The options of the life cycle; the defaults are those of the flags.

    Attributes:
        file_system_poll_wait_s: Pause between two looks for versions in seconds; 0 looks once, less never.
        num_load_threads: Threads that load; 0 loads on the manager's own thread.
        num_unload_threads: Threads that unload; 0 unloads on the manager's own thread.
        max_num_load_retries: Attempts to load after the first; negative never gives up.
        load_retry_interval_s: Pause between attempts in seconds; none when negative.
        allow_version_labels_for_unavailable_models: Accept a new label for a version that is not loaded yet.
        manager_tick_s: Pause between two steps of the manager in seconds.
    """

    file_system_poll_wait_s: float = 1.0
    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_s: float = 60.0
    allow_version_labels_for_unavailable_models: bool = False
    manager_tick_s: float = 0.1


class ServerCore:
    """The life cycle of all models of one server."""

    def __init__(
        self,
        options: CoreOptions,
        load: LoadServable,
        *,
        log: logging.Logger,
        estimate: Callable[[str], int] | None = None,
    ) -> None:
        """Take the options and what loads; nothing is started yet.

        Args:
            options: The options.
            load: Loads a version; called on load threads.
            log: Where everything is told.
            estimate: Bytes of memory a version's directory needs, raising StatusError when that cannot be told; from
                the sizes of its files by default.
        """
        self._options = options
        self._log = log
        self._stopping = threading.Event()
        self._bus = EventBus()
        self._monitor = ServableStateMonitor(self._bus)
        self._basic = BasicManager(
            load=load,
            estimate=estimate or estimate_ram_bytes,
            bus=self._bus,
            retrier=Retrier(options.max_num_load_retries, options.load_retry_interval_s, self._stopping, log),
            load_threads=options.num_load_threads,
            unload_threads=options.num_unload_threads,
            stopping=self._stopping,
            log=log,
        )
        self._manager = AspiredVersionsManager(
            self._basic, tick_s=options.manager_tick_s, stopping=self._stopping, log=log
        )
        self._source: StoragePathSource | None = None
        self._config: ModelServerConfig = message("tensorflow.serving.ModelServerConfig")()
        self._config_lock = threading.Lock()
        self._config_lock_since: float | None = None
        self._awaited: ServableStateMonitor | None = None
        self._labels: config_rules.Labels | None = None

    def start(self, config: ModelServerConfig) -> None:
        """Apply the first configuration and wait, without a deadline, until every model has a settled version.

        The wait includes every load that began meanwhile, retries too.

        Raises:
            StatusError: a rule is broken; or UNKNOWN, a model's first settled version ended. The core is stopped then.
        """
        self._manager.start()
        try:
            self.reload_config(config)
        except StatusError:
            self.stop()
            raise

    def reload_config(self, config: ModelServerConfig) -> None:
        """Replace the configuration; wait, without a deadline, for the models that are new.

        Reloads are serialised: each holds the lock until its wait is over. From the step that stores the configuration
        on nothing is undone by a failure.

        Raises:
            StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION, a rule is broken; UNKNOWN, a new model did not become
                available; UNAVAILABLE, the server stops.
        """
        with self._hold_config_lock():
            if self._stopping.is_set():
                raise StatusError(Code.UNAVAILABLE, "The server is stopping.")
            self._apply(config)

    def acquire(self, model_spec: ModelSpec | None) -> AbstractContextManager[tuple[str, int, Servable]]:
        """Hold the version a request asks for: its name, its number, and what runs it, as long as the context lasts.

        Raises:
            StatusError: INVALID_ARGUMENT, there is no specification, no name, or no such label; UNAVAILABLE, a label
                before any list was applied; on entering NOT_FOUND, the model or version is not served.
        """
        if model_spec is None:
            raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
        if not model_spec.name:
            raise StatusError(Code.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        version: int | None = None
        choice = model_spec.WhichOneof("version_choice")
        if choice == "version":
            version = model_spec.version.value
        elif choice == "version_label":
            version = self._labelled(model_spec.name, model_spec.version_label)
        return self._basic.serving_map.acquire(model_spec.name, version)

    def statuses(self, name: str, version: int | None) -> list[VersionReport]:
        """Return how every version ever seen of a model stands, or one of them, highest version first.

        Raises:
            StatusError: NOT_FOUND, the model or that version was never seen.
        """
        states = self._monitor.versions(name)
        if not states:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        if version is not None:
            if version not in states:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
            states = {version: states[version]}
        return [
            VersionReport(
                version=number,
                state=int(states[number].state),
                error_code=int(error.code) if (error := states[number].error) else int(Code.OK),
                error_message=error.message if error else "",
            )
            for number in sorted(states, reverse=True)
        ]

    def holds_config_lock(self) -> float | None:
        """Return for how many seconds a reload has held the configuration lock; nothing when none does."""
        since = self._config_lock_since
        return None if since is None else time.monotonic() - since

    def stop(self) -> None:
        """Release waiting reloads, end the threads and free the loaded versions; within seconds, or leave them."""
        deadline = time.monotonic() + _STOP_S
        self._stopping.set()
        self._monitor.stop()
        awaited, source = self._awaited, self._source
        if awaited is not None:
            awaited.stop()
        self._basic.serving_map.abandon_waits()
        if source is not None:
            source.stop(_remaining(deadline))
        self._manager.join(_remaining(deadline))
        self._basic.shut_down(_remaining(deadline))

    def _labelled(self, name: str, label: str) -> int:
        labels = self._labels
        if labels is None:
            raise StatusError(Code.UNAVAILABLE, f"Model labels does not init yet.{label}")
        version = labels.get(name, {}).get(label)
        if version is None:
            raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return version

    @contextmanager
    def _hold_config_lock(self) -> Iterator[None]:
        with self._config_lock:
            self._config_lock_since = time.monotonic()
            try:
                yield
            finally:
                self._config_lock_since = None

    def _apply(self, config: ModelServerConfig) -> None:
        config_rules.validate_transition(self._config, config)
        kind = config.WhichOneof("config")
        if kind is None:
            self._log.info("Taking no action for empty config.")
            return
        if kind == "model_config_list":
            config_rules.validate_list(config.model_config_list.config)
            config_rules.validate_same_platforms(self._config.model_config_list.config, config.model_config_list.config)
        stored = type(config)()
        stored.CopyFrom(config)
        self._config = stored
        models = stored.model_config_list.config
        self._labels = config_rules.resolve_labels(
            models,
            self._labels or {},
            self._monitor.versions,
            allow_unavailable=self._options.allow_version_labels_for_unavailable_models,
        )
        self._log.info("Adding/updating models.")
        if kind != "model_config_list":
            raise StatusError(Code.INVALID_ARGUMENT, "custom_model_config is not supported by this server.")
        for model in models:
            self._log.info(" (Re-)adding model: %s", model.name)
        config_rules.validate_supported(models)
        if self._source is None:
            self._connect(monitored_models(models))
        else:
            self._reconnect(self._source, monitored_models(models))
        self._log.info("Finished adding/updating models")
        config_rules.validate_logging(models)
        self._log.info("Finished reloading config")

    def _connect(self, models: list[MonitoredModel]) -> None:
        """Look for versions for the first time, and wait for the first loads on many threads."""
        source = self._source = StoragePathSource(
            models,
            poll_wait_s=self._options.file_system_poll_wait_s,
            set_wanted=self._manager.set_wanted,
            log=self._log,
        )
        self._basic.set_load_threads(_INITIAL_LOAD_THREADS_PER_CPU * (os.cpu_count() or 1))
        source.start()
        try:
            try:
                reached = self._monitor.wait_until_available_or_ended(model.name for model in models)
            finally:
                self._basic.set_load_threads(self._options.num_load_threads)
            require_available(reached, "servable(s)")
        except StatusError:
            # What was found stays managed, but the next list is a first one again.
            source.stop(_STOP_S)
            self._source = None
            raise

    def _reconnect(self, source: StoragePathSource, models: list[MonitoredModel]) -> None:
        """Look for other versions from now on, and wait for the models that are new."""
        # A fresh monitor: what an earlier life of a model came to says nothing about the new one.
        with ServableStateMonitor(self._bus) as fresh:
            self._awaited = fresh
            if self._stopping.is_set():
                fresh.stop()
            new = {model.name for model in models} - source.names()
            source.update(models)
            require_available(fresh.wait_until_available_or_ended(new), "model(s)")


def _remaining(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
