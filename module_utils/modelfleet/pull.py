"""Bring versions from a repository into the store: in parallel, verified, visible only when complete.

A version is copied into staging, checked, renamed into place and receipted. Whatever interrupts that leaves nothing
under a numeric name that is not complete, and the next run goes on from what is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .pull_plan import Kind, Preparation, PullItem, PullPlan, Refusal, plan, prepare, survey
from .pull_work import Progress, Pulled, Work

if TYPE_CHECKING:
    from .adapters.repository import Repository
    from .manifest import Desired, Manifest
    from .store import Store

__all__ = [
    "Kind",
    "Preparation",
    "Progress",
    "PullItem",
    "PullPlan",
    "PullReport",
    "Pulled",
    "Refusal",
    "converge",
    "plan",
    "prepare",
    "run",
    "survey",
]


@dataclass(frozen=True)
class PullReport:
    """What a pull did.

    Attributes:
        pulled: What arrived, ordered.
        refused: What did not, and why, ordered.
        cancelled: What was no longer wanted when it was on its way, ordered.
        bytes: What was moved for the pulled versions.
        seconds: How long it took.
    """

    pulled: tuple[Pulled, ...]
    refused: tuple[Refusal, ...]
    cancelled: tuple[tuple[str, int], ...]
    bytes: int
    seconds: float


def run(  # noqa: PLR0913  (a plan, two places and how to work)
    planned: PullPlan,
    repository: Repository,
    store: Store,
    *,
    workers: int = 4,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    still_wanted: Callable[[str, int], bool] = lambda _model, _version: True,
) -> PullReport:
    """Carry out a plan. The caller holds the store's lock.

    Args:
        planned: What to do.
        repository: Where the models come from.
        store: Where they go.
        workers: How many objects are pulled at once.
        on_progress: Told after every mebibyte and every object, from the threads that pull.
        still_wanted: Asked as often; a version that is not is dropped at once.

    Raises:
        MissingDependency: the library for checksums is not installed.
        StoreError: a record of the store cannot be written.
    """
    began = time.monotonic()
    work = Work(planned, repository, store, on_progress, still_wanted)
    for model, version in planned.lifted:
        store.release(model, version)
    for refusal in planned.refused:
        work.refuse(refusal)
    work.carry_out(workers)
    pulled = tuple(sorted(work.pulled, key=lambda item: (item.model, item.version)))
    return PullReport(
        pulled=pulled,
        refused=tuple(sorted(work.refused, key=lambda item: (item.model, item.version))),
        cancelled=tuple(sorted(work.cancelled)),
        bytes=sum(item.bytes for item in pulled),
        seconds=time.monotonic() - began,
    )


def converge(  # noqa: PLR0913  (what is wanted, two places and how to work)
    manifest: Manifest,
    repository: Repository,
    store: Store,
    node: str,
    *,
    headroom_bytes: int = 0,
    workers: int = 4,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    still_wanted: Callable[[str, int], bool] = lambda _model, _version: True,
) -> tuple[Desired, PullReport]:
    """Bring all that a node should hold. The caller holds the store's lock.

    A version that turns out to be unsound is set aside, and the next best one is brought in the same call. Leftovers
    of interrupted runs are deleted first.

    Args:
        manifest: The desired state of the fleet.
        repository: Where the models come from.
        store: Where they go.
        node: The node's name.
        headroom_bytes: What must stay free on the store's file system.
        workers: See ``run``.
        on_progress: See ``run``.
        still_wanted: See ``run``.

    Returns:
        What the node should hold, knowing what was set aside, and what was done.

    Raises:
        SourceNotFound: there is no such repository.
        SourceForbidden: it may not be listed.
        MissingDependency: the library for checksums is not installed.
        StoreError: the store cannot be read or written, or its lock is not held.
    """
    began = time.monotonic()
    store.clean_staging()
    reports: list[PullReport] = []
    refused: dict[tuple[str, int], Refusal] = {}
    while True:
        prepared = prepare(manifest, repository, store, node, headroom_bytes)
        report = run(
            prepared.plan, repository, store, workers=workers, on_progress=on_progress, still_wanted=still_wanted
        )
        reports.append(report)
        news = {(item.model, item.version): item for item in report.refused}
        found_unsound = any(item.fingerprint for key, item in news.items() if key not in refused)
        refused = {**news, **refused}
        if not found_unsound:
            break
    pulled = tuple(item for report in reports for item in report.pulled)
    combined = PullReport(
        pulled=tuple(sorted(pulled, key=lambda item: (item.model, item.version))),
        refused=tuple(refused[key] for key in sorted(refused)),
        cancelled=tuple(sorted({key for report in reports for key in report.cancelled})),
        bytes=sum(item.bytes for item in pulled),
        seconds=time.monotonic() - began,
    )
    return prepared.desired, combined
