from __future__ import annotations

import errno
import os
import shutil
import socket
import time

import pytest
from modelfleet.config_directory import COUNT_LIMIT, SIZE_LIMIT, read, token
from modelfleet.errors import InvalidInput, SourceForbidden, SourceNotFound, SourceUnavailable
from modelfleet.kserve import parse
from modelfleet.waiting import Clock

from tests.support.projected_volume import MARKER_BYTES, STEADY, ProjectedVolume, replacing

SWAPS = 400


class Hours:
    """A clock that nobody waits for, and that lets something happen at each pause."""

    def __init__(self, at_pause=lambda: None):
        self.time, self.pauses, self.at_pause = 0.0, 0, at_pause

    def sleep(self, seconds):
        self.time += seconds
        self.pauses += 1
        self.at_pause()

    @property
    def clock(self):
        return Clock(lambda: self.time, self.sleep)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    return folder


def changed(path, change):
    """Return whether a change shows in the token of the revision that was read before."""
    before = read(path).token
    assert token(path) == before
    change()
    return token(path) != before


def test_plain_files_are_read_by_name(folder):
    (folder / "m1").write_bytes(b"one")
    (folder / "m2.json").write_bytes(b"")
    (folder / ".m1.swp").write_bytes(b"hidden")
    (folder / "sub").mkdir()
    elsewhere = folder.parent / "m3"
    elsewhere.write_bytes(b"three")
    (folder / "m3").symlink_to(elsewhere)
    revision = read(folder)
    assert revision.files == {"m1": b"one", "m2.json": b"", "m3": b"three"}
    assert revision.unreadable == {}


def test_an_empty_directory_holds_nothing(folder):
    assert (read(folder).files, read(folder).unreadable) == ({}, {})


def test_what_is_no_file_is_never_waited_for(folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "sock"))
        assert read(folder).files == {}


def test_a_directory_with_the_name_of_a_file_is_a_file_that_cannot_be_read(folder):
    """As engines of containers make it where the file that is to be mounted does not exist."""
    (folder / "models.json").mkdir()
    (folder / "lost+found").mkdir()
    revision = read(folder)
    assert (revision.files, revision.unreadable) == ({}, {"models.json": "cannot be read: Is a directory"})
    with pytest.raises(SourceUnavailable, match="nothing about it changes"):
        parse(revision.files, revision.unreadable)


def test_a_projected_volume_is_read_behind_its_link(folder):
    volume = ProjectedVolume(folder)
    volume.project({"m1": "one", "m2": "two"})
    assert read(folder).files == {"m1": b"one", "m2": b"two"}
    volume.project({"m1": "new", "m3": "three"})
    assert read(folder).files == {"m1": b"new", "m3": b"three"}


def test_an_exchanged_volume_shows_although_no_name_changed(folder):
    volume = ProjectedVolume(folder)
    volume.project({"m1": "one"})
    assert changed(folder, lambda: volume.project({"m1": "two"}))
    assert changed(folder, lambda: volume.project({"m1": "two"}))


def test_every_change_of_plain_files_shows(folder):
    file = folder / "m1"
    assert changed(folder, lambda: file.write_text("one"))
    assert changed(folder, lambda: file.write_text("two"))
    assert changed(folder, lambda: file.write_text("longer"))

    def move_over():
        (folder.parent / "new").write_text("neuer!")
        (folder.parent / "new").rename(file)

    assert changed(folder, move_over)
    assert changed(folder, lambda: file.rename(folder / "m2"))
    assert changed(folder, (folder / "m2").unlink)
    assert changed(folder, lambda: (folder / "m3").symlink_to(folder.parent / "nowhere"))
    assert changed(folder, lambda: (folder.parent / "nowhere").write_text("x"))
    assert changed(folder, lambda: shutil.rmtree(folder))


def test_an_edit_that_keeps_size_and_time_of_change_shows(folder):
    file = folder / "m1"
    file.write_text("one")
    times = file.stat()

    def edit():
        file.write_text("two")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert changed(folder, edit)


def test_hidden_files_and_directories_do_not_show(folder):
    assert not changed(folder, lambda: (folder / ".m1.swp").write_text("x"))
    assert not changed(folder, (folder / "sub").mkdir)


def test_a_change_right_after_reading_shows_however_quick_it_is(folder):
    file = folder / "m1"
    for number in range(20):
        file.write_text(f"{number:3}a")
        assert changed(folder, lambda text=f"{number:3}b": file.write_text(text))


def test_a_single_file_has_a_token_as_well(folder):
    file = folder / "manifest.json"
    assert token(file) == token(folder / "missing")
    missing = token(file)
    file.write_text("{}")
    written = token(file)
    assert written != missing
    file.write_text("{ }")
    assert token(file) != written


def test_a_missing_directory_is_an_error_and_a_token(folder):
    shutil.rmtree(folder)
    hours = Hours()
    with pytest.raises(SourceNotFound, match="No such file or directory"):
        read(folder, hours.clock)
    assert hours.pauses > 1, "it may be about to come"
    assert token(folder) == "unreadable: No such file or directory"
    folder.write_text("a file")
    with pytest.raises(SourceNotFound, match="Not a directory"):
        read(folder, Hours().clock)


def test_a_directory_that_comes_while_we_wait_is_read(folder):
    folder.rmdir()
    assert read(folder, Hours(lambda: folder.mkdir(exist_ok=True)).clock).files == {}


def test_a_volume_whose_link_is_missing_is_half_replaced_and_not_empty(folder):
    volume = ProjectedVolume(folder)
    volume.project({"m1": "one"})
    link = folder / "..data"
    target = link.readlink()
    link.unlink()
    (folder / "m1").unlink()
    with pytest.raises(SourceUnavailable, match=r"\.\.data is missing"):
        read(folder, Hours().clock)
    assert read(folder, Hours(lambda: link.is_symlink() or link.symlink_to(target)).clock).files == {"m1": b"one"}


def test_a_volume_that_was_copied_with_its_links_resolved_is_plain(folder):
    (folder / "..data").mkdir()
    (folder / "..data" / "m1").write_text("one")
    (folder / "m1").write_text("one")
    assert changed(folder, lambda: (folder / "m1").write_text("two"))
    assert read(folder).files == {"m1": b"two"}


def test_what_changes_while_it_is_read_is_read_again(folder):
    (folder / "m1").write_text("0")
    edits = iter(range(1, 6))

    def edit():
        for number in edits:
            (folder / "m1").write_text(str(number))
            return
        time.sleep(0.02)

    hours = Hours(edit)
    assert read(folder, hours.clock).files == {"m1": b"5"}


def test_what_never_rests_is_not_read(folder):
    def edit():
        (folder / "m1").write_text(str(hours.pauses))

    hours = Hours(edit)
    edit()
    with pytest.raises(SourceUnavailable, match="keeps changing"):
        read(folder, hours.clock)


def test_a_failing_disk_is_tried_again_and_costs_its_file_alone(folder, monkeypatch):
    for name in ("m1", "m2"):
        (folder / name).write_text(name)
    time.sleep(0.06)
    real, failures = os.open, [3]

    def fail(path, flags, *args, **kwargs):
        if path == "m1" and failures[0]:
            failures[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", fail)
    hours = Hours()
    assert read(folder, hours.clock).files == {"m1": b"m1", "m2": b"m2"}
    assert hours.pauses == 3
    failures[0] = 10**6
    revision = read(folder, Hours().clock)
    assert (revision.files, revision.unreadable) == ({"m2": b"m2"}, {"m1": "cannot be read: Input/output error"})


def test_a_link_to_nothing_costs_its_file_alone(folder):
    (folder / "m1").symlink_to("nowhere")
    (folder / "m2").write_text("two")
    time.sleep(0.06)
    revision = read(folder, Hours().clock)
    assert (revision.files, revision.unreadable) == (
        {"m2": b"two"},
        {"m1": "cannot be read: No such file or directory"},
    )


def test_a_file_that_may_not_be_read_costs_its_file_alone(folder, monkeypatch):
    for name in ("m1", "m2"):
        (folder / name).write_text(name)
    real = os.open

    def refuse(path, flags, *args, **kwargs):
        if path == "m1":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    revision = read(folder)
    assert (revision.files, revision.unreadable) == ({"m2": b"m2"}, {"m1": "cannot be read: Permission denied"})


def test_a_directory_that_may_not_be_read_is_an_error(folder, monkeypatch):
    def refuse(path, flags, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceForbidden, match="let this user read it"):
        read(folder)
    assert token(folder) == "unreadable: Permission denied"


def test_a_file_that_is_too_large_costs_its_file_alone(folder):
    (folder / "m1").write_bytes(b"x" * SIZE_LIMIT)
    (folder / "m2").write_bytes(b"x" * (SIZE_LIMIT + 1))
    revision = read(folder)
    assert (list(revision.files), revision.unreadable) == (["m1"], {"m2": f"is larger than {SIZE_LIMIT} bytes"})


def test_too_many_files_are_refused(folder, monkeypatch):
    monkeypatch.setattr("modelfleet.config_directory.COUNT_LIMIT", 3)
    for number in range(3):
        (folder / f"m{number}").touch()
    assert len(read(folder).files) == 3
    (folder / "m3").touch()
    with pytest.raises(InvalidInput, match="holds 4 files") as caught:
        read(folder)
    assert caught.value.subject == str(folder)
    assert token(folder).startswith("unreadable: holds 4 files")
    assert COUNT_LIMIT == 10_000


def test_too_many_bytes_are_refused_before_they_are_read(folder, monkeypatch):
    monkeypatch.setattr("modelfleet.config_directory.TOTAL_LIMIT", 3)
    (folder / "m1").write_bytes(b"abc")
    assert read(folder).files == {"m1": b"abc"}
    (folder / "m2").write_bytes(b"d")
    with pytest.raises(InvalidInput, match="holds more than 3 bytes"):
        read(folder)


def test_exchanges_while_reading_never_mix_two_revisions(folder):
    """Another process exchanges the volume and deletes the old one at once, hundreds of times."""
    seen, latest, reads, busy = set(), 0, 0, 0
    with replacing(folder, SWAPS) as replaced:
        while replaced() < 1:
            time.sleep(0.001)
        while (done := replaced()) < SWAPS:
            try:
                revision = read(folder)
            except SourceUnavailable:
                busy += 1
                continue
            reads += 1
            (content,) = set(revision.files.values())
            assert len(content) > MARKER_BYTES
            first, last = content.split(b"\n")
            number = int(first)
            assert number == int(last)
            assert sorted(revision.files) == sorted((*STEADY, f"turn-{number % 3}"))
            assert revision.unreadable == {}
            assert number >= max(latest, done), "what was there before reading began is never older than what is read"
            latest = number
            seen.add(number)
    assert read(folder).files["m1"].endswith(f"\n{SWAPS}".encode())
    assert busy < reads
    assert reads >= len(seen) > 3, "a busy machine sees few of them, but not only the last"
