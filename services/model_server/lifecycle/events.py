"""The bus that carries states from the manager to whoever remembers or awaits them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .states import ServableState


class EventBus:
    """Delivers every event to every subscriber, in one order for all, before ``publish`` returns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[ServableState], None]] = []

    def subscribe(self, handle: Callable[[ServableState], None]) -> None:
        """Deliver the events published from now on; ``handle`` must be quick and must not publish."""
        with self._lock:
            self._subscribers.append(handle)

    def unsubscribe(self, handle: Callable[[ServableState], None]) -> None:
        """Stop delivering to ``handle``; no delivery is under way any more when this returns."""
        with self._lock:
            self._subscribers.remove(handle)

    def publish(self, event: ServableState) -> None:
        """Deliver one event."""
        with self._lock:
            for handle in self._subscribers:
                handle(event)
