"""What a pull would do: desired state x repository x store -> items and refusals. Pure, but for the survey."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Union

from . import digests
from .adapters.repository import RemoteObject
from .errors import (
    DigestMismatch,
    DigestMissing,
    InvalidInput,
    ModelfleetError,
    NoSpace,
    SourceEmpty,
    SourceIncomplete,
    SourceNotFound,
    VersionOverwritten,
    rebuilt,
)
from .manifest import Desired, Manifest, resolve
from .names import subject_of
from .receipts import fingerprint
from .saved_model import check_shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .adapters.repository import Repository
    from .pull_settings import PullSettings
    from .receipts import Receipt
    from .store import QuarantineRecord, Store, StoredVersion

#: A version of a model.
Key = tuple[str, int]
#: The files of a version in the repository, or why they cannot be told.
Listed = Union[tuple[RemoteObject, ...], ModelfleetError]
#: File systems hand out space in blocks of this many bytes.
BLOCK = 4096


class Kind(Enum):
    """What is to be done about a version."""

    #: Bring the files.
    PULL = "pull"
    #: A directory of the same size is on disk, and nothing tells where it came from: when its bytes are those of the
    #: repository it only needs a receipt, else bring the files.
    ADOPT = "adopt"
    #: The version is complete and its source was touched: compare the bytes, replace nothing.
    COMPARE = "compare"


@dataclass(frozen=True)
class PullItem:
    """One version to be brought to the node.

    Attributes:
        model: The model's name.
        version: Its version.
        objects: Its files as listed in the repository.
        kind: What is to be done about them.
        shared: Paths of files that another version of the model on disk has as well.
    """

    model: str
    version: int
    objects: tuple[RemoteObject, ...]
    kind: Kind = Kind.PULL
    shared: frozenset[str] = frozenset()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(obj.size for obj in self.objects)

    @property
    def space(self) -> int:
        """What the files take on disk that no other version shares, in bytes."""
        return space_of(obj for obj in self.objects if obj.path not in self.shared)

    @property
    def subject(self) -> str:
        """How messages name it."""
        return subject_of(self.model, self.version)


@dataclass(frozen=True)
class Refusal:
    """One version that is wanted and will not come.

    Attributes:
        model: The model's name.
        version: Its version.
        error: Why.
        fingerprint: The source as it was judged; given when the version is to be set aside for that reason.
    """

    model: str
    version: int
    error: ModelfleetError
    fingerprint: str = ""


@dataclass(frozen=True)
class PullPlan:
    """What a pull will do.

    Attributes:
        items: What to pull, smallest first.
        comparisons: Complete versions whose source was touched: their bytes are compared, nothing is replaced.
        refused: What will not come, and why.
        lifted: Versions that were set aside, and deserve another chance.
    """

    items: tuple[PullItem, ...] = ()
    comparisons: tuple[PullItem, ...] = ()
    refused: tuple[Refusal, ...] = ()
    lifted: tuple[Key, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all that is to be pulled."""
        return sum(item.bytes for item in self.items)


@dataclass(frozen=True)
class Room:
    """What the store's file system can take; sizes in bytes.

    Attributes:
        free: What is free.
        headroom: What must stay free.
        staged: What unfinished versions have taken already.
    """

    free: int
    headroom: int = 0
    staged: Mapping[Key, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Preparation:
    """A look at manifest, repository and store, and what follows from it."""

    desired: Desired
    plan: PullPlan


def prepare(manifest: Manifest, repository: Repository, store: Store, node: str, settings: PullSettings) -> Preparation:
    """Return what a node should hold, and what a pull would do about it. Changes nothing.

    A version that is seen to be unsound is refused, and the next best one takes its place.

    Args:
        manifest: The desired state of the fleet.
        repository: Where the models come from.
        store: The node's directory.
        node: The node's name.
        settings: How the node pulls.

    Raises:
        SourceNotFound: there is no such repository.
        SourceForbidden: it may not be listed.
        SourceUnavailable: it does not answer.
        StoreError: the store cannot be read.
    """
    listing = repository.list_models()
    stored, quarantined = store.scan(), store.quarantined()
    known: dict[Key, Listed] = {
        key: _listed(repository, *key) for key in quarantined if key[1] in listing.get(key[0], ())
    }
    lifted = stale_quarantine(quarantined, known, stored, _second_chance(settings))
    aside = {key: record for key, record in quarantined.items() if key not in lifted}
    held = {model: [v for v, item in versions.items() if item.complete] for model, versions in stored.items()}
    unsound: dict[Key, Refusal] = {}
    while True:
        resolved = resolve(manifest, listing, node, {*aside, *unsound}, held, memory_budget=settings.memory_bytes)
        # Where every model has a source of its own, no one place says where they all come from.
        desired = replace(resolved, source="" if manifest.locations else repository.uri)
        known.update(survey(desired, listing, repository, known))
        staged = {key: store.staging.bytes_taken(*key) for key in store.staging.versions()}
        room = Room(store.free_bytes(), settings.headroom_bytes, staged)
        planned = plan(desired, known, stored, aside, room, require_digest=settings.require_digest)
        news = {(item.model, item.version): item for item in planned.refused if item.fingerprint}
        if news.keys() <= unsound.keys():
            break
        unsound.update(news)
    kept = [item for item in planned.refused if (item.model, item.version) not in unsound]
    passed = [
        Refusal(model, version, _set_aside(subject_of(model, version), aside[model, version]))
        for model, versions in desired.passed_over.items()
        for version in versions
        if (model, version) in aside
    ]
    return Preparation(desired, replace(planned, refused=(*unsound.values(), *passed, *kept), lifted=lifted))


def survey(
    desired: Desired,
    listing: Mapping[str, Collection[int | str]],
    repository: Repository,
    known: Mapping[Key, Listed] | None = None,
) -> dict[Key, Listed]:
    """Return the files of every wanted version that the repository lists; an unreadable one is its own error only."""
    wanted = [(model, version) for model, spec in desired.models.items() for version in spec.versions]
    already = known or {}
    return {
        key: already[key] if key in already else _listed(repository, *key)
        for key in wanted
        if key[1] in listing.get(key[0], ())
    }


def stale_quarantine(
    quarantined: Mapping[Key, QuarantineRecord],
    repository_objects: Mapping[Key, Listed],
    stored: Mapping[str, Mapping[int, StoredVersion]],
    second_chance: str = "",
) -> tuple[Key, ...]:
    """Return the versions that deserve another chance, because their source is not the one that failed.

    What always arrived damaged may have been damaged on its way: it is tried again when it was set aside before the
    time ``second_chance``, ISO 8601 in UTC.

    A version that was withdrawn from the repository is one of them: there is nothing left that a person could mend.
    A version whose failed bytes are still on disk stays aside, whatever its source looks like now: published versions
    never change, so the cure is a new number.
    """
    stale = []
    for key, record in quarantined.items():
        found = repository_objects.get(key)
        local = stored.get(key[0], {}).get(key[1])
        withdrawn = found is None
        late = record.stage == "pull" and record.code == DigestMismatch.code and record.at < second_chance
        replaced = isinstance(found, tuple) and fingerprint(found) != record.fingerprint
        if (withdrawn or replaced or late) and not (local and local.complete):
            stale.append(key)
    return tuple(stale)


def plan(  # noqa: PLR0913  (the whole world a pull depends on, each part with its own owner)
    desired: Desired,
    repository_objects: Mapping[Key, Listed],
    stored: Mapping[str, Mapping[int, StoredVersion]],
    quarantined: Mapping[Key, QuarantineRecord],
    room: Room,
    *,
    require_digest: bool = False,
) -> PullPlan:
    """Return what to pull and what not to.

    Args:
        desired: What the node should hold.
        repository_objects: The files of each wanted version, or why they cannot be told; see ``survey``.
        stored: What is on disk.
        quarantined: What is set aside.
        room: What the disk can take.
        require_digest: Whether a version without digests is refused.
    """
    told = {problem.subject for problem in desired.problems}
    decisions = []
    for model, spec in desired.models.items():
        for version in spec.versions:
            key = (model, version)
            local = stored.get(model, {}).get(version)
            found = repository_objects.get(key)
            if local and local.complete and local.receipt:
                decisions.append(_recheck(key, found, local.receipt))
            elif found is not None or subject_of(*key) not in told:
                decision = _decide(key, found, local, quarantined.get(key), require_digest=require_digest)
                decisions.append(_sharing(decision, stored.get(model, {})))
    items = [item for item in decisions if isinstance(item, PullItem)]
    refused = [item for item in decisions if isinstance(item, Refusal)]
    fitting, too_large = _budget([item for item in items if item.kind is not Kind.COMPARE], room)
    comparisons = tuple(item for item in items if item.kind is Kind.COMPARE)
    return PullPlan(fitting, comparisons, (*refused, *too_large))


def check_paths(objects: Iterable[RemoteObject], subject: str) -> None:
    """Check that objects can be files below one directory.

    Raises:
        InvalidInput: a path leads elsewhere, holds control characters, or is a file and a directory at once.
    """
    remedy = "rename it in the repository, and publish a new version"
    files = {obj.path for obj in objects}
    for path in sorted(files):
        parts = path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or not path.isprintable():
            raise InvalidInput(subject, f"holds an object with the path {path!r}, which cannot be a file", remedy)
        for end in range(1, len(parts)):
            if "/".join(parts[:end]) in files:
                problem = f"holds {'/'.join(parts[:end])} as an object and {path!r} below it"
                raise InvalidInput(subject, problem, remedy)


def _decide(
    key: Key,
    found: Listed | None,
    local: StoredVersion | None,
    record: QuarantineRecord | None,
    *,
    require_digest: bool,
) -> PullItem | Refusal:
    """Return what to do about a wanted version that is not complete on disk."""
    subject = subject_of(*key)
    if found is None:
        return Refusal(*key, SourceNotFound(subject, "is wanted, and the repository does not have it", "publish it"))
    if isinstance(found, ModelfleetError):
        return Refusal(*key, found)
    seen = fingerprint(found)
    if record and record.fingerprint == seen:
        return Refusal(*key, _set_aside(subject, record))
    if local and local.receipt and local.receipt.fingerprint != seen:
        return Refusal(*key, overwritten(subject))
    try:
        _check_listing(found, subject, require_digest=require_digest)
    except (SourceIncomplete, InvalidInput, DigestMissing) as error:
        return Refusal(*key, error, seen if isinstance(error, SourceIncomplete) else "")
    same_size = local is not None and local.receipt is None and local.bytes == sum(obj.size for obj in found)
    return PullItem(*key, found, Kind.ADOPT if same_size else Kind.PULL)


def _check_listing(found: tuple[RemoteObject, ...], subject: str, *, require_digest: bool) -> None:
    """Check what can be told from names and sizes; an archive tells nothing before it is here."""
    check_paths(found, subject)
    if any(obj.archive for obj in found):
        return
    check_shape({obj.path: obj.size for obj in found}, subject)
    if require_digest and not any(obj.path == digests.FILE_NAME for obj in found):
        raise digest_missing(subject)


def digest_missing(subject: str) -> DigestMissing:
    """Return the error for a version without digests where they are required."""
    return DigestMissing(
        subject,
        f"has no {digests.FILE_NAME}, and this node takes nothing without digests",
        f"publish {digests.FILE_NAME} with the SHA-256 of every file, or lift require_digest",
    )


def _sharing(decision: PullItem | Refusal, stored: Mapping[int, StoredVersion]) -> PullItem | Refusal:
    """Name the files of an item that another version of the model on disk has as well."""
    if isinstance(decision, Refusal):
        return decision
    held = {
        (obj.size, obj.content)
        for local in stored.values()
        if local.receipt and local.complete
        for obj in local.receipt.objects
        if obj.content
    }
    shared = frozenset(obj.path for obj in decision.objects if (obj.size, obj.content) in held)
    return replace(decision, shared=shared) if shared else decision


def _second_chance(settings: PullSettings) -> str:
    """Return the time before which a version must have been set aside to be tried again."""
    now = datetime.now(timezone.utc).timestamp()
    return datetime.fromtimestamp(now - settings.max_retry_s, timezone.utc).isoformat(timespec="seconds")


def _recheck(key: Key, found: Listed | None, receipt: Receipt) -> PullItem | Refusal | None:
    """Return what to do about a complete version: it serves on when its source is lost or unreadable."""
    if not isinstance(found, tuple) or fingerprint(found) == receipt.fingerprint:
        return None
    if receipt.listed or [(obj.path, obj.size) for obj in found] != [(obj.path, obj.size) for obj in receipt.objects]:
        return Refusal(*key, overwritten(subject_of(*key)))
    return PullItem(*key, found, Kind.COMPARE)


def overwritten(subject: str) -> VersionOverwritten:
    """Return the error for a version whose source is no longer what was pulled."""
    return VersionOverwritten(
        subject,
        "was changed in the repository; this node keeps what it has, since a version never changes",
        "publish a new version number",
    )


def _set_aside(subject: str, record: QuarantineRecord) -> ModelfleetError:
    problem = f"is set aside since {record.at}: {record.message}"
    remedy = "publish a new version, or correct this one in the repository"
    return rebuilt({"code": record.code, "subject": subject, "problem": problem, "remedy": remedy, "retryable": False})


def _budget(items: list[PullItem], room: Room) -> tuple[tuple[PullItem, ...], tuple[Refusal, ...]]:
    """Return what fits, smallest first, and refusals for the rest: many small models before one large."""
    left = room.free - room.headroom
    fitting, refused = [], []
    for item in sorted(items, key=lambda item: (item.space, item.model, item.version)):
        need = max(0, item.space - room.staged.get((item.model, item.version), 0))
        if need <= left:
            fitting.append(item)
            left -= need
        else:
            refused.append(Refusal(item.model, item.version, no_space(item, left, need)))
    return tuple(fitting), tuple(refused)


def space_of(objects: Iterable[RemoteObject]) -> int:
    """Return what objects take on disk, in bytes."""
    return sum(-(-obj.size // BLOCK) * BLOCK for obj in objects)


def no_space(item: PullItem, have: int, need: int) -> NoSpace:
    """Return the error for a version that does not fit; sizes are in bytes."""
    return NoSpace(
        item.subject,
        f"needs {need} bytes of disk, and {max(have, 0)} are left beside the headroom",
        "make room, lower how many versions are kept, or lower the headroom",
    )


def _listed(repository: Repository, model: str, version: int) -> Listed:
    subject = subject_of(model, version)
    try:
        objects = repository.objects(model, version)
    except ModelfleetError as error:
        return error
    return objects or SourceEmpty(subject, "holds no file", "publish the SavedModel")
