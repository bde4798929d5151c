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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelfleet.adapters.repository import Repository

    from tests.support.gcs_server import GcsServer

_numbers = itertools.count(1)


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
