"""Keep pulling: compare what is wanted with what is on disk and on its way, again and again, and bring the rest.

Nothing depends on having seen an event: every look starts from the manifest, the repository and the store as they are.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from . import pull
from .attempts import Attempts
from .errors import ModelfleetError, NoMemory
from .jobs import Fate, now
from .looking import Looking
from .pool import Outcome, Pool
from .pull_plan import Kind, PullItem, overwritten, prepare
from .pull_settings import PullSettings
from .pull_status import PullerStatus, PullEvent, PullState
from .pull_table import PullTable, wanted_by
from .pull_worker import IDLE
from .receipts import fingerprint
from .scrub import Scrub
from .waiting import Clock

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .adapters.repository import Repository
    from .manifest import Manifest
    from .pool import View
    from .pull_plan import Key, Preparation
    from .store import Store

__all__ = ["Puller", "PullerSettings"]

#: How often the loop looks after what is on its way, in seconds.
TICK_S = 0.25
#: How long the loop waits for a look before it goes on beside it, in seconds.
_MOMENT_S = 0.2
#: How much sooner than its interval a look may come, so that the nodes of a fleet do not look all at once.
JITTER = 0.1


@dataclass(frozen=True)
class PullerSettings(PullSettings):
    """What an operator may choose for a puller that never ends.

    Attributes:
        resync_s: How often manifest, repository and store are compared in any case, in seconds.
        watch_s: How often it is asked whether the manifest changed, in seconds.
        scrub_s: How often every byte on disk is read again, in seconds; 0 means never.
        scrub_bytes_per_s: How fast that is done; 0 means without a limit.
    """

    headroom_bytes: int = 1 << 30
    resync_s: float = 60.0
    watch_s: float = 1.0
    scrub_s: float = 86400.0
    scrub_bytes_per_s: int = 64 << 20


class Puller:
    """The loop of one node. ``run`` is called once; the other methods by any thread."""

    def __init__(  # noqa: PLR0913  (where to look, what to keep, how, and two ways to tell)
        self,
        look: Callable[[], tuple[Manifest, Repository]],
        store: Store,
        node: str,
        settings: PullerSettings,
        *,
        watch: Callable[[], str] = lambda: "",
        log: Callable[[PullEvent], None] = lambda _event: None,
        clock: Clock | None = None,
    ) -> None:
        """Make a puller.

        Args:
            look: Returns what is wanted and where it comes from; what it raises changes nothing on disk.
            store: The node's directory.
            node: The node's name.
            settings: How to pull.
            watch: Returns a token that changes when the manifest does; asked often, so it must be cheap.
            log: Told about every step, by several threads.
            clock: For tests.
        """
        self._look = look
        self._store = store
        self._node = node
        self._settings = settings
        self._watch = watch
        self._log = log
        self._clock = clock or Clock()
        self._pool = Pool(store, settings, log, clock)
        self._scrub = Scrub(store, settings.scrub_s, settings.scrub_bytes_per_s, self._damaged)
        self._attempts = Attempts(settings.backoff, settings.retries)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._sync = True
        self._next_pass = 0.0
        self._looked_at = 0.0
        self._next_watch = 0.0
        self._token = ""
        self._failed_looks = 0
        self._looking: Looking | None = None
        self._reading: Looking | None = None
        self._compared: Manifest | None = None
        self._before: Collection[Key] = ()
        self._repository: Repository | None = None
        self._table = PullTable(self._attempts, settings.retries)
        self._status = PullerStatus(node, "")
        self._counters = dict.fromkeys(_COUNTERS, 0)
        self._life = (time.monotonic(), "starting")

    def run(self, stop: threading.Event) -> None:
        """Pull until the event is set; what has arrived by then is there for the next start."""
        self._scrub.start()
        try:
            while not stop.is_set():
                self._life = (time.monotonic(), "waiting")
                self._look_around()
                self._settle(self._pool.collect(TICK_S))
                # Thousands may wait for their turn: what has not begun looks as it did.
                views = self._pool.views(self._pool.begun())
                self._refresh(views.keys(), views)
                if self._pool.idle:
                    self._wake.wait(min(self._settings.watch_s, self._until_pass(), 1.0))
                    self._wake.clear()
        finally:
            self._scrub.stop()
            self._pool.close()

    def sync(self) -> None:
        """Look now, and try at once what waits or was cancelled."""
        with self._lock:
            self._table.cancelled.clear()
            for key in self._attempts.known():
                self._attempts.forget(key)
            self._sync = True
        self._wake_up()

    def pause(self) -> None:
        """Read nothing until ``resume``; looks go on."""
        self._set_paused(paused=True)

    def resume(self) -> None:
        """Go on."""
        self._set_paused(paused=False)

    def cancel(self, model: str, version: int | None = None) -> tuple[Key, ...]:
        """Give up versions that are not complete, until the next ``sync``; return them.

        Args:
            model: The model's name.
            version: Its version; None means all of them.
        """
        with self._lock:
            keys = tuple(
                key
                for key, report in self._table.rows.items()
                if key[0] == model and key[1] and version in {None, key[1]}
                if report.state is not PullState.COMPLETE and key not in self._table.cancelled
            )
            self._table.cancelled.update(keys)
        for key in keys:
            self._pool.drop(key)
        self._wake_up()
        return keys

    def status(self) -> PullerStatus:
        """Return how everything is."""
        views = self._pool.views()
        self._refresh(views.keys() | self._attempts.known().keys() | self._table.refusals.keys(), views)
        with self._lock:
            now_s = self._clock.now()
            oldest = min(self._table.pending_since.values(), default=now_s)
            counters = {**self._counters, "stalls": self._pool.stalls, "failed_attempts": self._pool.failed_tries}
            return replace(
                self._status,
                versions=tuple(self._table.rows[key] for key in sorted(self._table.rows)),
                counters=counters,
                oldest_pending_s=now_s - oldest,
                next_pass_s=max(0.0, self._next_pass - now_s),
            )

    def heartbeats(self) -> dict[str, tuple[float, str]]:
        """Return, for each thread, the seconds since it last showed life and what it does."""
        (life, doing), looking, now_s = self._life, self._looking, time.monotonic()
        look = (now_s - looking.began, "looking at manifest, repository and store") if looking else (0.0, IDLE)
        return {"loop": (now_s - life, doing), "look": look, **self._scrub.heartbeats(), **self._pool.heartbeats()}

    def _set_paused(self, *, paused: bool) -> None:
        with self._lock:
            self._status = replace(self._status, paused=paused)
        self._pool.pause(paused=paused)
        self._log(PullEvent("Paused" if paused else "Resumed"))
        self._wake_up()

    def _wake_up(self) -> None:
        self._wake.set()
        self._pool.wake()

    def _look_around(self) -> None:
        """Begin a look when something may have changed, and take over the one that has ended."""
        changed = self._manifest_changed()
        if self._looking is None:
            with self._lock:
                due = changed or self._sync or self._until_pass() <= 0
                self._sync = self._sync and not due
            if not due:
                return
            self._looked_at = self._clock.now()
            # What ends during the look was planned as if it were still to come: the next look decides about it.
            self._before = self._pool.views().keys()
            self._looking = Looking(self._look, self._prepare)
        elif changed:
            with self._lock:
                self._sync = True
            if self._reading is None and self._looking.manifest is not None:
                self._reading = Looking(self._look)
        if self._looking.ended(_MOMENT_S):
            looking, self._looking, self._reading = self._looking, None, None
            self._take_over(looking)
        elif self._reading is not None and self._reading.ended(0):
            reading, self._reading = self._reading, None
            self._drop_unnamed(reading.manifest)
        elif self._reading is None:
            self._drop_unnamed(self._looking.manifest)

    def _prepare(self, manifest: Manifest, repository: Repository) -> Preparation:
        return prepare(manifest, repository, self._store, self._node, self._settings)

    def _manifest_changed(self) -> bool:
        """Return whether the manifest changed since this was asked last; asked no more often than set."""
        now_s = self._clock.now()
        if now_s < self._next_watch:
            return False
        self._next_watch = now_s + self._settings.watch_s
        before, self._token = self._token, self._watched()
        return before != self._token

    def _watched(self) -> str:
        try:
            return self._watch()
        except ModelfleetError as error:
            return f"{error.code}: {error.problem}"  # told by the look that follows

    def _until_pass(self) -> float:
        """Return the seconds until the next look."""
        times = [self._next_pass]
        retry = self._attempts.next_time(self._looked_at)
        if retry is not None:
            times.append(retry)
        return max(0.0, min(times) - self._clock.now())

    def _take_over(self, looking: Looking) -> None:
        """Start, drop or leave each version according to a look."""
        try:
            manifest, repository, prepared = looking.result()
            self._apply(prepared, repository, self._before)
        except ModelfleetError as error:
            self._look_failed(error)
        except Exception as error:  # noqa: BLE001  (a defect must not end the service; it is told, and tried again)
            problem = f"met a defect of this program: {error!r}"
            self._look_failed(ModelfleetError("look at manifest, repository and store", problem))
        else:
            self._failed_looks = 0
            interval = self._settings.resync_s * random.uniform(1 - JITTER, 1)  # noqa: S311  (spreads load)
            self._next_pass = self._clock.now() + interval
            with self._lock:
                source = repository.uri
                self._status = replace(
                    self._status, source=source, manifest=manifest.source, revision=manifest.revision, error=None
                )
        with self._lock:
            self._status = replace(
                self._status,
                passes=self._status.passes + 1,
                last_pass_at=now(),
                last_pass_s=self._clock.now() - self._looked_at,
            )

    def _look_failed(self, error: ModelfleetError) -> None:
        """Leave everything as it is, and look again sooner than usual."""
        self._failed_looks += 1
        wait = min(self._settings.backoff.wait_s(self._failed_looks), self._settings.resync_s)
        self._next_pass = self._clock.now() + wait
        with self._lock:
            told = self._status.error == error.as_dict()
            self._status = replace(self._status, error=error.as_dict())
        if not told:
            details = {"reason": error.code, "problem": error.one_line(), "retry_in_s": round(wait, 1)}
            self._log(PullEvent("Look failed", details=details, failure=True))

    def _apply(self, prepared: Preparation, repository: Repository, before: Collection[Key]) -> None:
        for key in prepared.plan.lifted:
            self._store.release(*key)
        for refusal in prepared.plan.refused:
            if refusal.fingerprint:
                pull.set_aside(self._store, refusal)
        wanted = wanted_by(prepared.desired)
        items = {(item.model, item.version): item for item in (*prepared.plan.items, *prepared.plan.comparisons)}
        # One for which there is no memory is not brought, also not to its end.
        homeless = {problem.subject for problem in prepared.desired.problems if isinstance(problem, NoMemory)}
        spared = frozenset(name for name in prepared.desired.unresolved if f"model {name}" not in homeless)
        self._drop_unwanted(wanted, spared, items)
        stored = self._store.scan()
        complete = {
            (model, version): item.bytes
            for model, versions in stored.items()
            for version, item in versions.items()
            if item.complete and (model, version) in wanted
        }
        with self._lock:
            for key in self._attempts.known().keys() - items.keys():
                self._attempts.forget(key)
            self._repository = repository
            news = self._table.take_over(prepared, complete)
        for key, error in sorted(news.items()):
            details = {"reason": error.code, "problem": error.problem, "remedy": error.remedy}
            self._log(PullEvent("Refused", *key, details, failure=True))
        pull.tidy(self._store, prepared.desired, self._log)
        for key, item in items.items():
            ready = self._attempts.ready(key, fingerprint(item.objects), self._clock.now())
            if ready and key not in self._table.cancelled and key not in before:
                self._begin(item, repository)
        self._refresh(None, self._pool.views())

    def _drop_unnamed(self, manifest: Manifest | None) -> None:
        """Give up what a manifest does not even name, while the repository still keeps a look waiting."""
        if manifest is None or manifest is self._compared or manifest.tracked or manifest.partial:
            return
        self._compared = manifest
        specs = manifest.for_node(self._node, ())
        for model, version in self._pool.views():
            spec = specs.get(model)
            pinned = spec.versions.pinned if spec and spec.versions else ()
            named = spec is not None and (not pinned or version in {*pinned, *(spec.labels or {}).values()})
            if not named and model not in manifest.refused and self._pool.drop((model, version)):
                self._log(PullEvent("Need to remove model", model, version))

    def _drop_unwanted(self, wanted: set[Key], spared: frozenset[str], items: Mapping[Key, PullItem]) -> None:
        """Give up what is on its way in vain; what cannot be told of a spared model now stays as it is."""
        for key, view in self._pool.views().items():
            if key not in wanted and key[0] in spared:
                continue
            item = items.get(key)
            changed = item is not None and fingerprint(item.objects) != fingerprint(view.item.objects)
            if key not in wanted or changed:
                self._log(PullEvent("Need to remove model" if key not in wanted else "Source changed", *key))
                self._pool.drop(key)

    def _begin(self, item: PullItem, repository: Repository) -> None:
        key = (item.model, item.version)
        if not self._pool.add(item, repository):
            return
        with self._lock:
            cancelled = key in self._table.cancelled
            first = key not in self._table.pending_since
        if cancelled:  # in between: whoever cancels looks for it on its way only then
            self._pool.drop(key)
            return
        if first and item.kind is not Kind.COMPARE:
            self._log(PullEvent("Need to add model", item.model, item.version))
        details = {"bytes": item.bytes, "objects": len(item.objects), "hash": fingerprint(item.objects)[:16]}
        self._log(PullEvent("Should download", item.model, item.version, details))

    def _settle(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            try:
                self._note(outcome)
            except ModelfleetError as error:
                self._log(PullEvent("Record failed", *outcome.key, {"problem": error.one_line()}, failure=True))
        if outcomes:
            ended = [outcome.key for outcome in outcomes]
            self._refresh(ended, self._pool.views(ended))

    def _note(self, outcome: Outcome) -> None:
        """Take over how an attempt ended."""
        key, item, moved = outcome.key, outcome.item, outcome.moved
        with self._lock:
            for name, count in (("pulled", moved.read), ("resumed", moved.resumed), ("linked", moved.linked)):
                self._counters[f"{name}_bytes"] += count
            if outcome.fate in {Fate.PULLED, Fate.SAME}:
                self._counters["pulled_versions"] += outcome.fate is Fate.PULLED
                self._attempts.forget(key)
                self._table.complete[key] = item.bytes
            elif outcome.fate is Fate.DROPPED:
                self._counters["cancelled_versions"] += 1
                # What was wanted again while it was being dropped must not wait for the next look.
                self._sync = self._sync or key not in self._table.cancelled
        if outcome.fate is Fate.DIFFERENT and item.kind is Kind.ADOPT and self._repository:
            self._begin(replace(item, kind=Kind.PULL), self._repository)
        elif outcome.fate is Fate.DIFFERENT:
            self._failed(item, overwritten(item.subject))
        elif outcome.error is not None:
            self._failed(item, outcome.error)
            pull.settle(self._store, outcome)
            if outcome.blamed:
                with self._lock:
                    self._sync = True  # the next best version takes its place

    def _failed(self, item: PullItem, error: ModelfleetError) -> None:
        key = (item.model, item.version)
        with self._lock:
            failure = self._attempts.failed(key, error, fingerprint(item.objects), self._clock.now())
            wait = failure.not_before - self._clock.now()
        details = {
            "reason": error.code,
            "problem": error.problem,
            "attempt": failure.count,
            "retry_in_s": round(wait, 1),
        }
        self._log(PullEvent("Failed download", *key, details, failure=True))

    def _damaged(self, model: str, version: int, files: tuple[str, ...]) -> None:
        """Bring a version anew whose bytes on disk are no longer those that were pulled."""
        self._store.uncertify(model, version)
        with self._lock:
            self._counters["damaged_versions"] += 1
            self._sync = True
        self._log(PullEvent("Found damage on disk", model, version, {"files": ", ".join(files)}, failure=True))
        self._wake_up()

    def _refresh(self, keys: Collection[Key] | None, views: Mapping[Key, View]) -> None:
        """Bring the table up to date: of some versions, or of all when ``keys`` is None."""
        with self._lock:
            self._table.refresh(keys, views, self._clock.now(), self._next_pass)


_COUNTERS = (
    "pulled_versions",
    "pulled_bytes",
    "resumed_bytes",
    "linked_bytes",
    "failed_attempts",
    "cancelled_versions",
    "stalls",
    "damaged_versions",
)
