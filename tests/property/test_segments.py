"""Whatever arrives in whatever pieces: nothing is read twice, nothing is forgotten, the checksum is the whole's."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from modelfleet.adapters.checksums import combine
from modelfleet.adapters.repository import RemoteObject
from modelfleet.journal import Journal, Piece
from modelfleet.segments import BATCH, SMALL, Segment, batches, checksum_of, missing, ordered

disk = settings(deadline=None)

contents = st.binary(max_size=200)
ranges = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=12)


def pieces_of(content, spans, path="a"):
    """Return the pieces that such reads leave, within the content."""
    found = []
    for start, length in spans:
        part = content[start : start + length]
        if part:
            found.append(Piece(path, start, len(part), crc32c(part)))
    return found


@given(contents, contents)
def test_two_checksums_make_the_one_of_both(first, second):
    assert combine(crc32c(first), crc32c(second), len(second)) == crc32c(first + second)


@given(contents, ranges, st.integers(1, 70))
def test_what_is_missing_and_what_is_there_make_the_whole_exactly_once(content, spans, segment_bytes):
    obj = RemoteObject("a", len(content), "1")
    pieces = pieces_of(content, spans)
    rest = missing(obj, pieces, segment_bytes)
    assert all(0 < part.length <= segment_bytes for part in rest)
    covered = sorted(
        [(piece.start, piece.end) for piece in ordered(pieces)]
        + [(part.start, part.start + part.length) for part in rest]
    )
    position = 0
    for start, end in covered:
        assert start <= position, "no hole"
        position = max(position, end)
    assert position == len(content) or not content
    read = {byte for part in rest for byte in range(part.start, part.start + part.length)}
    assert not read & {byte for piece in ordered(pieces) for byte in range(piece.start, piece.end)}


@given(contents, ranges, st.integers(1, 70))
def test_pieces_from_any_histories_give_the_checksum_of_the_content(content, spans, segment_bytes):
    obj = RemoteObject("a", len(content), "1")
    pieces = ordered(pieces_of(content, spans))
    assert (checksum_of(obj, pieces) is None) == bool(missing(obj, pieces, segment_bytes))
    fetched = [(part.start, part.length) for part in missing(obj, pieces, segment_bytes)]
    assert checksum_of(obj, [*pieces, *pieces_of(content, fetched)]) == crc32c(content)


@given(contents, ranges)
def test_what_cannot_be_divided_is_missing_as_a_whole(content, spans):
    obj = RemoteObject("a", len(content), "1", divisible=False)
    rest = missing(obj, pieces_of(content, spans), 10)
    assert rest in ([], [Segment(obj, 0, len(content))])


@given(st.lists(st.integers(1, 3 * SMALL), max_size=60))
def test_large_parts_go_alone_and_first_and_small_ones_together(sizes):
    parts = [Segment(RemoteObject(f"f{number}", size, "1"), 0, size) for number, size in enumerate(sizes)]
    units = batches(parts)
    assert sorted(part.obj.path for unit in units for part in unit) == sorted(part.obj.path for part in parts)
    assert all(len(unit) <= BATCH and (len(unit) == 1 or unit[0].length <= SMALL) for unit in units)
    large = [unit[0].length for unit in units if unit[0].length > SMALL]
    assert large == sorted(large, reverse=True)
    assert [unit for unit in units if unit[0].length > SMALL] == units[: len(large)]


paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
rows = st.lists(
    st.one_of(
        st.builds(Piece, paths, st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**32 - 1)),
        paths,
    ),
    max_size=20,
)


@disk
@given(rows, st.integers(0, 3000))
def test_a_torn_journal_gives_back_the_pieces_before_the_tear(notes, cut):
    with tempfile.TemporaryDirectory() as place:
        journal = Journal(Path(place) / "journal")
        journal.begin("source")
        ends = [journal.path.stat().st_size]
        for note in notes:
            if isinstance(note, Piece):
                journal.add(note)
            else:
                journal.forget(note)
            ends.append(journal.path.stat().st_size)
        journal.close()
        data = journal.path.read_bytes()[:cut]
        journal.path.write_bytes(data)
        expected = []
        for note, end in zip(notes, ends[1:], strict=True):
            if end > len(data):
                break
            if isinstance(note, Piece):
                expected.append(note)
            else:
                expected = [piece for piece in expected if piece.path != note]
        assert journal.resume("source") == (expected if ends[0] <= len(data) else None)
        assert journal.resume("another source") is None


@disk
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.builds(lambda x: json.dumps(x).encode(), st.recursive(st.integers() | st.text(max_size=5), st.lists)),
        ),
        max_size=8,
    )
)
def test_garbage_in_a_journal_is_no_piece_and_no_error(lines):
    with tempfile.TemporaryDirectory() as place:
        journal = Journal(Path(place) / "journal")
        journal.begin("source")
        journal.close()
        with journal.path.open("ab") as stream:
            stream.write(b"\n".join(lines) + b"\n")
        assert all(isinstance(piece, Piece) and piece.length >= 0 for piece in journal.resume("source"))
