from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from modelfleet.adapters.repository import RemoteObject
from modelfleet.durable import exchange
from modelfleet.errors import InvalidInput, SourceIncomplete, StoreBusy, StoreError
from modelfleet.saved_model import validate_saved_model
from modelfleet.store import QuarantineRecord, Receipt, Store

RECORD = QuarantineRecord("INCOMPLETE", "has no saved_model.pb", "abc", "pull", "2026-01-01T00:00:00+00:00")


def receipt(*sizes):
    objects = tuple(RemoteObject(f"f{i}", size, "1", 7) for i, size in enumerate(sizes))
    return Receipt("file:///r", objects, "2026-01-01T00:00:00+00:00")


def publish(store, model, version, *contents):
    staging = store.staging.claim(model, version)
    for i, content in enumerate(contents):
        (staging.path / f"f{i}").write_bytes(content)
    store.publish(staging, receipt(*map(len, contents)))


def test_a_host_without_a_store_is_an_empty_store_and_stays_untouched(store):
    assert (store.scan(), store.quarantined(), store.good(), store.fingerprint("digits", 1)) == ({}, {}, {}, "")
    assert store.free_bytes() > 0
    assert not store.root.exists()


def test_a_published_version_is_complete_and_others_are_not(store):
    publish(store, "digits", 2, b"abc", b"")
    (store.root / "digits" / "3").mkdir()
    (store.root / "digits" / "3" / "x").write_bytes(b"12345")
    (store.root / "digits" / "notes").mkdir()
    found = store.scan()["digits"]
    assert sorted(found) == [2, 3]
    assert (found[2].complete, found[2].bytes, found[2].receipt) == (True, 3, receipt(3, 0))
    assert (found[3].complete, found[3].bytes, found[3].receipt) == (False, 5, None)
    assert store.fingerprint("digits", 2) == receipt(3, 0).fingerprint


def test_every_number_on_disk_is_told_with_where_it_came_from(store):
    publish(store, "digits", 2, b"abc")
    (store.root / "digits" / "3").mkdir()
    assert store.origins("digits") == {3: "", 2: "file:///r"}
    assert store.origins("words") == {}


@pytest.mark.parametrize("damage", ["shorter", "gone", "receipt", "receipt digest"])
def test_damage_is_seen(store, damage):
    publish(store, "digits", 2, b"abc")
    assert store.scan()["digits"][2].complete
    proof = store.root / ".receipts" / "digits" / "2.json"
    if damage == "shorter":
        (store.root / "digits" / "2" / "f0").write_bytes(b"ab")
    elif damage == "gone":
        (store.root / "digits" / "2" / "f0").unlink()
    elif damage == "receipt":
        proof.write_text("{")
    else:
        proof.write_text(json.dumps(json.loads(proof.read_text()) | {"digest": "0"}))
    assert not store.scan()["digits"][2].complete


def test_staging_is_invisible_and_can_be_dropped(store):
    staging = store.staging.claim("digits", 1)
    (staging.path / "f0").write_bytes(b"half")
    assert store.scan() == {}
    staging.discard()
    staging.discard()
    assert not staging.path.exists()


def test_leftovers_are_deleted_but_neither_what_is_worked_on_nor_what_is_still_wanted(store):
    for version in (1, 2, 3):
        staging = store.staging.claim("digits", version)
        (staging.path / "f0").write_bytes(b"half")
        if version > 1:
            staging.close()
    assert store.clean_staging([("digits", 2)]) == ("digits.3",)
    with pytest.raises(StoreBusy, match=r"digits\.1: is being prepared by process"):
        store.staging.claim("digits", 1)
    again = store.staging.claim("digits", 2)
    assert (again.path / "f0").read_bytes() == b"half"
    again.close()
    assert store.clean_staging() == ("digits.2",)
    assert store.clean_staging() == ()


def test_publishing_replaces_a_damaged_version(store):
    publish(store, "digits", 1, b"old")
    publish(store, "digits", 1, b"newer")
    assert (store.root / "digits" / "1" / "f0").read_bytes() == b"newer"
    assert store.scan()["digits"][1].complete
    assert not list((store.root / ".staging").iterdir())


def test_a_removed_version_leaves_nothing(store):
    for version in (1, 2):
        publish(store, "digits", version, b"abc")
        store.mark_good("digits", version)
    store.remove("digits", 1)
    assert sorted(store.scan()["digits"]) == [2]
    assert store.good() == {"digits": {2}}
    store.remove("digits", 2)
    left = {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}
    assert left == {".commit", ".state/good.json"}
    assert not (store.root / "digits").exists()
    with pytest.raises(StoreError, match="digits/2"):
        store.remove("digits", 2)


def test_names_that_would_leave_the_store_are_refused(store):
    for model, version in (("../etc", 1), ("", 1), (".staging", 1), ("digits", 0), ("digits", -1)):
        for action in (store.staging.claim, store.remove, store.release, store.mark_good):
            with pytest.raises(InvalidInput):
                action(model, version)


def test_quarantine_is_kept_and_released(store):
    store.quarantine("digits", 4, RECORD)
    store.quarantine("a", 1, RECORD)
    assert list(Store(store.root).quarantined().items()) == [(("a", 1), RECORD), (("digits", 4), RECORD)]
    assert store.release("digits", 4)
    assert not store.release("digits", 4)
    assert list(store.quarantined()) == [("a", 1)]


@pytest.mark.parametrize("text", ["{", "[]", '{"code": 1}'])
def test_a_damaged_record_is_named(store, text):
    store.quarantine("digits", 4, RECORD)
    (store.root / ".quarantine" / "digits" / "4.json").write_text(text)
    with pytest.raises(StoreError, match=r"4\.json: is not a record of ours; remove the file"):
        store.quarantined()


def test_good_versions_are_remembered_across_processes(store):
    for version in (3, 1, 3):
        store.mark_good("digits", version)
    assert Store(store.root).good() == {"digits": {1, 3}}
    (store.root / ".state" / "good.json").write_text('{"digits": ["x"]}')
    with pytest.raises(StoreError, match=r"good\.json"):
        store.good()


def test_the_lock_is_exclusive_names_its_holder_and_dies_with_it(store):
    store.root.mkdir()
    hold = (
        "import sys; from modelfleet.store import Store\n"
        "with Store(sys.argv[1]).lock(5):\n print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreBusy, match=f"process {holder.pid} holds"), store.lock(0.1):
            pass
    finally:
        holder.kill()
        holder.communicate(timeout=10)
    with store.lock(1):
        pass


def test_an_error_of_the_holder_is_not_taken_for_one_of_the_store(store):
    with pytest.raises(FileNotFoundError), store.lock(1):
        raise FileNotFoundError
    with store.lock(1):
        pass


def test_a_store_that_is_a_file_is_named(tmp_path):
    (tmp_path / "store").write_text("")
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="store"), store.lock(1):
        pass
    with pytest.raises(StoreError):
        store.scan()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no saved_model.pb"),
        ({"saved_model.pb": 0}, "saved_model.pb is empty"),
        ({"saved_model.pb": 1, "variables/variables.index": 0}, "index is empty"),
        ({"saved_model.pb": 1, "variables/variables.index": 1}, "no variables.data"),
        ({"saved_model.pb": 1, "variables/variables.data-00000-of-00001": 1}, "no variables/variables.index"),
        (
            {"saved_model.pb": 1, "variables/variables.index": 1, "variables/variables.data-00001-of-00002": 1},
            "lacks shard 0 of 2",
        ),
        (
            {
                "saved_model.pb": 1,
                "variables/variables.index": 1,
                "variables/variables.data-00000-of-00001": 1,
                "variables/variables.data-00000-of-00002": 1,
            },
            "mixes",
        ),
        ({"saved_model.pb": 1}, ""),
        ({"saved_model.pbtxt": 1}, ""),
        ({"model.tflite": 1}, ""),
        ({"saved_model.pb": 1, "variables/variables.index": 1, "variables/variables.data-00000-of-00001": 0}, ""),
    ],
)
def test_the_shape_of_a_saved_model(tmp_path, files, words):
    for path, size in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * size)
    if words:
        with pytest.raises(SourceIncomplete, match=words):
            validate_saved_model(tmp_path)
    else:
        validate_saved_model(tmp_path)


def test_two_directories_change_places_in_one_step(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / "name").write_text(path.name)
    assert exchange(one, other)
    assert ((one / "name").read_text(), (other / "name").read_text()) == ("other", "one")
    with pytest.raises(OSError, match="No such file"):
        exchange(one, tmp_path / "missing")


def test_what_is_shared_with_another_version_is_no_room_that_an_unfinished_one_has_taken(store):
    publish(store, "digits", 1, b"x" * 100_000)
    staging = store.staging.claim("digits", 2)
    (staging.path / "f0").hardlink_to(store.root / "digits" / "1" / "f0")
    assert store.staging.bytes_taken("digits", 2) == 0
    (staging.path / "f1").write_bytes(b"y" * 8192)
    assert store.staging.bytes_taken("digits", 2) == 8192
    staging.discard()


def test_receipts_of_versions_that_are_gone_are_forgotten(store):
    for version in (1, 2):
        publish(store, "digits", version, b"abc")
    store.scan()
    store.remove("digits", 1)
    store.scan()
    assert list(store._receipts) == [("digits", 2)]


def test_a_claim_whose_file_cannot_be_removed_is_given_back_all_the_same(store, monkeypatch):
    staging = store.staging.claim("digits", 1)

    def refusing(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refusing)
        staging.close()
    store.staging.claim("digits", 1).discard()
