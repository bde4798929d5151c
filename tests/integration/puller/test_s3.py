"""The program with a model of its own bucket in S3, told by the flags and variables that KServe's agent has."""

from __future__ import annotations

import json

import pytest

from tests.support.puller_process import PullerProcess, wait_for
from tests.support.s3_server import running_s3_server

FLOWERS = {
    "modelName": "flowers",
    "modelSpec": {"storageUri": "s3://platform-test/flowers/", "framework": "tensorflow", "memory": "1Mi"},
}


@pytest.fixture(scope="module")
def s3():
    with running_s3_server() as server:
        server.put("platform-test", {"flowers/0001/saved_model.pb": b"one", "flowers/0002/saved_model.pb": b"two"})
        pair = server.new_user("puller")
        server.demand_signatures()
        yield server, pair


@pytest.fixture
def flags(tmp_path, s3):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "models.json").write_text(json.dumps([FLOWERS]))
    return ("-config-dir", str(tmp_path / "configs"), "-num-workers", "1", "-s3-endpoint", s3[0].url)


@pytest.mark.parametrize(
    "names", [("AWS_ACCESS_KEY", "AWS_SECRET_KEY"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
)
def test_a_model_comes_with_either_spelling_of_the_credentials(tmp_path, s3, flags, names):
    environment = dict(zip(names, s3[1], strict=True))
    with PullerProcess(tmp_path, *flags, environment=environment) as puller:
        puller.wait_ready()
        assert (puller.store / "flowers" / "2" / "saved_model.pb").read_bytes() == b"two"
        assert puller.sample("process_resident_memory_bytes") < 128 << 20
        for told in (puller.log.read_text(encoding="utf-8"), puller.client.get("/status").text):
            assert s3[1].secret not in told
            assert s3[1].key_id not in told


def test_wrong_credentials_are_the_trouble_of_that_model(tmp_path, s3, flags):
    environment = {"AWS_ACCESS_KEY": s3[1].key_id, "AWS_SECRET_KEY": "not-the-secret"}
    with PullerProcess(tmp_path, *flags, environment=environment) as puller:
        wait_for(lambda: puller.client.get("/status").json["versions"], 20, puller)
        (report,) = puller.client.get("/status").json["versions"]
        assert (report["model"], report["code"]) == ("flowers", "FORBIDDEN")
        assert puller.client.get("/health").status == 200
        assert puller.client.get("/ready").status == 503
        assert not puller.lines("not-the-secret")
