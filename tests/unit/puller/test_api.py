"""What a puller answers over HTTP, by a played engine behind a real port."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from modelfleet.adapters.puller_client import PullerClient
from modelfleet.errors import InvalidInput, ModelfleetError, SourceForbidden, SourceUnavailable
from modelfleet.pull_status import PullState, VersionReport
from modelfleet_services.common.event_log import EventLog
from modelfleet_services.common.heartbeats import HeartbeatFiles, Pulse
from modelfleet_services.common.tokens import TokenFile
from modelfleet_services.puller.api import PullerApi
from modelfleet_services.puller.progress import Progress
from modelfleet_services.puller.vitals import Vitals
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from tests.support.http_service import served
from tests.support.played_engine import PlayedEngine

HERE = VersionReport("digits", 3, PullState.COMPLETE, bytes_done=10, bytes_total=10)
COMING = VersionReport("digits", 4, PullState.PULLING, attempt=1, bytes_done=40, bytes_total=100, bytes_per_s=20.0)
STUCK = VersionReport(
    "words", 1, PullState.RETRYING, "UNAVAILABLE", "does not answer", "wait", attempt=2, next_retry_s=7.5
)
TOKEN = "0123456789abcdef"


@pytest.fixture
def engine():
    return PlayedEngine(HERE, COMING, STUCK)


@pytest.fixture
def vitals(engine, tmp_path):
    files = HeartbeatFiles(tmp_path, 60.0)
    files.prepare()
    pulse = Pulse()
    pulse.beat("http", "answering")
    return Vitals(engine, pulse, files, Progress(lambda _: None))


@pytest.fixture
def api(engine, vitals):
    return PullerApi(engine, vitals).described()


@pytest.fixture
def log():
    return io.StringIO()


@pytest.fixture
def client(api, log):
    with served(api, log=EventLog(log)) as client:
        yield client


def failed(error):
    return error.as_dict()


def test_status_tells_everything_and_the_client_of_the_modules_understands_it(client, engine):
    error = SourceUnavailable("repository gs://bucket", "does not answer")
    engine.now = replace(
        engine.now, revision=7, manifest="fleet.json", error=failed(error), counters={"stalls": 1}, last_pass_s=0.25
    )
    answer = client.get("/status")
    assert answer.status == 200
    assert answer.json["versions"][1] == COMING.to_dict()
    assert answer.json["error"]["code"] == "UNAVAILABLE"
    assert PullerClient(f"http://127.0.0.1:{client.port}").status() == engine.now


def test_health_is_well_with_signs_of_life_of_every_thread(client):
    answer = client.get("/health")
    assert answer.status == 200
    assert answer.json["healthy"] is True
    assert answer.json["reasons"] == []
    assert answer.json["threads"].keys() == {"http", "loop", "worker-1"}
    assert answer.json["threads"]["worker-1"] == {"age_s": 1.0, "doing": "idle"}


def test_a_thread_that_hangs_makes_it_unhealthy_and_is_named(client, engine):
    engine.signs["worker-2"] = (75.0, "reading digits 4")
    answer = client.get("/health")
    assert answer.status == 503
    (reason,) = answer.json["reasons"]
    assert (reason["code"], reason["subject"]) == ("HANGING", "thread worker-2")
    assert "75 s" in reason["problem"]
    assert "reading digits 4" in reason["problem"]


@pytest.mark.parametrize(
    ("error", "well"),
    [
        (SourceForbidden("repository gs://bucket", "no credentials", "put them there"), False),
        (SourceUnavailable("repository gs://bucket", "does not answer"), True),
        (InvalidInput("fleet.json", "is not JSON"), True),
    ],
)
def test_only_what_a_person_must_mend_makes_a_failed_look_unhealthy(client, engine, error, well):
    engine.now = replace(engine.now, error=failed(error))
    answer = client.get("/health")
    assert answer.status == (200 if well else 503)
    assert [reason["code"] for reason in answer.json["reasons"]] == ([] if well else ["FORBIDDEN"])


def test_signs_of_life_that_cannot_be_written_make_it_unhealthy(client, vitals, tmp_path):
    for path in (tmp_path / "heartbeats").iterdir():
        path.unlink()
    (tmp_path / "heartbeats").rmdir()
    vitals.write()
    answer = client.get("/health")
    assert answer.status == 503
    assert "cannot be written" in answer.json["reasons"][0]["problem"]
    (tmp_path / "heartbeats").mkdir()
    vitals.write()
    assert client.get("/health").status == 200


def test_ready_once_it_looked_and_nothing_is_missing(client, engine):
    answer = client.get("/ready")
    assert answer.status == 503
    assert (answer.json["ready"], answer.json["missing"]) == (False, 2)
    assert [report["model"] for report in answer.json["versions"]] == ["digits", "words"]
    engine.now = replace(engine.now, versions=(HERE,))
    assert client.get("/ready").status == 200
    engine.now = replace(engine.now, passes=0)
    assert client.get("/ready").status == 503
    engine.now = replace(engine.now, passes=1, error=failed(ModelfleetError("it", "failed")))
    assert client.get("/ready").status == 503


def test_metrics_have_states_reasons_rates_and_counters(client, engine):
    engine.now = replace(engine.now, counters={"pulled_bytes": 12345, "stalls": 2}, oldest_pending_s=33.5, paused=True)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert samples['modelfleet_puller_versions{state="COMPLETE"}'] == "1"
    assert samples['modelfleet_puller_versions{state="REFUSED"}'] == "0"
    assert samples['modelfleet_puller_failing{model="words",version="1",code="UNAVAILABLE"}'] == "1"
    assert samples["modelfleet_puller_oldest_pending_seconds"] == "33.5"
    assert samples["modelfleet_puller_pending_bytes"] == "60"
    assert samples["modelfleet_puller_bytes_per_second"] == "20"
    assert samples["modelfleet_puller_pulled_bytes_total"] == "12345"
    assert samples["modelfleet_puller_paused"] == "1"
    assert samples['modelfleet_puller_look_failed{code=""}'] == "0"
    assert 'modelfleet_puller_heartbeat_age_seconds{thread="loop"}' in samples
    assert int(samples["process_resident_memory_bytes"]) > 0
    assert all(re.match(r"(modelfleet_puller|process)_[a-z_]+(\{.*\})?$", name) for name in samples)


def test_orders_reach_the_engine(client, engine):
    for order in ("sync", "pause", "resume"):
        answer = client.post(f"/{order}")
        assert (answer.status, answer.json) == (202, {"paused": False})
    PullerClient(f"http://127.0.0.1:{client.port}").sync()
    assert engine.told == ["sync", "pause", "resume", "sync"]


def test_cancel_stops_a_version_or_a_whole_model(client, engine):
    answer = client.post("/cancel", {"model": "digits", "version": 4})
    assert (answer.status, answer.json) == (200, {"cancelled": [{"model": "digits", "version": 4}]})
    answer = client.post("/cancel", {"model": "words"})
    assert answer.json == {"cancelled": [{"model": "words", "version": 1}]}
    assert engine.told == [("digits", 4), ("words", None)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "nothing"}, 404, "NOT_FOUND"),
        ({"model": "digits", "version": 9}, 404, "NOT_FOUND"),
        ({"model": "digits", "version": 3}, 409, "CONFLICT"),
        ({"model": "../digits"}, 400, "INVALID"),
        ({"model": 3}, 400, "INVALID"),
        ({"model": "digits", "version": 0}, 400, "INVALID"),
        ({"model": "digits", "version": True}, 400, "INVALID"),
        ({"model": "digits", "version": "four"}, 400, "INVALID"),
        ({"version": 4}, 400, "INVALID"),
        ({"model": "digits", "force": True}, 400, "INVALID"),
    ],
)
def test_cancelling_what_is_not_on_its_way_is_told(client, body, status, code):
    answer = client.post("/cancel", body)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)


def test_orders_need_the_token_where_there_is_one(api, engine, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    with served(api, TokenFile(path)) as client:
        for order in ("sync", "cancel", "pause", "resume"):
            assert client.post(f"/{order}", {}).status == 401
        for look in ("health", "status", "metrics", "openapi.json", "docs"):
            assert client.get(f"/{look}").status == 200
        assert engine.told == []
        PullerClient(f"http://127.0.0.1:{client.port}", str(path)).sync()
    assert engine.told == ["sync"]


def test_answers_are_what_the_description_says(client, engine):
    described = client.get("/openapi.json").json
    validate(described)
    engine.now = replace(engine.now, error=failed(SourceForbidden("it", "no")), counters={"stalls": 1})
    asked = [
        client.get("/health"),
        client.get("/ready"),
        client.get("/status"),
        client.post("/sync"),
        client.post("/cancel", {"model": "words"}),
        client.post("/cancel", {"model": "nothing"}),
        client.post("/cancel", {}),
    ]
    paths = ["/health", "/ready", "/status", "/sync", "/cancel", "/cancel", "/cancel"]
    for path, answer in zip(paths, asked, strict=True):
        (operation,) = described["paths"][path].values()
        schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        OAS31Validator({**schema, "components": described["components"]}).validate(answer.json)
    assert set(described["paths"]) == {
        *("/health", "/ready", "/status", "/metrics", "/sync", "/cancel", "/pause", "/resume")
    }
    for schema in ("Status", "Version"):
        told = asked[2].json if schema == "Status" else asked[2].json["versions"][0]
        assert described["components"]["schemas"][schema]["properties"].keys() == told.keys()
