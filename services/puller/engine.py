"""The engine of a puller, as the service sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import threading

    from modelfleet.pull_status import PullerStatus

    from ..common.heartbeats import Signs


class Engine(Protocol):
    """Keeps a store as a manifest wants it."""

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; the calling thread is the loop, workers are threads of its own."""

    def sync(self) -> None:
        """Look now, and try what failed or was cancelled again."""

    def pause(self) -> None:
        """Begin nothing new until ``resume``."""

    def resume(self) -> None:
        """Go on."""

    def cancel(self, model: str, version: int | None = None) -> tuple[tuple[str, int], ...]:
        """Stop what is on its way for a model, or for one version; return what was stopped."""

    def status(self) -> PullerStatus:
        """Return what it says about itself."""

    def heartbeats(self) -> Signs:
        """Return the last sign of life of each of its threads."""
