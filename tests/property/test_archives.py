"""Random archives, sound, hostile and damaged: what comes out is what went in, or nothing."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modelfleet.adapters.archives import unpack
from modelfleet.errors import DigestMismatch, InvalidInput, NoSpace, SourceIncomplete

SHELF = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (memory, where there is some: far quicker)
LIMIT = 100_000
kinds = st.sampled_from(["zip", "stored", "tar", "tar.gz"])
parts = st.text(st.sampled_from("abÄé-_. "), min_size=1, max_size=5).filter(lambda part: part not in {".", ".."})
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
contents = st.binary(max_size=3000)
#: Names as only somebody malicious, or another system, packs them.
odd = st.lists(
    st.sampled_from(["", ".", "..", "...", "/", "a", "A", "b", "c:", "\\", "\n", "\x00", "\u202e", "saved_model.pb"]),
    min_size=1,
    max_size=5,
).map("/".join)


def packed(kind, files):
    buffer = io.BytesIO()
    if kind in {"zip", "stored"}:
        method = zipfile.ZIP_DEFLATED if kind == "zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same name twice is meant
            for name, content in files:
                archive.writestr(zipfile.ZipInfo(name), content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz" if kind == "tar.gz" else "w") as archive:
            for name, content in files:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def above(name):
    """Return the directories that a file lies in."""
    ends = [position for position, letter in enumerate(name) if letter == "/"]
    return [name[:end] for end in ends]


def names_of(files):
    """Return the names of all files, and of the directories that they lie in."""
    return set(files) | {folder for name in files for folder in above(name)}


def unpacked(kind, data):
    """Return the files that come out; what else there is beside them must be untouched, also after an error."""
    with tempfile.TemporaryDirectory(dir=SHELF) as name:
        top = Path(name)
        (top / "archive").write_bytes(data)
        (top / "into").mkdir()
        try:
            kind = "zip" if kind in {"zip", "stored"} else "tar"
            unpack(top / "archive", kind, top / "into", limit_bytes=LIMIT)
        except BaseException:
            assert not list((top / "into").iterdir())
            raise
        finally:
            assert {path.name for path in top.iterdir()} == {"archive", "into"}
            assert (top / "archive").read_bytes() == data
        found = {}
        for path in (top / "into").rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()
            if path.is_file():
                found[str(path.relative_to(top / "into"))] = path.read_bytes()
        return found


@given(kind=kinds, files=st.dictionaries(paths, contents, max_size=8))
def test_what_goes_in_comes_out(kind, files):
    spelt = {unicodedata.normalize("NFC", name).casefold() for name in names_of(files)}
    collides = len(spelt) < len(names_of(files)) or any(folder in files for name in files for folder in above(name))
    if collides:
        with pytest.raises(InvalidInput):
            unpacked(kind, packed(kind, files.items()))
    else:
        assert unpacked(kind, packed(kind, files.items())) == files


@given(kind=kinds, files=st.lists(st.tuples(odd, contents), max_size=6))
def test_no_name_leads_out_of_the_directory(kind, files):
    try:
        found = unpacked(kind, packed(kind, files))
    except (InvalidInput, SourceIncomplete):
        return
    assert all(not path.startswith("/") and ".." not in path.split("/") and path.isprintable() for path in found)


@given(
    kind=kinds,
    files=st.dictionaries(paths, contents, min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_archive_is_refused_with_an_error_for_people(kind, files, changes, share):
    data = bytearray(packed(kind, files.items()))
    for place, value in changes:
        data[int(place * len(data))] ^= value
    try:
        unpacked(kind, bytes(data[: int(len(data) * share)]))
    except (InvalidInput, SourceIncomplete, DigestMismatch, NoSpace) as error:
        shown = error.one_line()
    else:
        return
    assert shown.isprintable()


@given(
    kind=st.sampled_from(["zip", "stored", "tar.gz"]),
    content=st.binary(min_size=1, max_size=3000),
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(1, 255),
)
def test_no_flipped_bit_of_a_compressed_archive_changes_what_comes_out(kind, content, place, value):
    data = bytearray(packed(kind, [("saved_model.pb", content)]))
    data[int(place * len(data))] ^= value
    try:
        found = unpacked(kind, bytes(data))
    except (InvalidInput, SourceIncomplete, DigestMismatch, NoSpace):
        return
    assert set(found.values()) <= {content}


@given(data=st.binary(max_size=2000), kind=kinds)
def test_what_is_no_archive_is_refused(data, kind):
    head = {"zip": b"", "stored": b"PK\3\4", "tar": b"", "tar.gz": b"\x1f\x8b\x08"}[kind]
    try:
        assert not unpacked(kind, head + data)
    except (SourceIncomplete, DigestMismatch):
        return
