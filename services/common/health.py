"""``modelfleet health``: ask a service of this machine whether it is well, as a container's healthcheck does."""

from __future__ import annotations

import http.client
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modelfleet.adapters import readiness
from modelfleet.errors import InvalidInput, ModelfleetError, ServerUnreachable

from . import heartbeats
from .arguments import seconds
from .command_line import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEALTHY, _UNHEALTHY = 0, 1
_seconds = seconds(0.05)


def main(arguments: Sequence[str]) -> int:
    """Print one line for each thing that is wrong; return 0 for a healthy service and 1 for any other."""
    parser = Parser(
        "modelfleet health", "Tell whether a service is healthy: exit status 0, or 1 with one line for each reason."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--app-dir", type=Path, metavar="DIR", help="read the heartbeats of the service's threads here")
    which.add_argument("--url", metavar="URL", help="ask this address, for example http://127.0.0.1:8001/health")
    parser.add_argument(
        "--timeout", default="5", metavar="SECONDS", help="how long to wait for an answer (default: %(default)s)"
    )
    options = parser.read(arguments)
    try:
        timeout_s = _seconds(options.timeout, "--timeout")
        lines = _from_files(options.app_dir) if options.app_dir else _from_server(options.url, timeout_s)
    except ModelfleetError as error:
        lines = [error.one_line()]
    for line in lines or ["healthy"]:
        sys.stdout.write(line + "\n")
    return _UNHEALTHY if lines else _HEALTHY


def _from_files(directory: Path) -> list[str]:
    """Return a line for each thread that hangs."""
    judged = [beat.judge() for beat in heartbeats.read(directory)]
    return [problem.one_line() for problem in judged if problem is not None]


def _from_server(url: str, timeout_s: float) -> list[str]:
    """Return a line for each reason that the service gives itself."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname if parts.scheme == "http" else None, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host:
        raise InvalidInput(f"--url {url}", "is not an http:// address", "write http://127.0.0.1:8001/health")
    try:
        status, body = readiness.ask(host, port, parts.path or "/health", timeout_s)
    except (OSError, http.client.HTTPException) as error:
        raise ServerUnreachable(
            url, f"does not answer ({type(error).__name__}: {error})", "look into the service's log"
        ) from error
    if status == http.client.OK:
        return []
    return readiness.reasons(body) or [f"{url}: answers {status} {http.client.responses.get(status, '')}".rstrip()]
