"""Hands loaded versions to requests, and lets a swap wait for the requests that began before it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..servable import Servable
    from .states import ServableId


class _Generation:
    """One immutable table of what is served, with the number of requests that use it.

    The table answers a request in one look: a model with a number, or with None for its highest number.
    """

    def __init__(self, versions: Mapping[ServableId, Servable]) -> None:
        self.table: dict[tuple[str, int | None], tuple[str, int, Servable]] = {}
        for servable_id in sorted(versions):
            served = (servable_id.name, servable_id.version, versions[servable_id])
            self.table[servable_id.name, servable_id.version] = self.table[servable_id.name, None] = served
        self.users = 0


class ServingMap:
    """The versions that requests can reach.

    One count of users serves all models: a swap waits for every request that began before it, whatever model it uses.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._current = _Generation({})
        self._requests = 0
        self._abandoned = False

    @contextmanager
    def acquire(self, name: str, version: int | None) -> Iterator[tuple[str, int, Servable]]:
        """Hold a version, the highest without a number, for as long as the context lasts.

        Raises:
            StatusError: NOT_FOUND, the model or the version is not served.
        """
        with self._changed:
            generation = self._current
            served = generation.table.get((name, version))
            if served is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
            generation.users += 1
            self._requests += 1
        try:
            yield served
        finally:
            with self._changed:
                generation.users -= 1
                self._requests -= 1
                # Only a table that was replaced has somebody waiting for its last request.
                if not generation.users and generation is not self._current:
                    self._changed.notify_all()

    def replace(self, versions: Mapping[ServableId, Servable]) -> bool:
        """Serve these versions to new requests, then wait until the requests of the old table are done.

        The wait has no deadline, like the server it stands for: one request without an end stalls it.

        Returns:
            Whether the old requests are done; False only after ``abandon_waits``.
        """
        with self._changed:
            old, self._current = self._current, _Generation(versions)
            self._changed.wait_for(lambda: self._abandoned or not old.users)
            return not old.users

    def abandon_waits(self) -> None:
        """Let ``replace`` wait no longer, now and from now on."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def clear(self, timeout_s: float) -> bool:
        """Serve nothing any more; return whether every request under way ended within the timeout."""
        with self._changed:
            self._current = _Generation({})
            return self._changed.wait_for(lambda: not self._requests, timeout_s)
