from __future__ import annotations

import hashlib
import json

import pytest
from modelfleet import digests, pull
from modelfleet.adapters.files import FilesRepository
from modelfleet.errors import DigestMismatch
from modelfleet.manifest import track
from modelfleet.store import Store

SUBJECT = "model digits version 1"


def put(root, version=1, **change):
    folder = root / "digits" / str(version)
    (folder / "assets").mkdir(parents=True)
    files = {"saved_model.pb": b"graph", "assets/words": b"one two"}
    for path, content in files.items():
        (folder / path).write_bytes(content)
    listed = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    (folder / "digests.json").write_text(json.dumps({**listed, **change}))
    return folder


@pytest.fixture
def world(tmp_path):
    root, store = tmp_path / "repository", Store(tmp_path / "store")

    def converge(**options):
        settings = pull.PullSettings(first_retry_s=0.01, retries=1, **options)
        return pull.converge(track(), FilesRepository(root), store, "node-1", settings)[1]

    return root, store, converge


def test_a_version_with_the_digests_of_its_files_comes(world):
    root, store, converge = world
    put(root)
    report = converge(require_digest=True)
    assert [(item.model, item.version) for item in report.pulled] == [("digits", 1)]
    assert store.scan()["digits"][1].complete


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"saved_model.pb": "0" * 64}, "saved_model.pb is not what digests.json announces"),
        ({"assets/more": "0" * 64}, "assets/more is missing, says digests.json"),
        ({"saved_model.pb": "abc"}, "digests.json has no SHA-256 digest for 'saved_model.pb'"),
    ],
)
def test_a_version_that_is_not_what_its_digests_announce_never_becomes_visible(world, change, words):
    root, store, converge = world
    folder = put(root, **change)
    for _ in range(2):
        report = converge()
        assert [(item.error.code, words in item.error.problem) for item in report.refused] == [
            ("DIGEST_MISMATCH", True)
        ]
    assert store.scan() == {}
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    put(root)
    assert [item.version for item in converge().pulled] == [1], "it recovers when its source does"


def test_a_file_without_a_digest_is_refused(world):
    root, store, converge = world
    (put(root) / "assets" / "stowaway").write_bytes(b"x")
    (refusal,) = converge().refused
    assert "assets/stowaway has no digest" in refusal.error.problem
    assert store.scan() == {}


def test_required_digests_fail_closed_before_the_first_byte(world):
    root, store, converge = world
    (put(root) / "digests.json").unlink()
    (refusal,) = converge(require_digest=True).refused
    assert (refusal.error.code, "require_digest" in refusal.error.remedy) == ("DIGEST_MISSING", True)
    assert not (store.root / ".staging").exists()
    assert [item.version for item in converge().pulled] == [1], "without the demand it comes"


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": "sha1:00"}'])
def test_what_is_not_a_file_of_digests_is_told(text):
    with pytest.raises(DigestMismatch, match=r"digests\.json"):
        digests.parse(text, SUBJECT)


def test_digests_may_name_their_algorithm():
    digest = hashlib.sha256(b"x").hexdigest()
    assert digests.parse(json.dumps({"a": f"sha256:{digest.upper()}"}), SUBJECT) == {"a": digest}
