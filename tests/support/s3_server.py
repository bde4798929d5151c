"""A real S3 server (moto's) as a process of its own, filled by Amazon's own client.

    with running_s3_server() as server:
        server.put("bucket", {"m/1/saved_model.pb": b"…"})

The process is always ended on the way out.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore.session
from botocore.config import Config

from .model_server_process import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pytest

_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 10.0
_POLL_S = 0.05
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
#: What a moto server that asks for no credentials takes from anybody.
ANYBODY = ("anybody", "anything")


class KeyPair(NamedTuple):
    """An access key that the server knows."""

    key_id: str
    secret: str


@dataclass
class S3Server:
    """A server that was started.

    Attributes:
        url: Its base URL.
        process: The process.
        ca_bundle: The certificate to trust; None means that it speaks plain HTTP.
        clients: The clients made so far, by service and credentials.
    """

    url: str
    process: subprocess.Popen[bytes]
    ca_bundle: Path | None = None
    clients: dict[tuple[str, tuple[str, str]], Any] = field(default_factory=dict)

    def client(self, service: str = "s3", pair: tuple[str, str] = ANYBODY) -> Any:
        """Return Amazon's own client for the server."""
        if (service, pair) not in self.clients:
            self.clients[service, pair] = botocore.session.get_session().create_client(
                service,
                region_name="us-east-1",
                endpoint_url=self.url,
                verify=str(self.ca_bundle) if self.ca_bundle else None,
                aws_access_key_id=pair[0],
                aws_secret_access_key=pair[1],
                config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
            )
        return self.clients[service, pair]

    def put(self, bucket: str, contents: Mapping[str, bytes], **options: Any) -> None:
        """Write objects into a bucket, which is made first."""
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for key, content in contents.items():
            client.put_object(Bucket=bucket, Key=key, Body=content, **options)

    def new_user(self, name: str) -> KeyPair:
        """Return the access key of a new user who may do everything with S3."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(_EVERYTHING))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return KeyPair(made["AccessKeyId"], made["SecretAccessKey"])

    def demand_signatures(self, after: int = 0) -> None:
        """Check, after so many more requests, every signature and permission."""
        request = urllib.request.Request(  # noqa: S310  (the server of this test)
            f"{self.url}/moto-api/reset-auth",
            data=str(after).encode(),
            headers={"Content-Type": "text/plain"},  # else the server takes it for a form
        )
        with urllib.request.urlopen(request, timeout=_STOP_DEADLINE_S):  # noqa: S310  (as above)
            pass


@contextlib.contextmanager
def running_s3_server(*, certificate: tuple[Path, Path] | None = None, page_size: int = 1000) -> Iterator[S3Server]:
    """Start a server on a port of its own.

    Args:
        certificate: Files of the certificate, which is also its own authority, and of its key, to speak HTTPS.
        page_size: How many keys it lists at a time.
    """
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    if certificate:
        command += ["-c", str(certificate[0]), "-k", str(certificate[1])]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    environ["MOTO_S3_DEFAULT_MAX_KEYS"] = str(page_size)
    url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        server = S3Server(url, process, certificate[0] if certificate else None)
        try:
            _await_answer(server)
            yield server
        finally:
            for client in server.clients.values():
                client.close()
            process.terminate()
            try:
                process.wait(_STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_answer(server: S3Server) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        if server.process.poll() is not None:
            message = f"the S3 server ended with status {server.process.returncode}"
            raise RuntimeError(message)
        try:
            server.client().list_buckets()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


class Asked(NamedTuple):
    """One request that a played server got."""

    path: str
    headers: Mapping[str, str]


class Told(NamedTuple):
    """What a played server answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


@dataclass
class PlayedS3:
    """A server whose answers a test thinks up, for what the real one never says.

    Attributes:
        url: Its base URL.
        asked: What it was asked so far.
    """

    url: str
    asked: list[Asked] = field(default_factory=list)


@contextlib.contextmanager
def played_s3(answer: Callable[[Asked], Told]) -> Iterator[PlayedS3]:
    """Start a server that gives the answers of a function, from a thread for each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, dict(self.headers.items()))
            played.asked.append(asked)
            told = answer(asked)
            self.send_response(told.status)
            for name, value in {**told.headers, "Content-Length": str(len(told.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        played = PlayedS3(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,))
        thread.start()
        try:
            yield played
        finally:
            server.shutdown()
            thread.join()


def forget_credentials(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let this process know no credentials for S3 but those that a test gives it, and leave this machine's alone."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(home))


def fault(code: str, message: str = "", inner: str = "") -> bytes:
    """Return an error as S3 writes it."""
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{inner}</Error>".encode()


def listing(*keys: str, token: str = "") -> bytes:
    """Return a page of a listing of empty objects."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><ETag>&quot;{'0' * 31}1&quot;</ETag><Size>0</Size></Contents>" for key in keys
    )
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f"<ListBucketResult>{entries}{more}</ListBucketResult>".encode()
