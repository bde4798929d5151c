"""What ``modelfleet puller`` is told, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfleet.adapters.access import Access
from modelfleet.adapters.opening import open_repository
from modelfleet.errors import InvalidInput
from modelfleet.puller import PullerSettings

from ..common.command_line import Parser, Problems, Values, add_flags, read_flags
from ..common.tokens import TokenFile, is_loopback
from .flags import DEFINITIONS, EPILOG, FLAGS, PATH_STYLES
from .http_headers import read_http_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROGRAM = "modelfleet puller"
#: How long a thread may show no life where nothing else is said, in seconds: longer than a repository may take to
#: answer, or not to answer, a request that is tried again.
_PATIENCE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """A complete and checked set of settings.

    Attributes:
        node: Name of this node.
        repository: URI of the repository; empty where ``config_dir`` says where models are.
        config_dir: Directory of definitions, a storage URI for each model; None with a repository.
        manifest: File of a manifest that is followed instead of the repository's own; None without one.
        allow_tracking: Whether a repository may be tracked whose manifest was followed before.
        store: The node's directory of models.
        access: How repositories are reached.
        puller: How it pulls.
        address: Where it listens, an IP address.
        port: The TCP port; 0 for any.
        token: Who may change things; None only on a loopback address.
        app_dir: Where the threads leave signs of life.
        heartbeat_limit_s: How long a thread may show no life, in seconds.
        log_format: One of the formats of a log.
    """

    node: str
    repository: str
    config_dir: Path | None
    manifest: Path | None
    allow_tracking: bool
    store: Path
    access: Access
    puller: PullerSettings
    address: str
    port: int
    token: TokenFile | None
    app_dir: Path
    heartbeat_limit_s: float
    log_format: str


def parser() -> Parser:
    """Return the description of the command line."""
    described = Parser(PROGRAM, "Keep the models that a node should serve complete on its disk.", EPILOG)
    add_flags(described, FLAGS)
    return described


def read(given: Sequence[str], environment: Mapping[str, str], definitions: Sequence[Path] = DEFINITIONS) -> Options:
    """Return the settings.

    Args:
        given: The command line behind the program's name.
        environment: The variables.
        definitions: Directories of definitions that are looked for where nothing says where models are.

    Raises:
        SettingsRefused: some are missing or wrong; every one of them is named.
    """
    problems = Problems()
    values = read_flags(parser(), FLAGS, given, environment, problems)
    found = values.found
    repository, config_dir, token, access = "", None, None, Access()
    with problems.collected():
        access = _access(found)
    with problems.collected():
        repository, config_dir = _source(values, definitions, access)
    with problems.collected():
        token = _token(found)
    for check in (_check_manifest, _check_pauses):
        with problems.collected():
            check(values)
    problems.refuse()
    return Options(
        node=found["node"],
        repository=repository,
        config_dir=config_dir,
        manifest=found["manifest"] or None,
        allow_tracking=found["allow_tracking"],
        store=found["model_dir"],
        access=access,
        puller=_puller(found),
        address=found["bind"],
        port=found["port"],
        token=token,
        app_dir=found["app_dir"],
        heartbeat_limit_s=found["heartbeat_limit_seconds"] or max(_PATIENCE_S, 2 * found["stall_seconds"]),
        log_format=found["log_format"],
    )


def _source(values: Values, definitions: Sequence[Path], access: Access) -> tuple[str, Path | None]:
    """Return where models are: a repository, or a directory of definitions.

    Raises:
        InvalidInput: nothing says it, or two things do.
    """
    repository, config_dir = (values.found.get(key) for key in ("repository", "config_dir"))
    if config_dir and "repository" in values.said:
        raise InvalidInput("--repository", "is given together with --config-dir", "give one of them")
    if config_dir:
        return "", config_dir
    if repository:
        open_repository(repository, access).close()
        return repository, None
    if {"repository", "config_dir"} <= values.found.keys():
        for directory in definitions:
            if directory.is_dir():
                return "", directory
        raise InvalidInput(
            "$REMOTE_MODEL_DIRECTORY", "is not set", "set it to the repository, or give --repository or --config-dir"
        )
    return "", None


def _token(found: Mapping[str, Any]) -> TokenFile | None:
    """Return who may change things.

    Raises:
        InvalidInput: the file of the token is not usable, or there is none although others reach the port.
    """
    if found.get("token_file"):
        token = TokenFile(found["token_file"])
        token.digest()
        return token
    if "token_file" in found and not is_loopback(found.get("bind", "localhost")):
        raise InvalidInput(
            "--token-file", f"is not given, and --bind {found['bind']} lets others in", "give one, or bind to 127.0.0.1"
        )
    return None


def _access(found: Mapping[str, Any]) -> Access:
    headers = read_http_headers(found["http_headers_file"]) if found.get("http_headers_file") else {}
    return Access(
        gcs_endpoint=found.get("gcs_endpoint", ""),
        s3_endpoint=found.get("s3_endpoint", ""),
        s3_region=found.get("s3_region", ""),
        s3_path_style=PATH_STYLES[found.get("s3_path_style", "auto")],
        anonymous=found["anonymous"],
        credentials_file=str(found.get("credentials_file", "")),
        ca_bundle=str(found.get("ca_bundle", "")),
        proxy=found.get("proxy", ""),
        http_headers=headers,
        connect_timeout_s=found.get("connect_timeout_seconds", 0.0),
        read_timeout_s=found.get("read_timeout_seconds", 0.0),
    )


def _puller(found: Mapping[str, Any]) -> PullerSettings:
    return PullerSettings(
        workers=found["num_workers"],
        headroom_bytes=found["headroom"],
        resync_s=found["resync_seconds"],
        watch_s=found["watch_seconds"],
        stall_s=found["stall_seconds"],
        bandwidth_bytes_per_s=found["bandwidth"],
        retries=found["num_retries"],
        first_retry_s=found["first_retry_seconds"],
        max_retry_s=found["max_retry_seconds"],
        require_digest=found["require_digest"],
        memory_bytes=found["memory_budget"],
        scrub_s=found["scrub_seconds"],
        scrub_bytes_per_s=found["scrub_bandwidth"],
    )


def _check_manifest(values: Values) -> None:
    if values.found.get("manifest") and values.found.get("config_dir"):
        raise InvalidInput("--manifest", "is given together with --config-dir", "give one of them")


def _check_pauses(values: Values) -> None:
    """Refuse pauses that contradict each other."""
    found = values.found
    if found.get("first_retry_seconds", 0.0) > found.get("max_retry_seconds", float("inf")):
        raise InvalidInput("--first-retry-seconds", "is longer than --max-retry-seconds", "correct one of them")
    if (found.get("heartbeat_limit_seconds") or float("inf")) <= found.get("stall_seconds", 0.0):
        raise InvalidInput(
            "--heartbeat-limit-seconds",
            "is not longer than --stall-seconds, so that every stall would look like a hanging thread",
            "make it longer",
        )
