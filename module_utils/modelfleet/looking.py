"""One look at manifest, repository and store, beside the loop: whatever hangs there, the loop goes on."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from .adapters.repository import Repository
    from .manifest import Manifest
    from .pull_plan import Preparation

    Seen = tuple[Manifest, Repository, Preparation]


class Looking:
    """A look in a thread of its own.

    Attributes:
        began: When it began, by the monotonic clock.
        manifest: What is wanted, as soon as that is known.
    """

    def __init__(
        self,
        look: Callable[[], tuple[Manifest, Repository]],
        prepare: Callable[[Manifest, Repository], Preparation] | None = None,
    ) -> None:
        """Begin a look.

        Args:
            look: Returns what is wanted and where it comes from.
            prepare: Returns what follows from that; without it only the manifest is of interest.
        """
        self.began = time.monotonic()
        self.manifest: Manifest | None = None
        self._look = look
        self._prepare = prepare
        self._seen: Seen | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)
        self._thread.start()

    def ended(self, timeout_s: float) -> bool:
        """Return whether it ended; wait for that a little."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def result(self) -> Seen:
        """Return what was seen; only after the end of a look that prepares.

        Raises:
            Exception: what the look raised.
        """
        if self._error is not None:
            raise self._error
        if self._seen is None:
            raise AssertionError
        return self._seen

    def _run(self) -> None:
        try:
            self.manifest, repository = self._look()
            if self._prepare is not None:
                self._seen = self.manifest, repository, self._prepare(self.manifest, repository)
        except Exception as error:  # noqa: BLE001  (raised where the result is asked for)
            self._error = error
