"""Archives of versions: what is unpacked."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import pytest
from modelfleet.adapters.archives import archive_kind
from modelfleet.errors import InvalidInput

from tests.support.archives import MODEL, PACKERS, kind_of, tar_of, unpacked, zip_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.zip", "zip"),
        ("M.ZIP", "zip"),
        ("m.tar", "tar"),
        ("m.tar.gz", "tar"),
        ("m-1.2.tgz", "tar"),
        ("saved_model.pb", ""),
        ("model.gz", ""),
        ("zip", ""),
        ("", ""),
    ],
)
def test_the_kind_follows_from_the_name(name, kind):
    assert archive_kind(name) == kind


@pytest.mark.parametrize("packer", PACKERS)
def test_all_members_are_unpacked_as_plain_files(place, packer):
    kind, pack = PACKERS[packer]
    assert unpacked(place, kind, pack(MODEL.items())) == MODEL
    for path in (place / "version").rglob("*"):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)
        assert path.stat().st_uid == os.getuid()


@pytest.mark.parametrize("packer", PACKERS)
def test_members_may_be_many_and_below_a_dot(place, packer):
    kind, pack = PACKERS[packer]
    files = [("./saved_model.pb", b"x"), *((f"./assets/{number % 7}/{number}", b"") for number in range(3000))]
    assert len(unpacked(place, kind, pack(files))) == 3001


def test_directories_of_archives_are_made_also_when_they_are_empty(place):
    folder = tarfile.TarInfo()
    folder.type, folder.mode = tarfile.DIRTYPE, 0
    again = tarfile.TarInfo()
    again.type = tarfile.DIRTYPE
    unpacked(place, "tar", tar_of([("./", kind_of(tarfile.DIRTYPE)), ("assets/", folder), ("assets", again)]))
    assert (place / "version" / "assets").stat().st_mode & 0o777 == 0o755


def test_a_zip_whose_sizes_follow_the_data_and_one_of_the_large_format_are_read(place):
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def tell(self):
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive, archive.open("saved_model.pb", "w", force_zip64=True) as member:
        member.write(b"graph")
    assert unpacked(place, "zip", pipe.getvalue()) == {"saved_model.pb": b"graph"}


def test_long_names_of_tar_archives_are_read(place):
    name = "/".join(["d" * 80] * 4)
    for format_ in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
            archive.addfile(tarfile.TarInfo(name))
        assert unpacked(place, "tar", buffer.getvalue()) == {name: b""}
        (place / "version" / name).unlink()
        os.removedirs((place / "version" / name).parent)
        (place / "version").mkdir(exist_ok=True)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("above", ["1", "digits", "digits/1"])
def test_the_directory_with_the_model_is_the_version(place, packer, above):
    kind, pack = PACKERS[packer]
    files = [(f"{above}/{name}", content) for name, content in MODEL.items()]
    files += [("README", b"how to"), ("__MACOSX/._saved_model.pb", b"\0")]
    assert unpacked(place, kind, pack(files)) == MODEL


def test_a_directory_with_the_name_of_the_one_that_is_lifted_stays(place):
    files = {"m/saved_model.pb": b"x", "m/m/deep": b"y"}
    assert unpacked(place, "zip", zip_of(files.items())) == {"saved_model.pb": b"x", "m/deep": b"y"}


def test_a_model_at_the_top_stays_there_whatever_lies_below(place):
    files = {"saved_model.pb": b"x", "assets/1/saved_model.pb": b"y", "assets/2/saved_model.pb": b"z"}
    assert unpacked(place, "zip", zip_of(files.items())) == files


def test_what_holds_no_model_stays_as_it_is(place):
    assert unpacked(place, "zip", zip_of([("m/model.joblib", b"x")])) == {"m/model.joblib": b"x"}


@pytest.mark.parametrize(
    ("names", "what"), [(["1", "2", "m/10"], "3 versions: 1, 2, m/10"), (["a", "2"], "2 SavedModels: 2, a")]
)
def test_several_models_in_one_archive_are_refused(place, names, what):
    data = tar_of([(f"{name}/saved_model.pb", b"x") for name in names])
    with pytest.raises(
        InvalidInput, match=f"model m version 1: its archive holds {what}; give each version an archive"
    ):
        unpacked(place, "tar", data)
