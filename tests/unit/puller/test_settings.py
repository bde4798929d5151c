"""The command line and the environment of ``modelfleet puller``."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from modelfleet.adapters.access import Access
from modelfleet.puller import PullerSettings
from modelfleet_services.common.command_line import SettingsRefused
from modelfleet_services.puller import settings
from modelfleet_services.puller.flags import FLAGS

ENVIRONMENT = {"HOSTNAME": "node-1", "REMOTE_MODEL_DIRECTORY": "/srv/models", "LOCAL_MODEL_DIRECTORY": "/local"}
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "puller.md"


def read(*given, environment=None, definitions=()):
    return settings.read(given, ENVIRONMENT if environment is None else environment, definitions)


def refused(*given, environment=None, definitions=()):
    with pytest.raises(SettingsRefused) as refusal:
        read(*given, environment=environment, definitions=definitions)
    return {problem.subject: problem for problem in refusal.value.problems}


def test_the_runbook_s_variables_are_enough():
    options = read()
    assert options.node == "node-1"
    assert options.repository == "/srv/models"
    assert options.config_dir is None
    assert options.store == Path("/local")
    assert (options.address, options.port, options.token) == ("127.0.0.1", 8001, None)
    assert options.app_dir == Path("/app")
    assert options.puller == PullerSettings()
    assert options.access == Access()


def test_flags_win_over_the_environment():
    options = read("--node=other", "-repository", "file:///else", "-model-dir=/there")
    assert (options.node, options.repository, options.store) == ("other", "file:///else", Path("/there"))


def test_the_flags_of_kserve_s_agent_are_taken_with_one_dash(tmp_path):
    options = read(
        *("-config-dir", str(tmp_path), "-model-dir", "/mnt/elsewhere", "-num-workers", "1"),
        *("-s3-endpoint", "http://s3:9000"),
        environment={"HOSTNAME": "n"},
    )
    assert options.config_dir == tmp_path
    assert options.repository == ""
    assert options.store == Path("/mnt/elsewhere")
    assert options.puller.workers == 1
    assert options.access.s3_endpoint == "http://s3:9000"


def test_every_setting_of_the_engine_and_of_the_way_to_repositories_can_be_chosen(tmp_path):
    headers = tmp_path / "headers"
    headers.touch(0o600)
    headers.write_text(json.dumps({"Models.Example.com": {"Authorization": "Bearer x"}}))
    options = read(
        *("--num-workers=7", "--headroom=2Gi", "--bandwidth=1M", "--memory-budget=3Gi", "--require-digest"),
        *("--resync-seconds=5", "--watch-seconds=2", "--stall-seconds=9", "--first-retry-seconds=3"),
        *("--num-retries=6",),
        *("--max-retry-seconds=33", "--scrub-seconds=44", "--scrub-bandwidth=5"),
        *("--s3-endpoint=http://s3", "--s3-region=eu-1", "--s3-path-style=no", "--gcs-endpoint=http://gcs"),
        *("--anonymous", "--credentials-file=/c", "--ca-bundle=/ca", "--proxy=http://proxy:3128"),
        *(f"--http-headers-file={headers}", "--connect-timeout-seconds=6", "--read-timeout-seconds=7"),
    )
    assert options.puller == PullerSettings(
        workers=7,
        headroom_bytes=2 << 30,
        bandwidth_bytes_per_s=10**6,
        memory_bytes=3 << 30,
        require_digest=True,
        resync_s=5,
        watch_s=2,
        stall_s=9,
        retries=6,
        first_retry_s=3,
        max_retry_s=33,
        scrub_s=44,
        scrub_bytes_per_s=5,
    )
    assert options.access == Access(
        gcs_endpoint="http://gcs",
        s3_endpoint="http://s3",
        s3_region="eu-1",
        s3_path_style=False,
        anonymous=True,
        credentials_file="/c",
        ca_bundle="/ca",
        proxy="http://proxy:3128",
        http_headers={"models.example.com": {"Authorization": "Bearer x"}},
        connect_timeout_s=6,
        read_timeout_s=7,
    )
    unchanged = [
        field.name for field in fields(Access) if getattr(options.access, field.name) == getattr(Access(), field.name)
    ]
    assert not unchanged, "a setting of Access has no flag"


def test_a_missing_node_name_is_named():
    assert "$HOSTNAME" in refused(environment={**ENVIRONMENT, "HOSTNAME": ""})


def test_a_missing_source_is_named():
    assert refused(environment={"HOSTNAME": "n"}).keys() == {"$REMOTE_MODEL_DIRECTORY"}


def test_everything_that_is_wrong_is_told_at_once():
    found = refused(
        *("--num-workers=0", "--port=70000", "--bind=somewhere", "--model-dir=here", "--headroom=much"),
        *("--app-dir=x", "--token-file=/does/not/exist", "--log-format=xml", "--stall-seconds=-1"),
        environment={},
    )
    assert found.keys() == {
        *("$HOSTNAME", "$REMOTE_MODEL_DIRECTORY", "--num-workers", "--port", "--bind", "--model-dir", "--headroom"),
        *("--app-dir", "token file /does/not/exist", "--log-format", "--stall-seconds"),
    }
    assert all(problem.remedy for problem in found.values())


def test_definitions_are_looked_for_only_where_nothing_says_where_models_are(tmp_path):
    usual, other, missing = tmp_path / "configs", tmp_path / "config", tmp_path / "missing"
    for path in (usual, other):
        path.mkdir()
    nothing = {"HOSTNAME": "n"}
    assert read(environment=nothing, definitions=(usual, other)).config_dir == usual
    assert read(environment=nothing, definitions=(missing, other)).config_dir == other
    assert read(definitions=(usual,)).config_dir is None
    assert "$REMOTE_MODEL_DIRECTORY" in refused(environment=nothing, definitions=(missing,))


def test_definitions_win_over_the_environment_and_contradict_a_repository_and_a_manifest():
    assert read("--config-dir=/c").config_dir == Path("/c")
    assert refused("--config-dir=/c", "--repository=/r").keys() == {"--repository"}
    assert refused("--config-dir=/c", "--manifest=/m").keys() == {"--manifest"}


@pytest.mark.parametrize("uri", ["ftp://host/models", "models", "gs://", "file://elsewhere/models", "pvc://x"])
def test_what_is_no_repository_is_refused(uri):
    assert len(refused(f"--repository={uri}")) == 1


def test_other_addresses_need_a_token(tmp_path):
    for address in ("0.0.0.0", "::", "10.0.0.1"):
        assert refused(f"--bind={address}").keys() == {"--token-file"}
    for address in ("127.0.0.1", "127.0.0.2", "::1"):
        assert read(f"--bind={address}").token is None
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef")
    assert read("--bind=0.0.0.0", f"--token-file={token}").token is not None
    token.chmod(0o644)
    found = refused("--bind=0.0.0.0", f"--token-file={token}")
    assert found[f"token file {token}"].remedy == f"run: chmod 600 {token}"


def test_pauses_that_contradict_each_other_are_refused():
    assert refused("--first-retry-seconds=10", "--max-retry-seconds=5").keys() == {"--first-retry-seconds"}
    assert refused("--stall-seconds=90", "--heartbeat-limit-seconds=90").keys() == {"--heartbeat-limit-seconds"}


def test_threads_may_be_silent_for_longer_than_a_stall():
    assert read().heartbeat_limit_s == 300
    assert read("--stall-seconds=200").heartbeat_limit_s == 400
    assert read("--stall-seconds=5", "--heartbeat-limit-seconds=9").heartbeat_limit_s == 9


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not an object of hosts"),
        ('{"host": "x"}', "is not an object of hosts"),
        ('{"host": {"A": 1}}', "for host 'host'"),
        ('{"host": {"A": "x\\r\\nB: hunter2"}}', "for host 'host'"),
        ('{"host": {"A B": "x"}}', "for host 'host'"),
    ],
)
def test_a_wrong_file_of_headers_is_refused_without_its_content(tmp_path, content, said):
    path = tmp_path / "headers"
    path.touch(0o600)
    path.write_text(content)
    (problem,) = refused(f"--http-headers-file={path}").values()
    assert said in problem.problem
    assert "hunter2" not in problem.one_line()


def test_no_flag_takes_a_secret():
    words = ("password", "secret", "access-key", "session")
    for flags in FLAGS.values():
        for flag in flags:
            assert not any(word in flag.name for word in words)
            assert "token" not in flag.name or flag.name.endswith("-file")


def test_secrets_in_urls_are_refused_and_not_shown():
    for flag in ("--repository", "--proxy", "--s3-endpoint", "--gcs-endpoint"):
        (problem,) = refused(f"{flag}=https://user:hunter2@host").values()
        assert "hunter2" not in problem.one_line()
    for flag in ("--proxy", "--s3-endpoint", "--gcs-endpoint"):
        for url in ("user:hunter2@host:3128", "http://host:70000", "http://[host", "http://:80"):
            (problem,) = refused(f"{flag}={url}").values()
            assert "hunter2" not in problem.one_line()


def test_help_and_unknown_flags_end_with_their_status(capsys):
    for given, status in (("--help", 0), ("--num_workers=2", 2), ("--num-work=2", 2)):
        with pytest.raises(SystemExit) as ended:
            read(given)
        assert ended.value.code == status
    assert "--num-workers N" in capsys.readouterr().out


def test_the_document_has_the_table_of_flags():
    text = DOCUMENT.read_text(encoding="utf-8")
    for title, flags in FLAGS.items():
        assert f"### {title.capitalize()}\n" in text
        for flag in flags:
            name = f"{flag.name} {flag.metavar}".strip()
            default = f"`{flag.default_shown}`" if flag.default_shown else ""
            assert f"| `{name}` | {default} | {flag.meaning} |\n" in text
