"""One server for each kind of store, a bucket for each test, and an environment that says nothing."""

from __future__ import annotations

import itertools

import pytest
from modelfleet.adapters import transport as transport_module
from modelfleet.adapters.access import Access
from modelfleet.adapters.transport import Transport

from tests.support.gcs_server import running_gcs_server
from tests.support.s3_server import forget_credentials

_SILENT = (
    "STORAGE_EMULATOR_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "REQUESTS_CA_BUNDLE",
    *(name for scheme in ("http", "https", "all", "no") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())),
)
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _silent_environment(monkeypatch, tmp_path):
    for name in _SILENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def hurried(monkeypatch):
    """Let nobody wait long before trying again."""
    monkeypatch.setattr(transport_module, "_FIRST_WAIT_S", 0.01)


@pytest.fixture(scope="session")
def gcs_server():
    with running_gcs_server() as server:
        yield server


@pytest.fixture
def bucket(gcs_server):
    return gcs_server.bucket(f"bucket-{next(_numbers)}")


@pytest.fixture
def access(gcs_server):
    return Access(gcs_endpoint=gcs_server.endpoint)


@pytest.fixture
def transport():
    found = Transport(Access(connect_timeout_s=5, read_timeout_s=5))
    yield found
    found.close()


@pytest.fixture
def credentials_of_anybody(monkeypatch, tmp_path):
    """Let S3 be asked with a key that its server does not check."""
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
