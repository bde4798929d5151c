"""Pulling from random repositories with random faults: a numeric directory is complete and is its source."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from modelfleet import pull
from modelfleet.adapters.files import FilesRepository
from modelfleet.adapters.repository import RemoteObject
from modelfleet.errors import InvalidInput, SourceIncomplete
from modelfleet.manifest import parse, track
from modelfleet.pull_plan import check_paths
from modelfleet.saved_model import files_below, validate_saved_model
from modelfleet.store import Store

KILLED = 77
# Hundreds of small trees, each brought to disk: a file system in memory, where there is one, has nothing to wait for.
SHELF = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (memory, where there is some: far quicker)
disk = settings(deadline=None, max_examples=40)

contents = st.binary(min_size=1, max_size=50)


@st.composite
def versions(draw):
    """The files of a version; broken in one of the ways publishers break them, now and then."""
    files = {"saved_model.pb": draw(contents)}
    if draw(st.booleans()):
        total = draw(st.integers(1, 3))
        files["variables/variables.index"] = draw(contents)
        for shard in range(total):
            files[f"variables/variables.data-{shard:05d}-of-{total:05d}"] = draw(st.binary(max_size=50))
    if draw(st.booleans()):
        files["assets/deep/vocabulary.txt"] = draw(st.binary(max_size=50))
    fault = draw(st.sampled_from([None, None, None, "no root", "empty root", "lost shard"]))
    if fault == "no root":
        del files["saved_model.pb"]
        files["readme"] = b"x"
    elif fault == "empty root":
        files["saved_model.pb"] = b""
    elif fault == "lost shard":
        files.pop(max(files))
    return files or {"readme": b"x"}


repositories = st.dictionaries(
    st.sampled_from(["digits", "ranker", "a-b"]),
    st.dictionaries(st.integers(1, 12), versions(), max_size=3),
    max_size=3,
)


@contextmanager
def directories(content):
    with tempfile.TemporaryDirectory(dir=SHELF) as place:
        root = Path(place) / "repository"
        root.mkdir()
        for model, held in content.items():
            (root / model).mkdir()
            for version, files in held.items():
                publish(root, model, version, files)
        yield root, Path(place) / "store"


def publish(root, model, version, files):
    for path, data in files.items():
        target = root / model / str(version) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def read(folder):
    return {path: (folder / path).read_bytes() for path, _ in files_below(str(folder))}


def whole(files):
    with tempfile.TemporaryDirectory(dir=SHELF) as place:
        publish(Path(place), "m", 1, files)
        try:
            validate_saved_model(Path(place) / "m" / "1")
        except SourceIncomplete:
            return False
    return True


def on_disk(store_path):
    return {
        (model.name, int(version.name)): read(version)
        for model in (store_path.iterdir() if store_path.is_dir() else ())
        if not model.name.startswith(".")
        for version in model.iterdir()
    }


def converge(root, store_path, manifest=None, repository=None, workers=3):
    return pull.converge(
        manifest or track({"versions": {"latest": 2}}),
        repository or FilesRepository(root),
        Store(store_path),
        "node-1",
        pull.PullSettings(workers=workers, first_retry_s=0.01, retries=2),
    )


def expected(content, count=2):
    """What tracking the newest versions of everything must bring: the newest whole ones."""
    result = {}
    for model, held in content.items():
        good = [version for version in sorted(held) if whole(held[version])]
        result.update({(model, version): held[version] for version in good[-count:]})
    return result


@disk
@given(repositories)
def test_one_pull_brings_the_newest_whole_versions_and_names_the_others(content):
    with directories(content) as (root, store_path):
        desired, report = converge(root, store_path)
        assert on_disk(store_path) == expected(content)
        assert {(item.model, item.version) for item in report.pulled} == set(expected(content))
        refused = {(item.model, item.version) for item in report.refused}
        assert not refused & set(expected(content))
        assert all(item.error.code == "INCOMPLETE" for item in report.refused)
        assert set(Store(store_path).quarantined()) == refused
        assert {(name, v) for name, model in desired.models.items() for v in model.versions} == set(expected(content))
        assert all(v.complete for held in Store(store_path).scan().values() for v in held.values())

        before = fingerprint_of_tree(store_path)
        _, again = converge(root, store_path)
        assert (again.pulled, again.bytes) == ((), 0)
        assert {(item.model, item.version) for item in again.refused} == refused, "what is set aside stays reported"
        assert fingerprint_of_tree(store_path) == before, "a second pull must not touch anything"


def fingerprint_of_tree(top):
    # The lock file records its holder; everything else must stay.
    return {
        path: ((top / path).stat().st_mtime_ns, (top / path).stat().st_ino)
        for path, _ in (files_below(str(top)) if top.is_dir() else ())
        if path != ".commit"
    }


def killed_after(effects, action):
    """Run the action in a child that dies, as from kill -9, at its n-th change of the disk; return whether it died."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    left = [effects]

    def dying(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os._exit(KILLED)
            return real(*args, **kwargs)

        return call

    status = 1
    try:
        names = ["write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir"]
        with mock.patch.multiple(os, **{name: dying(getattr(os, name)) for name in names}):
            action()
        status = 0
    finally:
        os._exit(status)


@settings(disk, max_examples=60)
@given(repositories, st.lists(st.integers(0, 60), min_size=1, max_size=3))
def test_killed_at_any_moment_nothing_torn_is_visible_and_the_next_run_converges(content, deaths):
    with directories(content) as (root, store_path):
        for effects in deaths:
            killed_after(effects, lambda: converge(root, store_path))
            if store_path.is_dir():
                for key, files in on_disk(store_path).items():
                    assert files == content[key[0]][key[1]]
                    assert whole(files)
        converge(root, store_path)
        assert on_disk(store_path) == expected(content)
        assert not list((store_path / ".staging").glob("*"))
        scan = Store(store_path).scan()
        assert {(m, v) for m, held in scan.items() for v, item in held.items() if item.complete} == set(
            expected(content)
        )


class Meddling(FilesRepository):
    """A directory whose publisher changes a file while it is read, at the chosen reads."""

    def __init__(self, root, how, at):
        super().__init__(root)
        self.root, self.how, self.left = root, how, at

    @contextmanager
    def open(self, model, version, obj, start=0, length=None):
        with super().open(model, version, obj, start, length) as source:
            yield Interrupted(source, lambda: self.meddle(self.root / model / str(version) / obj.path))

    def meddle(self, path):
        self.left -= 1
        if self.left:
            return
        if self.how == "truncate":
            with path.open("r+b") as stream:
                stream.truncate(0)
        elif self.how == "rewrite":
            path.write_bytes(b"y" * path.stat().st_size)
        elif self.how == "replace":
            fresh = path.with_name(".fresh")
            fresh.write_bytes(b"z" * path.stat().st_size)
            fresh.replace(path)
        elif self.how == "append":
            with path.open("ab") as stream:
                stream.write(b"more")
        elif self.how == "add":
            (path.parent / "late").write_bytes(b"late")
        else:
            path.unlink()


class Interrupted:
    def __init__(self, source, between):
        self.source, self.between = source, between
        self.abort = source.abort

    def readinto(self, buffer):
        count = self.source.readinto(buffer)
        self.between()
        return count


@disk
@given(
    repositories,
    st.sampled_from(["truncate", "rewrite", "replace", "append", "add", "delete"]),
    st.integers(1, 12),
)
def test_a_source_that_changes_while_it_is_read_never_becomes_a_version(content, how, at):
    with directories(content) as (root, store_path):
        meddling = Meddling(root, how, at)
        _, report = converge(root, store_path, repository=meddling, workers=2)
        for (model, version), files in on_disk(store_path).items():
            published, now = content[model][version], read(root / model / str(version))
            assert files in (published, now), "neither a mixture nor a part"
            assert whole(files)
        assert {item.error.code for item in report.refused} <= {
            "CHANGED", "INCOMPLETE", "SOURCE_NOT_FOUND", "DIGEST_MISMATCH", "OVERWRITTEN",
        }  # fmt: skip
        # A publisher that came to rest is followed by the next run, except where the version was already taken.
        taken = set(on_disk(store_path))
        converge(root, store_path)
        resting = {m: {int(v.name): read(v) for v in (root / m).iterdir()} for m in content}
        for key, files in expected(resting).items():
            assert key in taken or on_disk(store_path)[key] == files


@disk
@given(repositories, st.sampled_from(["truncate", "delete"]), st.randoms(use_true_random=False))
def test_damage_in_the_store_is_repaired(content, how, random):
    with directories(content) as (root, store_path):
        converge(root, store_path)
        files = [(key, path) for key, held in on_disk(store_path).items() for path in held if held[path]]
        if not files:
            return
        (model, version), path = random.choice(files)
        victim = store_path / model / str(version) / path
        victim.unlink() if how == "delete" else victim.write_bytes(b"")
        assert not Store(store_path).scan()[model][version].complete
        _, report = converge(root, store_path)
        assert [(item.model, item.version) for item in report.pulled] == [(model, version)]
        assert on_disk(store_path) == expected(content)


@disk
@given(repositories, st.integers(0, 200_000), st.integers(0, 20_000))
def test_the_budget_is_kept_and_every_refusal_names_need_and_have(content, free, headroom):
    with directories(content) as (root, store_path):
        store = Store(store_path)
        with mock.patch.object(Store, "free_bytes", return_value=free):
            prepared = pull.prepare(
                track(), FilesRepository(root), store, "node-1", pull.PullSettings(headroom_bytes=headroom)
            )
        assert not prepared.plan.items or sum(item.space for item in prepared.plan.items) <= free - headroom
        refused = [item for item in prepared.plan.refused if item.error.code == "NO_SPACE"]
        wanted = expected(content, count=1)
        assert len(prepared.plan.items) + len(refused) == len(wanted)
        smallest_refused = min(
            (sum(map(len, wanted[item.model, item.version].values())) for item in refused), default=0
        )
        assert not refused or smallest_refused > 0
        assert all("needs" in item.error.problem and "left" in item.error.problem for item in refused)
        assert not store_path.exists(), "a plan changes nothing"


@disk
@given(repositories)
def test_a_pinned_unsound_version_stays_wanted_and_does_not_stop_its_neighbours(content):
    pinned = {model: {"versions": sorted(held)} for model, held in content.items() if held}
    with directories(content) as (root, store_path):
        desired, report = converge(root, store_path, parse({"models": pinned}, "fleet.json"))
        assert {name: list(model.versions) for name, model in desired.models.items()} == {
            name: spec["versions"] for name, spec in pinned.items()
        }
        sound = {(m, v): files for m, held in content.items() for v, files in held.items() if whole(files)}
        assert on_disk(store_path) == sound
        assert {(item.model, item.version) for item in report.refused} == {
            (m, v) for m, held in content.items() for v in held
        } - set(sound)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4))
def test_only_paths_that_stay_below_the_version_are_accepted(paths):
    objects = [RemoteObject(path, 1, "1") for path in paths]
    try:
        check_paths(objects, "model m version 1")
    except InvalidInput:
        return
    with tempfile.TemporaryDirectory(dir=SHELF) as place:
        top = Path(place) / "version"
        for path in set(paths):
            target = top / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"x")
        assert {path for path, _ in files_below(str(place))} == {f"version/{path}" for path in paths}
