"""Repositories in object stores, definitions of models, and the puller of the node; each the real thing."""

from __future__ import annotations

import json
import os

import pytest
from ansible.module_utils.basic import AnsibleModule

from tests.support.gcs_server import running_gcs_server
from tests.support.puller_process import PullerProcess, wait_for
from tests.support.s3_server import running_s3_server


@pytest.fixture(scope="module")
def gcs():
    with running_gcs_server() as server:
        yield server


def uploaded(server, name, scales, *, model="a", version=1):
    """Return the URI of a new bucket that holds one version."""
    files = [path for path in (scales / str(version)).rglob("*") if path.is_file()]
    prefix = f"prod/{model}/{version}"
    objects = {f"{prefix}/{path.relative_to(scales / str(version))}": path.read_bytes() for path in files}
    return f"{server.bucket(name, objects).uri}/prod"


def names(items):
    return [(item["model"], item["version"]) for item in items]


def test_models_come_from_a_bucket_of_google_s_protocol(lab, gcs):
    options = {
        "repository": uploaded(gcs, "plain", lab.scales),
        "access": {"gcs_endpoint": gcs.endpoint, "anonymous": True},
    }
    told = lab.pull(**options, check=True)
    done = lab.pull(**options)
    assert names(told["pulled"]) == names(done["pulled"]) == [("a", 1)]
    assert (lab.store / "a/1/saved_model.pb").read_bytes() == (lab.scales / "1/saved_model.pb").read_bytes()
    again = lab.pull(**options)
    assert not again["changed"]
    assert again["progress"] == "nothing to pull"


def test_a_server_that_an_environment_names_is_asked(lab, gcs, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)
    assert names(lab.pull(repository=uploaded(gcs, "named", lab.scales))["pulled"]) == [("a", 1)]


def test_models_come_from_a_bucket_of_s3_s_protocol(lab, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    with running_s3_server() as server:
        files = [path for path in (lab.scales / "1").rglob("*") if path.is_file()]
        server.put("models", {f"a/1/{path.relative_to(lab.scales / '1')}": path.read_bytes() for path in files})
        access = {"s3_endpoint": server.url, "s3_path_style": True}
        result = lab.pull(repository="s3://models", access=access)
    assert names(result["pulled"]) == [("a", 1)]


def test_definitions_give_each_model_a_source_of_its_own(lab, gcs, tmp_path):
    uri = uploaded(gcs, "defined", lab.scales, version=2)
    lab.publish("elsewhere", 1)
    definitions = tmp_path / "configs"
    definitions.mkdir()
    specs = {"a": f"{uri}/a", "b": str(lab.repository / "elsewhere"), "c": "ftp://nowhere"}
    for model, source in specs.items():
        spec = {"storageUri": source, "framework": "tensorflow", "memory": "1Mi"}
        (definitions / f"{model}.json").write_text(json.dumps(spec))
    options = {"repository": None, "config_dir": str(definitions), "access": {"gcs_endpoint": gcs.endpoint}}
    result = lab.pull(**options)
    assert names(result["pulled"]) == [("a", 2), ("b", 1)]
    assert [item["model"] for item in result["refused"]] == ["c"]
    assert names(lab.pull(**options)["pulled"]) == []
    crowded = lab.pull(**options, memory_budget="1Mi")
    assert any(item["code"] == "NO_MEMORY" for item in crowded["refused"])


@pytest.mark.parametrize("options", [{"repository": None}, {"config_dir": "/configs"}])
def test_there_is_exactly_one_source(lab, options):
    assert "repository" in lab.pull(**options)["msg"]


def puller_of(lab, tmp_path, *flags):
    token = tmp_path / "token"
    token.write_text("a token that nobody guesses\n".replace(" ", "-"))
    token.chmod(0o600)
    puller = PullerProcess(tmp_path, f"--repository={lab.repository}", f"--token-file={token}", *flags)
    options = {"puller": {"url": f"http://127.0.0.1:{puller.client.port}", "token_file": str(token)}}
    return puller, options


def test_the_puller_of_the_node_brings_what_is_missing(lab, tmp_path):
    lab.publish("a", 1)
    puller, options = puller_of(lab, tmp_path, "--resync-seconds=600")
    with puller:
        puller.wait_ready()
        lab.publish("a", 2)
        told = lab.pull(**options, check=True)
        done = lab.pull(**options)
        assert names(told["pulled"]) == names(done["pulled"]) == [("a", 2)]
        assert done["changed"]
        assert done["unfinished"] == []
        assert puller.lines("step=Published", "version=2")
        lab.corrupt("b", 1)
        lab.publish("b", 2)
        (lab.repository / "b" / "2" / "saved_model.pb").unlink()
        refused = lab.pull(**options)
        assert names(refused["refused"]) == [("b", 2)]
        assert not lab.pull(**options)["changed"]


def test_a_turn_ends_while_versions_are_on_their_way(lab, tmp_path):
    lab.publish("a", 1)
    (lab.repository / "a/1/assets").mkdir(exist_ok=True)
    (lab.repository / "a/1/assets/large").write_bytes(os.urandom(1 << 20))
    puller, options = puller_of(lab, tmp_path, "--bandwidth=512Ki")
    with puller:
        wait_for(lambda: puller.lines("step=Downloading"), 10, puller)
        first = lab.pull(**options, turn=0.2)
        assert not first["changed"]
        assert names(first["unfinished"]) == [("a", 1)]
        assert first["progress"].startswith("1 version on the way")
        last = lab.pull(**options)
        assert names(last["pulled"]) == [("a", 1)]
        assert last["unfinished"] == []


def test_without_an_answer_of_the_puller_the_module_pulls_by_itself_and_says_so(lab, monkeypatch):
    said = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning: said.append(warning))
    lab.publish("a", 1)
    result = lab.pull(puller={"url": "http://127.0.0.1:1"})
    assert names(result["pulled"]) == [("a", 1)]
    assert len(said) == 1
    assert said[0].startswith("puller http://127.0.0.1:1: does not answer")
    assert said[0].endswith("this run pulls by itself")


def test_a_puller_that_refuses_the_token_is_an_error(lab, tmp_path):
    lab.publish("a", 1)
    puller, options = puller_of(lab, tmp_path)
    with puller:
        puller.wait_ready()
        lab.publish("a", 2)
        wrong = tmp_path / "wrong"
        wrong.write_text("another-token-of-somebody")
        result = lab.pull(puller={**options["puller"], "token_file": str(wrong)})
    assert result["error"]["code"] == "UNAUTHORIZED"
    assert "another-token" not in json.dumps(result)
