"""The program against a real server of Google Cloud Storage's protocol: cancel, an end in the middle, credentials."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.gcs_server import running_gcs_server
from tests.support.puller_process import PullerProcess, wait_for

MIB = 1 << 20


@pytest.fixture(scope="module")
def server():
    with running_gcs_server() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(server):
    content = os.urandom(24 * MIB)
    return server.bucket(
        "models",
        {
            "fleet/big/1/saved_model.pb": b"x",
            "fleet/big/1/variables/variables.index": b"x",
            "fleet/big/1/variables/variables.data-00000-of-00001": content,
            "fleet/small/2/saved_model.pb": b"small",
        },
    )


@pytest.fixture
def flags(server, bucket):
    return (f"--repository={bucket.uri}/fleet", f"--gcs-endpoint={server.endpoint}", "--watch-seconds=0.1")


def report(puller, model):
    return next((one for one in puller.client.get("/status").json["versions"] if one["model"] == model), None)


def bytes_here(puller):
    return (report(puller, "big") or {}).get("bytes_done", 0)


def test_the_emulator_s_own_variable_is_enough(tmp_path, server, bucket):
    environment = {"STORAGE_EMULATOR_HOST": server.endpoint, "REMOTE_MODEL_DIRECTORY": f"{bucket.uri}/fleet"}
    with PullerProcess(tmp_path, environment=environment) as puller:
        puller.wait_ready()
        assert puller.client.get("/status").json["counters"]["pulled_bytes"] == 24 * MIB + 7
        assert (puller.store / "small" / "2" / "saved_model.pb").read_bytes() == b"small"
        assert puller.sample("process_resident_memory_bytes") < 128 << 20


def test_a_slow_pull_can_be_watched_and_cancelled(tmp_path, flags):
    with PullerProcess(tmp_path, *flags, "--bandwidth=1Mi") as puller:
        wait_for(lambda: bytes_here(puller) > MIB, 30, puller)
        assert puller.client.get("/ready").status == 503
        assert report(puller, "big")["state"] == "PULLING"
        assert puller.sample("modelfleet_puller_pending_bytes") > 0
        assert puller.sample("modelfleet_puller_bytes_per_second") > 0
        answer = puller.client.post("/cancel", {"model": "big"})
        assert answer.json == {"cancelled": [{"model": "big", "version": 1}]}
        wait_for(lambda: report(puller, "big")["state"] == "CANCELLED", 5, puller)
        assert puller.client.post("/cancel", {"model": "big"}).status == 409
        assert not (puller.store / "big").exists()
        assert (puller.store / "small" / "2").is_dir()


def test_an_end_in_the_middle_comes_quickly_and_the_next_start_goes_on(tmp_path, flags):
    with PullerProcess(tmp_path, *flags, "--bandwidth=4Mi") as puller:
        wait_for(lambda: bytes_here(puller) > 6 * MIB, 30, puller)
        status, seconds = puller.end()
        assert status == 0
        assert seconds < 5
        assert not (puller.store / "big").exists()
    puller.log.unlink()
    with PullerProcess(tmp_path, *flags) as puller:
        puller.wait_ready()
        counters = puller.client.get("/status").json["counters"]
        assert counters["resumed_bytes"] > 0
        assert counters["resumed_bytes"] + counters["pulled_bytes"] >= 24 * MIB + 2


def test_missing_credentials_make_it_unhealthy_and_say_where_they_were_looked_for(tmp_path):
    (tmp_path / "gcloud").mkdir()
    environment = {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "HOME": str(tmp_path),
        "NO_GCE_CHECK": "true",
        "REMOTE_MODEL_DIRECTORY": "gs://models/fleet",
    }
    with PullerProcess(tmp_path, environment=environment) as puller:
        wait_for(lambda: puller.client.get("/health").status == 503, 20, puller)
        (reason,) = puller.client.get("/health").json["reasons"]
        assert reason["code"] == "FORBIDDEN"
        assert "credentials" in json.dumps(reason)
        assert puller.client.get("/ready").status == 503
        status, _ = puller.end()
        assert status == 0
