"""Archives of versions that are refused as a whole: hostile, damaged, or more than there is room for."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from modelfleet.adapters import archive_members, zip_archives
from modelfleet.errors import DigestMismatch, InvalidInput, NoSpace, SourceIncomplete

from tests.support.archives import MODEL, PACKERS, kind_of, tar_of, unpacked, zip_of

HOSTILE = {
    "../outside": "leads out",
    "a/../../outside": "leads out",
    "a/..": "leads out",
    "/etc/outside": "leads out",
    "//outside": "leads out",
    ".//outside": "leads out",
    "C:/outside": "leads out",
    "c:outside": "leads out",
    "": "cannot be the name",
    "a//b": "cannot be the name",
    "a/./b": "cannot be the name",
    "a\\..\\b": "cannot be the name",
    "line\nfeed": "cannot be the name",
    "escape\x1b[2J": "cannot be the name",
    "right\u202eto left": "cannot be the name",
    "x" * 256: "longer or deeper",
    "/".join("x" * 40): "longer or deeper",
    "/".join(["y" * 200] * 6): "longer or deeper",
    "ä" * 128: "longer or deeper",
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere_or_hurt_are_refused(place, packer, name):
    kind, pack = PACKERS[packer]
    with pytest.raises(InvalidInput, match=HOSTILE[name]) as refusal:
        unpacked(place, kind, pack([*MODEL.items(), (name, b"x")]))
    assert refusal.value.one_line().isprintable()


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a/b", "A/c"], "case or composition"),
        (["Model.pb", "model.pb"], "case or composition"),
        (["gr\u00fcn", "gru\u0308n"], "case or composition"),
        (["a/b", "a"], "a file and a directory at once"),
        (["a", "a/b"], "a file and a directory at once"),
        (["a/b", "./a/b"], "twice"),
    ],
)
def test_names_that_collide_are_refused(place, packer, names, problem):
    kind, pack = PACKERS[packer]
    with pytest.raises(InvalidInput, match=problem):
        unpacked(place, kind, pack([(name, b"x") for name in names]))


@pytest.mark.parametrize(
    "what",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_members_that_are_no_plain_files_are_refused(place, what, mode):
    with pytest.raises(InvalidInput, match="holds 'odd', which is no plain file"):
        unpacked(place, "tar", tar_of([("saved_model.pb", b"x"), ("odd", kind_of(what))], mode))


def test_a_file_with_holes_is_refused(place):
    info = tarfile.TarInfo()
    info.size, info.pax_headers = 512, {"GNU.sparse.map": "0,0,8589934592,0", "GNU.sparse.size": "8589934592"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info.name = "saved_model.pb"
        archive.addfile(info, io.BytesIO(bytes(512)))
    with pytest.raises(InvalidInput, match="which has holes"):
        unpacked(place, "tar", buffer.getvalue())


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644])
def test_zip_members_that_are_no_plain_files_are_refused(place, mode):
    odd = zipfile.ZipInfo("odd")
    odd.create_system, odd.external_attr = 3, mode << 16
    with pytest.raises(InvalidInput, match="holds 'odd', which is no plain file"):
        unpacked(place, "zip", zip_of([("saved_model.pb", b"x"), (odd, b"/etc/passwd")]))


def test_nothing_is_written_of_a_zip_that_is_refused(place):
    written = []
    data = zip_of([("saved_model.pb", b"x"), ("../odd", b"x")])
    with pytest.raises(InvalidInput):
        unpacked(place, "zip", data, check=lambda: written.append(1))
    assert not written


@pytest.mark.parametrize("packer", ["zip", "tar"])
def test_more_members_than_any_model_has_are_refused(place, packer, monkeypatch):
    monkeypatch.setattr(archive_members, "MEMBER_LIMIT", 10)
    kind, pack = PACKERS[packer]
    assert len(unpacked(place, kind, pack([(str(number), b"") for number in range(10)]))) == 10
    for path in (place / "version").iterdir():
        path.unlink()
    with pytest.raises(InvalidInput, match="more than 10 members"):
        unpacked(place, kind, pack([(str(number), b"") for number in range(11)]))


@pytest.mark.parametrize("packer", ["zip", "tar"])
@pytest.mark.parametrize("limit", ["MEMBER_LIMIT", "NAMES_LIMIT"])
def test_directories_that_only_follow_from_names_count_as_well(place, packer, limit, monkeypatch):
    kind, pack = PACKERS[packer]
    data = pack([(f"{number}/a/b/c/d/e", b"") for number in range(10)])
    assert len(unpacked(place, kind, data)) == 10
    for path in (place / "version").iterdir():
        shutil.rmtree(path)
    monkeypatch.setattr(archive_members, limit, 50)
    with pytest.raises(InvalidInput, match="files and directories, or too long names"):
        unpacked(place, kind, data)


def test_a_list_of_members_larger_than_memory_should_hold_is_refused(place, monkeypatch):
    monkeypatch.setattr(zip_archives, "DIRECTORY_LIMIT", 70_000)
    assert len(unpacked(place, "zip", zip_of([("saved_model.pb", b"x")]))) == 1
    (place / "version" / "saved_model.pb").unlink()
    with pytest.raises(SourceIncomplete, match="claims to have"):
        unpacked(place, "zip", zip_of([(f"{number:0>200}", b"") for number in range(300)]))


def test_encrypted_members_are_refused(place):
    data = bytearray(zip_of([("saved_model.pb", b"x")]))
    data[6] |= 1  # the flags in the member's own header
    data[data.index(b"PK\1\2") + 8] |= 1  # and in the list
    with pytest.raises(InvalidInput, match="which is encrypted"):
        unpacked(place, "zip", bytes(data))


def test_methods_that_take_as_much_memory_as_they_like_are_refused(place):
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with pytest.raises(InvalidInput, match="another method than deflate"):
            unpacked(place, "zip", zip_of([("saved_model.pb", b"x")], method))


@pytest.mark.parametrize("packer", PACKERS)
def test_no_more_is_unpacked_than_there_is_room_for(place, packer):
    kind, pack = PACKERS[packer]
    files = [("saved_model.pb", b"x" * 10), ("big", bytes(5_000_000))]
    with pytest.raises(NoSpace, match="model m version 1: unpacks to more than the 5000009 bytes"):
        unpacked(place, kind, pack(files), limit=5_000_009)
    assert len(unpacked(place, kind, pack(files), limit=5_000_010)) == 2


def test_a_member_that_unpacks_to_more_than_it_says_is_damaged(place):
    data = bytearray(zip_of([("saved_model.pb", bytes(1000))]))
    for offset in (22, data.index(b"PK\1\2") + 24):
        data[offset : offset + 4] = struct.pack("<I", 10)
    with pytest.raises(DigestMismatch, match="Bad CRC-32"):
        unpacked(place, "zip", bytes(data))


def test_a_member_that_unpacks_to_less_than_it_says_is_damaged(place):
    data = bytearray(zip_of([("saved_model.pb", bytes(1000))]))
    for offset in (22, data.index(b"PK\1\2") + 24):
        data[offset : offset + 4] = struct.pack("<I", 1001)
    with pytest.raises(SourceIncomplete, match=r"saved_model\.pb has 1000 bytes instead of 1001"):
        unpacked(place, "zip", bytes(data))


def test_members_that_share_their_bytes_are_refused(place):
    data = zip_of([("a", os.urandom(5000)), ("b", b"x")], zipfile.ZIP_STORED)
    end = data.rindex(b"PK\5\6")
    begin = data.index(b"PK\1\2")
    first = data[begin : data.index(b"PK\1\2", begin + 4)]
    twins = b"".join(first[:46] + bytes([ord("a") + number]) for number in range(9))
    tail = bytearray(data[end:])
    tail[8:12] = struct.pack("<HH", 9, 9)
    tail[12:16] = struct.pack("<I", len(twins))
    with pytest.raises(SourceIncomplete, match="its members overlap"):
        unpacked(place, "zip", data[:begin] + twins + bytes(tail))


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.97])
def test_a_cut_off_archive_is_incomplete(place, packer, share):
    kind, pack = PACKERS[packer]
    files = [("saved_model.pb", os.urandom(100_000)), ("variables/x", os.urandom(100_000))]
    data = pack(files)
    with pytest.raises(SourceIncomplete, match=r"model m version 1: its archive cannot be unpacked \(.+\); look"):
        unpacked(place, kind, data[: int(len(data) * share)])


def test_a_tar_archive_that_ends_between_two_members_is_incomplete(place):
    data = tar_of([("saved_model.pb", bytes(512)), ("variables/x", bytes(512))])
    for end in (512, 1024, 1536, 2048):
        with pytest.raises(SourceIncomplete):
            unpacked(place, "tar", data[:end])
    with pytest.raises(SourceIncomplete):
        unpacked(place, "tar", data[:1024] + b"junk" * 128 + data[1024:])


@pytest.mark.parametrize("place_of_damage", [-8, -1, 5000])
def test_damage_that_only_the_checksum_of_gzip_tells_is_found(place, place_of_damage):
    data = bytearray(gzip.compress(tar_of([("saved_model.pb", os.urandom(20_000))]), 0))
    data[place_of_damage] ^= 1
    with pytest.raises(DigestMismatch, match="model m version 1: its archive arrived damaged"):
        unpacked(place, "tar", bytes(data))


def test_damage_of_compressed_bytes_is_found(place):
    text = os.urandom(5000).hex().encode()
    for kind, data in (("zip", zip_of([("a", text)])), ("tar", gzip.compress(tar_of([("a", text)])))):
        broken = bytearray(data)
        broken[1000:1500] = b"\xff" * 500
        with pytest.raises(DigestMismatch, match="it is pulled again"):
            unpacked(place, kind, bytes(broken))


def test_what_an_earlier_attempt_left_is_removed(place):
    (place / "version" / "old" / "deep").mkdir(parents=True)
    (place / "version" / "old" / "deep" / "file").write_bytes(b"x")
    (place / "version" / "saved_model.pb").write_bytes(b"half")
    assert unpacked(place, "zip", zip_of(MODEL.items())) == MODEL


def test_damage_that_only_the_checksum_of_zip_tells_is_found(place):
    data = bytearray(zip_of([("saved_model.pb", os.urandom(20_000))], zipfile.ZIP_STORED))
    data[5000] ^= 1
    with pytest.raises(DigestMismatch, match="Bad CRC-32"):
        unpacked(place, "zip", bytes(data))


def test_gzip_in_several_parts_is_one_archive(place):
    data = tar_of(MODEL.items())
    parts = gzip.compress(data[:1000]) + gzip.compress(data[1000:])
    assert unpacked(place, "tar", parts) == MODEL


def test_an_archive_that_does_not_end_is_given_up(place):
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = press.compress(tar_of([("saved_model.pb", b"x")]))
    data += b"".join(press.compress(bytes(1 << 20)) for _ in range(20)) + press.flush()
    with pytest.raises(SourceIncomplete, match="goes on after its end"):
        unpacked(place, "tar", data)


def test_a_name_that_claims_to_be_longer_than_memory_is_refused(place):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    data = header.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(SourceIncomplete, match="claims to have 1099511627776 bytes"):
        unpacked(place, "tar", data + bytes(1 << 20))


def tar_header(name, kind, content=b""):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def pax_record(key, value):
    """Return one line of an extended header, which begins with its own length."""
    length = len(f" {key}={value}\n") + 1
    while len(f"{length} {key}={value}\n") > length:
        length += 1
    return f"{length} {key}={value}\n".encode()


def test_headers_about_headers_are_not_followed_for_ever(place):
    chain = tar_header("x", tarfile.XHDTYPE, pax_record("comment", "c" * 200_000)) * 40
    member = tar_header("saved_model.pb", tarfile.REGTYPE, b"x")
    with pytest.raises(SourceIncomplete, match="a header goes on for more than"):
        unpacked(place, "tar", gzip.compress(chain + member + bytes(10240)))


def test_a_list_of_holes_that_does_not_end_is_given_up(place):
    said = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "n", "GNU.sparse.realsize": "1"}
    header = tar_header("x", tarfile.XHDTYPE, b"".join(pax_record(*item) for item in said.items()))
    listed = tar_header("n", tarfile.REGTYPE, b"999999999\n" + b"0\n" * (4 << 20))
    with pytest.raises(SourceIncomplete, match="a header goes on for more than"):
        unpacked(place, "tar", gzip.compress(header + listed))


def test_what_headers_say_about_all_members_is_bounded(place):
    little = tar_header("g", tarfile.XGLTYPE, pax_record("comment", "0123456789abcdef" * 2))
    member = tar_header("saved_model.pb", tarfile.REGTYPE, b"x")
    assert unpacked(place, "tar", little + member + bytes(10240)) == {"saved_model.pb": b"x"}
    much = b"".join(tar_header("g", tarfile.XGLTYPE, pax_record(f"k{number}", "v" * 1000)) for number in range(5))
    with pytest.raises(SourceIncomplete, match="too much about all members"):
        unpacked(place, "tar", much + member + bytes(10240))


def test_what_headers_say_of_members_is_not_kept(place):
    said = tar_header("x", tarfile.XHDTYPE, pax_record("comment", "c" * 200_000))
    members = b"".join(said + tar_header(f"d{number}", tarfile.DIRTYPE) for number in range(100))
    data = gzip.compress(members + bytes(10240))
    tracemalloc.start()
    try:
        assert unpacked(place, "tar", data) == {}
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_a_size_below_zero_is_refused(place):
    header = bytearray(tarfile.TarInfo("saved_model.pb").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    with pytest.raises(SourceIncomplete):
        unpacked(place, "tar", bytes(header) + bytes(10240))
    info = tarfile.TarInfo("saved_model.pb")
    info.pax_headers = {"size": "-512"}
    with pytest.raises(SourceIncomplete):
        unpacked(place, "tar", info.tobuf(tarfile.PAX_FORMAT) + bytes(10240))


@pytest.mark.parametrize(("kind", "data"), [("zip", b"<html>sign in</html>"), ("tar", b"<html>" * 300), ("tar", b"")])
def test_a_page_that_is_no_archive_is_told_as_such(place, kind, data):
    with pytest.raises(SourceIncomplete, match="look whether the address leads to the archive"):
        unpacked(place, kind, data)


@pytest.mark.parametrize("packer", PACKERS)
def test_unpacking_ends_within_a_mebibyte_when_it_is_no_longer_wanted(place, packer):
    class Cancelled(RuntimeError):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) > 3:
            raise Cancelled

    kind, pack = PACKERS[packer]
    with pytest.raises(Cancelled):
        unpacked(place, kind, pack([("saved_model.pb", bytes(50_000_000))]), check=check)
    assert len(calls) == 4
