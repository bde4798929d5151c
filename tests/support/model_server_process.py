"""The embedded model server as a process of its own, for tests of everything that talks to one.

    with running_model_server(models_config=text) as server:
        channel = grpc.insecure_channel(server.target)

The process is always ended on the way out: told to, then killed.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: A start includes loading TensorFlow's library on a busy machine.
START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 10.0
_POLL_S = 0.02


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens on right now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def model_entry(
    name: str, base_path: Path, *, versions: tuple[int, ...] = (), labels: Mapping[str, int] | None = None
) -> str:
    """Return one ``config`` block of a models.config; without versions the latest one is served."""
    policy = " ".join(f"versions: {version}" for version in versions)
    lines = [f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow"']
    if versions:
        lines.append(f"  model_version_policy {{ specific {{ {policy} }} }}")
    lines.extend(f'  version_labels {{ key: "{key}" value: {value} }}' for key, value in (labels or {}).items())
    return "\n".join([*lines, "}"])


def models_config_text(*entries: str) -> str:
    """Return a models.config of these blocks."""
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


@dataclass
class ModelServerProcess:
    """A server that was started.

    Attributes:
        grpc_port: Where gRPC listens; 0 where it was switched off.
        rest_port: Where HTTP listens; 0 where it was switched off.
        process: The process.
        log_path: What it writes to stdout and stderr.
        config_path: The models.config that it was given, if any.
        started_s: Seconds from the start of the process to the open port.
    """

    grpc_port: int
    rest_port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    config_path: Path | None
    started_s: float = field(default=0.0)

    @property
    def target(self) -> str:
        """Return the address for a gRPC channel."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def log(self) -> str:
        """Return what the process has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_for_port(self, port: int, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until a port is open.

        Raises:
            RuntimeError: the process ended, or the time is over; with the log.
        """
        begin = time.monotonic()
        while time.monotonic() < begin + deadline_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"the model server ended with {self.process.returncode}:\n{self.log}")
            time.sleep(_POLL_S)
        raise RuntimeError(f"the model server did not open port {port} within {deadline_s:.0f} s:\n{self.log}")

    def wait_for_log(self, words: str, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until the process has written these words.

        Raises:
            RuntimeError: the process ended without, or the time is over; with the log.
        """
        begin = time.monotonic()
        while time.monotonic() < begin + deadline_s:
            ended = self.process.poll() is not None
            if words in self.log:
                return
            if ended:
                break
            time.sleep(_POLL_S)
        raise RuntimeError(f"the model server did not write {words!r}:\n{self.log}")

    def stop(self) -> int:
        """Tell the process to end, kill it where it does not, and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(_STOP_DEADLINE_S)


def spawn_model_server(
    *arguments: str,
    directory: Path,
    models_config: Path | str | None = None,
    grpc_port: int | None = None,
    rest_port: int | None = None,
) -> ModelServerProcess:
    """Start a server and return at once, without waiting for its ports; the caller stops it.

    Args:
        arguments: Further flags; they win over those made here.
        directory: Where its log and, for a text, its models.config are written.
        models_config: The file, or its text; none where the arguments name the model.
        grpc_port: The gRPC port; a free one by default, 0 for none.
        rest_port: The HTTP port; a free one by default, 0 for none.
    """
    free = free_ports(2)
    grpc_port = free[0] if grpc_port is None else grpc_port
    rest_port = free[1] if rest_port is None else rest_port
    directory.mkdir(parents=True, exist_ok=True)
    log_path = directory / f"model_server_{grpc_port or rest_port}.log"
    flags = [f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    config_path: Path | None = None
    if models_config is not None:
        config_path = models_config if isinstance(models_config, Path) else directory / "models.config"
        if isinstance(models_config, str):
            config_path.write_text(models_config, encoding="utf-8")
        flags.append(f"--model_config_file={config_path}")
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelfleet_services", "model-server", *flags, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return ModelServerProcess(grpc_port, rest_port, process, log_path, config_path)


@contextlib.contextmanager
def running_model_server(
    *arguments: str,
    models_config: Path | str | None = None,
    directory: Path | None = None,
    grpc_port: int | None = None,
    rest_port: int | None = None,
    deadline_s: float = START_DEADLINE_S,
) -> Iterator[ModelServerProcess]:
    """Run a server for the duration of the context; its ports are open when the context begins.

    Args:
        arguments: Further flags; they win over those made here.
        models_config: The file, or its text; none where the arguments name the model.
        directory: Where its log is written; a temporary directory by default.
        grpc_port: The gRPC port; a free one by default, 0 for none.
        rest_port: The HTTP port; a free one by default, 0 for none.
        deadline_s: How long the initial models may take, in seconds.

    Raises:
        RuntimeError: the server did not start in time; with its log.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="model-server-")))
        begin = time.monotonic()
        server = spawn_model_server(
            *arguments, directory=directory, models_config=models_config, grpc_port=grpc_port, rest_port=rest_port
        )
        try:
            for port in (server.grpc_port, server.rest_port):
                if port:
                    server.wait_for_port(port, deadline_s)
            server.started_s = time.monotonic() - begin
            yield server
        finally:
            server.stop()
