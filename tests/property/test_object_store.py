"""The same models in a bucket and in a directory are the same to the engine."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters import object_store
from modelfleet.adapters.files import FilesRepository
from modelfleet.adapters.object_store import Entry, ObjectStoreRepository, fault_of
from modelfleet.errors import SourceForbidden, SourceIncomplete, SourceNotFound

NAMES = [
    "digits",
    "digits-hf",
    "a b",
    ".hidden",
    "1",
    "2",
    "10",
    "02",
    "v1",
    "saved_model.pb",
    "saved_model.pbtxt",
    "x",
]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map("/".join)


class Keys:
    """A store of keys in memory; remembers what was listed."""

    uri = "keys://here"

    def __init__(self, keys):
        self._keys = keys
        self.listed = []

    def list(self, prefix):
        self.listed.append(prefix)
        for key, size in sorted(self._keys.items()):
            if key.startswith(prefix):
                yield Entry(key, size, "1")

    def read_small(self, key):
        return b"x" * self._keys[key] if key in self._keys else None

    def open(self, entry, subject, start=0, length=None):
        raise NotImplementedError

    def close(self):
        """Nothing is open."""


def without_clashes(paths):
    """Return the paths of which none is a folder of another one."""
    return {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}


def objects(repository, model, version):
    try:
        return [(obj.path, obj.size) for obj in repository.objects(model, version)]
    except (SourceNotFound, SourceIncomplete):
        return None


@given(st.sets(PATHS, max_size=12).map(without_clashes), st.sampled_from(["", "models"]))
def test_a_bucket_is_read_as_a_directory_is(paths, prefix):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"x" * len(path))
        base = f"{prefix}/" if prefix else ""
        near = {f"{prefix}-hf/digits/1/saved_model.pb": 1} if prefix else {}
        keyed = ObjectStoreRepository(Keys({**{f"{base}{path}": len(path) for path in paths}, **near}), prefix)
        files = FilesRepository(root)

        models = keyed.list_models()
        assert models == files.list_models()
        for model in ("digits", "digits-hf", "x"):
            for version in (1, 2, 10):
                assert objects(keyed, model, version) == objects(files, model, version)
        assert all((keyed.read_text(path) or "x") == files.read_text(path) for path in paths)


@given(st.sets(PATHS, max_size=12).map(without_clashes), st.integers(0, 6))
def test_what_is_not_remembered_is_listed_again(paths, remembered):
    keys = Keys({path: len(path) for path in paths})
    repository, all_remembered = ObjectStoreRepository(keys), ObjectStoreRepository(Keys(dict.fromkeys(paths, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_store, "REMEMBERED", remembered)
        models = repository.list_models()
    all_remembered.list_models()
    for model in ("digits", "digits-hf", "x"):
        for version in models.get(model, ()):
            if isinstance(version, int):
                found = [obj.path for obj in repository.objects(model, version)]
                assert found == [obj.path for obj in all_remembered.objects(model, version)]


def test_one_listing_answers_for_every_version():
    keys = Keys({f"digits/{version}/saved_model.pb": 1 for version in range(1, 50)})
    repository = ObjectStoreRepository(keys)
    (versions,) = repository.list_models().values()
    for version in versions:
        repository.objects("digits", version)
    assert keys.listed == [""]
    repository.objects("digits", 7, fresh=True)
    assert keys.listed == ["", "digits/7/"]


@given(st.text(max_size=30))
def test_a_path_without_fault_leads_to_a_file_below(path):
    if fault_of(path):
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x")
        assert target.resolve() == target
        assert str(target.relative_to(root)) == path
        assert path == path.strip("/")


@given(st.sets(st.text("aAbB/ßﬁ.", min_size=1, max_size=6), max_size=6))
def test_the_files_of_a_version_never_meet_on_any_file_system(paths):
    repository = ObjectStoreRepository(Keys({f"digits/1/{path}": 1 for path in paths} | {"digits/1/z": 1}))
    with contextlib.suppress(SourceForbidden):
        found = [obj.path.casefold() for obj in repository.objects("digits", 1)]
        assert len(set(found)) == len(paths) + 1
        assert not any(other.startswith(f"{path}/") for path in found for other in found)
