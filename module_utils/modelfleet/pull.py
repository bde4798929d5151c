"""Bring versions from a repository into the store: in parallel, verified, visible only when complete.

A version is copied into staging, checked, renamed into place and receipted. Whatever interrupts that leaves nothing
under a numeric name that is not complete, and the next run goes on from what is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from .attempts import Attempts
from .errors import ModelfleetError, StoreBusy
from .jobs import Fate, now
from .pool import Outcome, Pool
from .pull_plan import Kind, Preparation, PullItem, PullPlan, Refusal, overwritten, plan, prepare, survey
from .pull_settings import PullSettings
from .pull_status import PullEvent
from .receipts import fingerprint
from .store import QuarantineRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .adapters.repository import Repository
    from .manifest import Desired, Manifest
    from .pull_plan import Key
    from .store import Store

__all__ = [
    "Kind",
    "Preparation",
    "PullItem",
    "PullPlan",
    "PullReport",
    "PullSettings",
    "Pulled",
    "Refusal",
    "converge",
    "plan",
    "prepare",
    "settle",
    "survey",
]

#: How often a pull asks whether something ended, in seconds.
_LOOK_S = 0.5
#: How many times the patience with a silent read another process may be silent about a version that it brings.
_SILENCE = 5


@dataclass(frozen=True)
class Pulled:
    """One version that arrived; sizes in bytes.

    Attributes:
        model: The model's name.
        version: Its version.
        bytes: Size of its files; 0 when they were on disk already and only got their receipt.
        read: What was read from the repository for it.
        resumed: What an earlier run had brought.
        linked: What another version on disk has as well.
    """

    model: str
    version: int
    bytes: int
    read: int = 0
    resumed: int = 0
    linked: int = 0


@dataclass(frozen=True)
class PullReport:
    """What a pull did.

    Attributes:
        pulled: What arrived, ordered.
        refused: What did not, and why, ordered.
        bytes: Size of the pulled versions.
        seconds: How long it took.
    """

    pulled: tuple[Pulled, ...]
    refused: tuple[Refusal, ...]
    bytes: int
    seconds: float


def converge(  # noqa: PLR0913  (what is wanted, two places, and how to work)
    manifest: Manifest,
    repository: Repository,
    store: Store,
    node: str,
    settings: PullSettings | None = None,
    *,
    log: Callable[[PullEvent], None] = lambda _event: None,
) -> tuple[Desired, PullReport]:
    """Bring all that a node should hold.

    A version that turns out to be unsound is set aside, and the next best one is brought in the same call. What fails
    for a passing reason is tried again. A version that another process brings at the same time is waited for as long
    as bytes arrive.

    Args:
        manifest: The desired state of the fleet.
        repository: Where the models come from.
        store: Where they go.
        node: The node's name.
        settings: How to pull.
        log: Told about every step.

    Returns:
        What the node should hold, knowing what was set aside, and what was done.

    Raises:
        SourceNotFound: there is no such repository.
        SourceForbidden: it may not be listed.
        SourceUnavailable: it does not answer.
        MissingDependency: the library for checksums is not installed.
        StoreError: the store cannot be read or written.
    """
    with Pool(store, settings or PullSettings(), log) as pool:
        return _Run(manifest, repository, store, node, settings or PullSettings(), pool, log).carry_out()


def settle(store: Store, outcome: Outcome) -> None:
    """Record in the store what the end of an attempt means for later ones.

    Raises:
        StoreError: a record cannot be written.
    """
    if outcome.blamed and outcome.error:
        set_aside(store, Refusal(*outcome.key, outcome.error, outcome.blamed))


def set_aside(store: Store, refusal: Refusal) -> None:
    """Set a version aside whose source is at fault.

    Raises:
        StoreError: the record cannot be written.
    """
    record = QuarantineRecord(
        code=refusal.error.code,
        message=refusal.error.problem,
        fingerprint=refusal.fingerprint,
        stage="pull",
        at=now(),
    )
    known = store.quarantined().get((refusal.model, refusal.version))
    if known is None or replace(known, at=record.at) != record:
        store.quarantine(refusal.model, refusal.version, record)


def tidy(store: Store, desired: Desired, log: Callable[[PullEvent], None]) -> None:
    """Delete what interrupted work left behind, but for what is still to be finished.

    What cannot be deleted is told; it is no reason to bring nothing.
    """
    wanted = {(name, version) for name, model in desired.models.items() for version in model.versions}
    try:
        store.clean_staging(
            [
                key
                for key in store.staging.versions()
                if (key in wanted or key[0] in desired.unresolved) and store.complete(*key) is None
            ]
        )
    except ModelfleetError as error:
        details = {"reason": error.code, "problem": error.one_line()}
        log(PullEvent("Cleaning up failed", details=details, failure=True))


class _Run:
    """One call of ``converge``."""

    def __init__(  # noqa: PLR0913, PLR0917  (as converge)
        self,
        manifest: Manifest,
        repository: Repository,
        store: Store,
        node: str,
        settings: PullSettings,
        pool: Pool,
        log: Callable[[PullEvent], None],
    ) -> None:
        self._manifest = manifest
        self._repository = repository
        self._store = store
        self._node = node
        self._settings = settings
        self._pool = pool
        self._log = log
        self._attempts = Attempts(settings.backoff, settings.retries)
        self._pulled: dict[Key, Pulled] = {}
        self._refused: dict[Key, Refusal] = {}
        self._busy: set[Key] = set()
        self._left: set[Key] = set()

    def carry_out(self) -> tuple[Desired, PullReport]:
        began = time.monotonic()
        while True:
            prepared = prepare(self._manifest, self._repository, self._store, self._node, self._settings)
            self._record(prepared)
            items = self._due((*prepared.plan.items, *prepared.plan.comparisons))
            tidy(self._store, prepared.desired, self._log)
            for item in items:
                self._log(PullEvent("Should download", item.model, item.version, {"bytes": item.bytes}))
                self._pool.add(item, self._repository)
            planned = {(item.model, item.version) for item in (*prepared.plan.items, *prepared.plan.comparisons)}
            if not self._drain() and not self._wait(planned):
                break
        # What was adopted from disk needs nothing any more of what an earlier run had prepared of it.
        tidy(self._store, prepared.desired, self._log)
        pulled = tuple(self._pulled[key] for key in sorted(self._pulled))
        refused = tuple(self._refused[key] for key in sorted(self._refused))
        return prepared.desired, PullReport(
            pulled, refused, sum(item.bytes for item in pulled), time.monotonic() - began
        )

    def _record(self, prepared: Preparation) -> None:
        """Take over what the look showed."""
        for key in prepared.plan.lifted:
            self._store.release(*key)
        for refusal in prepared.plan.refused:
            if refusal.fingerprint:
                set_aside(self._store, refusal)
            self._refused.setdefault((refusal.model, refusal.version), refusal)
        planned = {(item.model, item.version) for item in prepared.plan.items}
        for key in [key for key, refusal in self._refused.items() if isinstance(refusal.error, StoreBusy)]:
            if key not in planned:  # the other process brought it
                del self._refused[key]

    def _due(self, items: Sequence[PullItem]) -> list[PullItem]:
        """Return what is to be tried now."""
        now_s = time.monotonic()
        return [
            item
            for item in items
            if self._attempts.ready((item.model, item.version), fingerprint(item.objects), now_s)
            and not self._final((item.model, item.version), fingerprint(item.objects))
        ]

    def _final(self, key: Key, source: str) -> bool:
        """Return whether a version failed for good, or too often."""
        failure = self._attempts.against(key, source)
        if failure is None:
            return False
        return not failure.error.retryable or failure.count > self._settings.retries

    def _drain(self) -> bool:
        """Wait for what is on its way; return whether another look at once may bring more."""
        again = False
        while True:
            outcomes = self._pool.collect(_LOOK_S)
            for outcome in outcomes:
                again |= self._note(outcome)
            if not outcomes and self._pool.idle:
                return again

    def _wait(self, planned: Collection[Key]) -> bool:
        """Wait until something that is planned may be tried again; return whether there is anything."""
        now_s = time.monotonic()
        waits = [
            failure.not_before - now_s
            for key, failure in self._attempts.known().items()
            if key in planned and not self._final(key, failure.source)
        ]
        patience_s = _SILENCE * self._settings.stall_s
        seen = {key: self._store.staging.touched_at(*key) for key in self._busy}
        # Whoever had it may have ended since: then another look tells, but no third one.
        left = {key for key, at in seen.items() if not at} - self._left
        if left or any(abs(time.time() - at) < patience_s for at in seen.values()):
            waits.append(_LOOK_S)
        self._left |= left
        self._busy.clear()
        if not waits:
            return False
        time.sleep(max(0.0, min(waits)))
        return True

    def _note(self, outcome: Outcome) -> bool:
        """Take over how an attempt ended; return whether another look at once may bring more."""
        if outcome.crash is not None:
            raise outcome.crash
        key, item = outcome.key, outcome.item
        settle(self._store, outcome)
        if outcome.fate in {Fate.PULLED, Fate.SAME}:
            self._attempts.forget(key)
            self._refused.pop(key, None)
            if item.kind is not Kind.COMPARE:
                moved = outcome.moved
                size = item.bytes if outcome.fate is Fate.PULLED else 0
                self._pulled[key] = Pulled(*key, size, moved.read, moved.resumed, moved.linked)
        elif outcome.fate is Fate.DIFFERENT and item.kind is Kind.ADOPT:
            self._pool.add(replace(item, kind=Kind.PULL), self._repository)
        elif outcome.fate is Fate.DIFFERENT:
            self._refuse(item, overwritten(item.subject))
        elif isinstance(outcome.error, StoreBusy):
            self._refused[key] = Refusal(*key, outcome.error)
            self._busy.add(key)
        elif outcome.blamed and outcome.error is not None:
            self._refused[key] = Refusal(*key, outcome.error, outcome.blamed)
        elif outcome.error is not None:
            self._refuse(item, outcome.error)
        return bool(outcome.blamed)

    def _refuse(self, item: PullItem, error: ModelfleetError) -> None:
        key = (item.model, item.version)
        self._refused[key] = Refusal(*key, error)
        self._attempts.failed(key, error, fingerprint(item.objects), time.monotonic())
