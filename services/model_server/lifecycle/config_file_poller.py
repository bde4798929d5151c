"""Re-applies the configuration file at an interval, whether or not it changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..rpc_status import StatusError
from .rounds import survived

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from .server_core import ServerCore
    from .states import ModelServerConfig


class ConfigFilePoller:
    """One thread that reads and reloads; so what was reloaded by other means is undone within one interval.

    An error is only logged: the configuration in force stays as it is.
    """

    def __init__(
        self, read: Callable[[], ModelServerConfig], core: ServerCore, *, interval_s: float, log: logging.Logger
    ) -> None:
        """Take what to read and where to apply it.

        Args:
            read: Reads the file; raises StatusError.
            core: Applies it.
            interval_s: Pause between two rounds in seconds; more than 0.
            log: Where errors are told.
        """
        self._read = read
        self._core = core
        self._interval_s = interval_s
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config-file-poll", daemon=True)

    def start(self) -> None:
        """Start polling; the first round comes at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the polling; return whether the thread ended in time.

        Stop the core first: that releases a reload that waits.
        """
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def poll(self) -> None:
        """Do one round; called by the thread."""
        try:
            config = self._read()
        except StatusError as error:
            self._log.error("Failed to read ModelServerConfig file: %s", error.message)
            return
        try:
            self._core.reload_config(config)
        except StatusError as error:
            self._log.error("PollFilesystemAndReloadConfig failed to ReloadConfig: %s", error.message)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with survived(self._log, "A round of re-applying the configuration file failed unexpectedly"):
                self.poll()
            self._stopping.wait(self._interval_s)
