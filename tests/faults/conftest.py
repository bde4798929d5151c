"""A real server of Google Cloud Storage, the faulty proxy before it, and a puller behind."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository

from tests.support.faulty_proxy import FaultyProxy
from tests.support.gcs_server import running_gcs_server
from tests.support.pull_lab import Shelf
from tests.support.running_puller import RunningPuller
from tests.support.s3_server import ANYBODY, forget_credentials, running_s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelfleet.adapters.repository import Repository

    from tests.support.gcs_server import GcsServer
    from tests.support.s3_server import S3Server

_numbers = itertools.count(1)


class S3Bucket:
    """A bucket of a server that speaks S3, filled by Amazon's own client."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.uri = f"s3://{name}"
        self._name = name
        self._client = server.client()
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)


class Lab:
    """A bucket, the way to it, and a node's store.

    Attributes:
        shelf: What is published.
        proxy: Between the puller and the server.
        store: The store's directory.
    """

    def __init__(self, shelf: Shelf, proxy: FaultyProxy, repository: Repository, store: Path) -> None:
        self.shelf = shelf
        self.proxy = proxy
        self.store = store
        self._repository = repository

    def puller(self, wanted: dict[str, Any] | str, store: Path | None = None, **settings: Any) -> RunningPuller:
        """Return a puller that is not started yet."""
        return RunningPuller(self._repository, store or self.store, wanted, **settings)


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    with running_gcs_server() as server:
        yield server


@pytest.fixture
def lab(gcs_server: GcsServer, tmp_path: Path) -> Iterator[Lab]:
    bucket = gcs_server.bucket(f"faults-{next(_numbers)}")
    with FaultyProxy(gcs_server.endpoint) as proxy:
        repository = open_repository(bucket.uri, Access(gcs_endpoint=proxy.url))
        yield Lab(Shelf(bucket), proxy, repository, tmp_path / "store")
        repository.close()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running_s3_server() as server:
        yield server


@pytest.fixture
def s3_lab(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ANYBODY[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ANYBODY[1])
    bucket = S3Bucket(s3_server, f"faults-{next(_numbers)}")
    with FaultyProxy(s3_server.url) as proxy:
        repository = open_repository(bucket.uri, Access(s3_endpoint=proxy.url))
        yield Lab(Shelf(bucket), proxy, repository, tmp_path / "store")
        repository.close()
