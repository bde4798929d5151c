"""A version on its way from the repository to the disk: claimed, read in pieces, checked, published."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from . import digests
from .adapters.archives import unpack
from .adapters.checksums import crc32c_function, crc32c_of
from .durable import reported, reserve, sync_file, sync_file_system
from .errors import (
    DigestMismatch,
    NoSpace,
    SourceChanged,
    SourceForbidden,
    SourceIncomplete,
    SourceUnavailable,
    StoreError,
)
from .jobs import Fate, Job, LeaveError, Unit, Worker, now
from .journal import Piece
from .piece_files import checksum_at, open_for_writing, share, write_at
from .pull_plan import digest_missing, no_space, overwritten, space_of
from .pull_status import PullEvent
from .receipts import Receipt, fingerprint
from .saved_model import check_shape, files_below
from .segments import SMALL, Segment, batches, checksum_of, missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .adapters.repository import RemoteObject, Repository
    from .pull_plan import PullItem
    from .pull_settings import PullSettings
    from .staging import Staging
    from .store import Store

#: How often an object that arrives damaged is read before its source is held to be damaged.
DAMAGED_READS = 3
#: From this many small files on, one call that brings the whole file system to disk is cheaper than one for each file.
MANY_FILES = 16
#: Failures after which what has arrived is of no use, or takes the room that others need.
_USELESS = (DigestMismatch, NoSpace, SourceChanged, SourceIncomplete)
#: What can be made from a file's bytes; other hashes only tell whether two files are the same.
_HASHES = frozenset({"crc32c", "md5", "sha256"})
_PUBLISH_AGAIN = "publish it again as a new version if this stays"


class Transfer(Job):
    """A version that is brought from the repository: claimed, read in pieces, checked, published."""

    divisible = True

    def __init__(  # noqa: PLR0913, PLR0917  (what, whence, whither, how, and two ways to ask and tell)
        self,
        item: PullItem,
        repository: Repository,
        store: Store,
        settings: PullSettings,
        room: Callable[[], int],
        log: Callable[[PullEvent], None],
    ) -> None:
        """Make a transfer.

        Args:
            item: What to bring.
            repository: Where it comes from.
            store: Where it goes.
            settings: How the node pulls.
            room: Tells the bytes that the file system can take beside the headroom and what is promised to others.
            log: Told about every step.
        """
        super().__init__(item, self._begin)
        self._repository = repository
        self._store = store
        self._segment_bytes = settings.segment_bytes
        self._require_digest = settings.require_digest
        self._room = room
        self._log = log
        self._staging: Staging | None = None
        self._pieces: dict[str, list[Piece]] = {}
        self._checksums: dict[str, int] = {}
        self._announced: dict[str, str] = {}
        self._damaged: dict[str, int] = {}
        self._finishing = False
        self._unwritten = 0
        self._archived = any(obj.archive for obj in item.objects)

    @property
    def unwritten(self) -> int:
        """Bytes of small files still to come: space of large ones is taken at the beginning."""
        return self._unwritten

    def next_step(self) -> None:
        """Queue the finish when every object is here."""
        if not self._finishing and len(self._checksums) == len(self.item.objects):
            self._finishing = self.verifying = True
            self.units.append(self._finish)

    def close(self) -> None:
        """Keep what has arrived for another attempt, unless nobody wants it or its source is at fault."""
        staging, self._staging = self._staging, None
        if staging is None:
            return
        error = self.error
        # Credentials run out in the middle of a pull: with new ones it goes on.
        passing = error is None or error.retryable or isinstance(error, SourceForbidden)
        if self.fate in {None, Fate.FAILED} and passing and not isinstance(error, _USELESS):
            staging.close()
        else:
            staging.discard()

    def _begin(self, worker: Worker) -> None:
        """Claim the place, use what is on disk already, take the space, cut the rest into units."""
        item = self.item
        worker.busy(f"preparing {item.subject}")
        staging = self._store.staging.claim(item.model, item.version)
        with self.lock:
            self._staging = staging
        seen = fingerprint(item.objects)
        known = self._store.complete(item.model, item.version)
        if known:  # somebody brought it since it was planned
            if known.fingerprint != seen:
                raise overwritten(item.subject)
            self.fate = Fate.SAME
            return
        with reported(staging.path):
            earlier = staging.journal.resume(seen)
            if earlier is None:
                staging.clear()
            taken = self._store.staging.bytes_taken(item.model, item.version)
            sound = self._sound(staging, earlier or [], worker)
            for piece in sound:
                self._pieces.setdefault(piece.path, []).append(piece)
            linked = self._link(staging, worker)
            self._reserve(staging, taken)
            staging.journal.begin(seen, sound)
        resumed = sum(piece.length for piece in sound)
        with self.lock:
            self.resumed, self.linked = resumed, linked
            self.done = resumed + linked
        self._cut(worker)

    def _reserve(self, staging: Staging, taken: int) -> None:
        """Take the disk space of every large file before the first byte comes, and make the empty ones.

        Raises:
            NoSpace: there is no room for the version beside the headroom.
        """
        missing_files = [obj for obj in self.item.objects if obj.path not in self._checksums]
        room = self._room() + taken
        need = space_of(missing_files)
        if need > room:
            raise no_space(self.item, room, need)
        folders = {self._target(staging, obj).parent for obj in missing_files}
        self._store.require_files(len(missing_files) + len(folders), self.item.subject)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for obj in missing_files:
            if not obj.size or obj.size > SMALL:
                descriptor = open_for_writing(self._target(staging, obj))
                try:
                    if os.fstat(descriptor).st_size != obj.size:
                        reserve(descriptor, obj.size)
                finally:
                    os.close(descriptor)
        self._unwritten = sum(obj.size for obj in missing_files if obj.size <= SMALL)

    def _cut(self, worker: Worker) -> None:
        """Cut what is still to come into units."""
        rest: list[Segment] = []
        for obj in self.item.objects:
            if obj.path in self._checksums:
                continue
            parts = missing(obj, self._pieces.get(obj.path, ()), self._segment_bytes)
            if not parts:
                try:
                    self._complete(obj, worker)
                except DigestMismatch:
                    parts = missing(obj, (), self._segment_bytes)
            rest += parts
        units = batches(rest)
        self.units.extend(self._reader(unit) for unit in units)
        details = {
            "from": self._repository.origin(self.item.model, self.item.version),
            "bytes": self.left,
            "requests": len(rest),
            "resumed": self.resumed,
            "linked": self.linked,
        }
        self._log(PullEvent("Downloading", self.item.model, self.item.version, details))

    def _sound(self, staging: Staging, earlier: Iterable[Piece], worker: Worker) -> list[Piece]:
        """Return the pieces of an earlier attempt whose bytes are on disk."""
        crc32c, files = crc32c_function(), {obj.path: obj for obj in self.item.objects}
        sound = []
        for piece in earlier:
            worker.check()
            obj = files.get(piece.path)
            if obj is None or piece.end > obj.size or not (obj.divisible or piece.length == obj.size):
                continue
            try:
                descriptor = os.open(self._target(staging, obj), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                if checksum_at(descriptor, piece, worker.buffer, crc32c) == piece.crc32c:
                    sound.append(piece)
            finally:
                os.close(descriptor)
        return sound

    def _link(self, staging: Staging, worker: Worker) -> int:
        """Share the files that are the same in another version of the model on disk; return their size in bytes."""
        wanted = {(obj.size, obj.content): obj for obj in self.item.objects if obj.content and obj.size}
        if not wanted:
            return 0
        worker.busy(f"looking for unchanged files of {self.item.subject}")
        linked = 0
        for version, receipt in self._store.receipts(self.item.model).items():
            folder = self._store.root / self.item.model / str(version)
            for known in receipt.objects:
                obj = wanted.get((known.size, known.content))
                if obj is None or obj.path in self._pieces or obj.path in self._checksums:
                    continue
                worker.check()
                fits = known.crc32c is not None and obj.crc32c in {None, known.crc32c}
                if known.crc32c is not None and fits and share(folder / known.path, known, self._target(staging, obj)):
                    self._checksums[obj.path] = known.crc32c
                    linked += obj.size
        return linked

    def _reader(self, segments: Sequence[Segment]) -> Unit:
        return lambda worker: self._read_all(worker, segments)

    def _read_all(self, worker: Worker, segments: Sequence[Segment]) -> None:
        """Read segments one after the other; what is left when something comes in between is queued again."""
        for position, segment in enumerate(segments):
            obj = segment.obj
            try:
                worker.moved(0)
                self._read(worker, segment)
            except BaseException as error:
                rest = segments[position + 1 :]
                if rest:
                    self.units.appendleft(self._reader(rest))
                if isinstance(error, DigestMismatch):
                    self._queue(missing(obj, (), self._segment_bytes))
                elif obj.path not in self._checksums:
                    self._queue_rest_of(segment)
                raise

    def _queue(self, segments: Iterable[Segment]) -> None:
        for segment in reversed(list(segments)):
            self.units.appendleft(self._reader((segment,)))

    def _queue_rest_of(self, segment: Segment) -> None:
        """Queue what of one segment has not arrived."""
        with self.lock:
            pieces = list(self._pieces.get(segment.obj.path, ()))
        end = segment.start + segment.length
        parts = [
            (max(part.start, segment.start), min(part.start + part.length, end))
            for part in missing(segment.obj, pieces, self._segment_bytes)
        ]
        self._queue(Segment(segment.obj, start, stop - start) for start, stop in parts if start < stop)

    def _read(self, worker: Worker, segment: Segment) -> None:
        obj, crc32c = segment.obj, crc32c_function()
        subject = f"{self.item.subject}: {obj.path}"
        done = checksum = 0
        whole = segment.length == obj.size
        target = self._target(self._open_staging(), obj)
        with reported(target):
            descriptor = open_for_writing(target)
        opened = self._repository.open(
            self.item.model, self.item.version, obj, segment.start, None if whole else segment.length
        )
        try:
            with opened as source, worker.reading(source, f"reading {subject}", divisible=obj.divisible):
                while done < segment.length:
                    count = source.readinto(worker.buffer[: segment.length - done])
                    if not count:
                        break
                    piece = worker.buffer[:count]
                    checksum = crc32c(piece, checksum)
                    with reported(target):
                        write_at(descriptor, piece, segment.start + done)
                    done += count
                    self._advance(count)
                    worker.moved(count)
                # Of an ``Announcing`` source; whether it is one takes longer to find out than the rest of a small file.
                if announced := getattr(source, "announced", ""):
                    with self.lock:
                        self._announced[obj.path] = announced
        except (SourceChanged, StoreError):
            raise
        except BaseException:
            self._keep(Piece(obj.path, segment.start, done, checksum), obj, worker)
            raise
        finally:
            os.close(descriptor)
        self._keep(Piece(obj.path, segment.start, done, checksum), obj, worker)
        if done < segment.length:
            raise SourceUnavailable(subject, f"ended after {done} of {segment.length} bytes", "it is tried again")

    def _keep(self, piece: Piece, obj: RemoteObject, worker: Worker) -> None:
        """Note a piece; whoever brings the last one of an object checks the object."""
        if not obj.divisible and piece.length < obj.size:
            self._advance(-piece.length, read=False)
            return
        if not piece.length:
            return
        staging = self._open_staging()
        self.failures = 0
        with self.lock:
            pieces = self._pieces.setdefault(obj.path, [])
            pieces.append(piece)
            with reported(staging.journal.path):
                staging.journal.add(piece)
            last = sum(known.length for known in pieces) == obj.size
        if last:
            self._complete(obj, worker)

    def _complete(self, obj: RemoteObject, worker: Worker) -> None:
        """Check an object all of whose pieces are here, and bring it to disk.

        Raises:
            DigestMismatch: it is not what the repository announced; its pieces are forgotten.
        """
        subject = f"{self.item.subject}: {obj.path}"
        staging = self._open_staging()
        with self.lock:
            checksum = checksum_of(obj, self._pieces.get(obj.path, ()))
            algorithm, _, digest = (self._announced.get(obj.path) or obj.content).partition(":")
        arrived = f"checksum {checksum or 0:08x}"
        announced = f"{obj.crc32c:08x}" if obj.crc32c is not None else ""
        sound = checksum is not None and obj.crc32c in {None, checksum}
        if sound and obj.crc32c is None and obj.size and algorithm in _HASHES:
            found, announced = f"{checksum:08x}", digest
            if algorithm != "crc32c":
                target = self._target(staging, obj)
                with reported(target):
                    found = digests.hash_of(target, algorithm, worker.check)
            arrived, sound = f"{algorithm.upper()} {found}", found == announced
        if not sound:
            with self.lock, reported(staging.journal.path):
                self._pieces.pop(obj.path, None)
                staging.journal.forget(obj.path)
            self._advance(-obj.size, read=False)
            raise DigestMismatch(subject, f"arrived with {arrived} instead of {announced}", _PUBLISH_AGAIN)
        if obj.size > SMALL:
            target = self._target(staging, obj)
            with reported(target):
                sync_file(target)
        with self.lock:
            self._checksums[obj.path] = checksum or 0
            if obj.size <= SMALL:
                self._unwritten -= obj.size

    def damaged(self, error: DigestMismatch | SourceIncomplete) -> bool:
        """Read again what arrived damaged; return False when it was so too often, or cannot have been on its way."""
        self._damaged[error.subject] = self._damaged.get(error.subject, 0) + 1
        return not self._finishing and self._damaged[error.subject] < DAMAGED_READS

    def _finish(self, worker: Worker) -> None:
        """Check the version as a whole and publish it."""
        item, staging = self.item, self._open_staging()
        worker.busy(f"checking {item.subject}")
        try:
            files = self._checked(staging, worker)
        except (DigestMismatch, SourceIncomplete):
            self._doubt_unproven(staging)
            raise
        worker.check()
        # An upload that is still going on adds objects: what was listed must still be all there is.
        now = self._repository.objects(item.model, item.version, fresh=True)
        if fingerprint(now) != fingerprint(item.objects):
            problem = "changed in the repository while it was pulled"
            raise SourceChanged(item.subject, problem, "pull again when it is complete")
        worker.busy(f"publishing {item.subject}")
        self._store.publish(staging, self._receipt(staging, files))
        self._store.release(item.model, item.version)
        self.fate = Fate.PULLED

    def _checked(self, staging: Staging, worker: Worker) -> list[tuple[str, int]]:
        """Return the version's files with their sizes, sound as a whole and on disk."""
        item = self.item
        with reported(staging.path):
            if self._archived:
                self._unpack(staging, worker)
            files = files_below(str(staging.path))
            check_shape(dict(files), item.subject)
            if any(path == digests.FILE_NAME for path, _ in files):
                digests.verify(staging.path, [path for path, _ in files], item.subject, worker.check)
            elif self._require_digest:
                raise digest_missing(item.subject)
            self._bring_to_disk(staging, files)
        return files

    def _doubt_unproven(self, staging: Staging) -> None:
        """Queue anew what nobody announced a checksum of: it may have been damaged on its way."""
        doubtful = [obj for obj in self.item.objects if obj.path in self._pieces and not self._proven(obj)]
        for obj in doubtful:
            with self.lock, reported(staging.journal.path):
                del self._pieces[obj.path], self._checksums[obj.path]
                staging.journal.forget(obj.path)
                if obj.size <= SMALL:
                    self._unwritten += obj.size
            self._advance(-obj.size, read=False)
            self._queue(missing(obj, (), self._segment_bytes))
        if doubtful:
            self._finishing = self.verifying = False

    def _proven(self, obj: RemoteObject) -> bool:
        """Return whether an object was compared with what the repository announces."""
        algorithm, _, _ = (self._announced.get(obj.path) or obj.content).partition(":")
        return obj.crc32c is not None or algorithm in _HASHES

    def _unpack(self, staging: Staging, worker: Worker) -> None:
        for obj in self.item.objects:
            if obj.archive:
                unpack(
                    self._target(staging, obj),
                    obj.archive,
                    staging.path,
                    limit_bytes=max(0, self._room()),
                    check=worker.check,
                    subject=self.item.subject,
                )

    def _bring_to_disk(self, staging: Staging, files: Sequence[tuple[str, int]]) -> None:
        """Bring the small files to disk; the large ones were, each when it was complete."""
        small = [path for path, size in files if size <= SMALL or self._archived]
        if len(small) >= MANY_FILES and sync_file_system(staging.path):
            return
        for path in small:
            sync_file(staging.path / path)

    def _receipt(self, staging: Staging, files: Sequence[tuple[str, int]]) -> Receipt:
        item, at = self.item, now()
        origin = self._repository.origin(item.model, item.version)
        if not self._archived:
            known = sorted(item.objects, key=lambda obj: obj.path)
            return Receipt(origin, tuple(replace(obj, crc32c=self._checksums[obj.path]) for obj in known), at)
        (archive,) = item.objects
        with reported(staging.path):
            members = tuple(
                replace(archive, path=path, size=size, crc32c=crc32c_of(staging.path / path), content="", archive="")
                for path, size in sorted(files)
            )
        return Receipt(origin, members, at, listed=item.objects)

    def _advance(self, count: int, *, read: bool = True) -> None:
        with self.lock:
            self.done += count
            if read:
                self.read += count

    def _open_staging(self) -> Staging:
        if self._staging is None:
            raise LeaveError
        return self._staging

    @staticmethod
    def _target(staging: Staging, obj: RemoteObject) -> Path:
        return (staging.archive if obj.archive else staging.path) / obj.path
