"""A server process with one model of each kind, shared by the tests that change nothing in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.support import saved_models
from tests.support.model_server_client import GrpcClient
from tests.support.model_server_process import model_entry, models_config_text, running_model_server


class Shared(NamedTuple):
    server: Any
    client: Any


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared-models")
    saved_models.half_plus_two_tf1(root / "hp2" / "123")
    saved_models.scale(root / "scale" / "1", 2.0)
    saved_models.scale(root / "scale" / "2", 3.0)
    saved_models.echo(root / "echo" / "1", "string")
    saved_models.echo(root / "half" / "1", "half")
    saved_models.with_defaults(root / "defaults" / "1")
    saved_models.slow(root / "slow" / "1", 0.5)
    monitoring = root / "monitoring.txt"
    monitoring.write_text("prometheus_config { enable: true }")
    config = models_config_text(
        model_entry("hp2", root / "hp2"),
        model_entry("scale", root / "scale", versions=(1, 2), labels={"stable": 1}),
        model_entry("echo", root / "echo"),
        model_entry("half", root / "half"),
        model_entry("defaults", root / "defaults"),
        model_entry("slow", root / "slow"),
    )
    with (
        running_model_server(
            f"--monitoring_config_file={monitoring}",
            "--allow_version_labels_for_unavailable_models",
            "--rest_api_timeout_in_ms=200",
            models_config=config,
            directory=root / "log",
        ) as server,
        GrpcClient(server.target) as client,
    ):
        yield Shared(server, client)
