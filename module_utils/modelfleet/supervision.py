"""Supervised programs: what is to run, and the supervisor's configuration that says so. Pure, no effects."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_MODE = re.compile(r"0?[0-7]{3}")
#: More restarts than a broken program reaches in years: giving up is for people to decide.
START_RETRIES = 1_000_000
#: A log keeps this much, twice over: the file and its predecessors.
LOG_BYTES = "10MB"
LOG_BACKUPS = 2


@dataclass(frozen=True)
class Port:
    """A TCP port that a program listens on.

    Attributes:
        number: The port.
        variable: With which a person chooses another.
        address: Where it is reached from this machine.
        health: Path that answers 200 over HTTP once the program is well; empty where listening is enough.
    """

    number: int
    variable: str
    address: str = "127.0.0.1"
    health: str = ""


@dataclass(frozen=True)
class ConfigFile:
    """A file that a program reads.

    Attributes:
        path: Where it lies.
        content: What it holds.
        seed: Written only where nothing lies yet, because something else owns it from then on.
        watched: The program notices a change by itself, and is not restarted for it.
        mode: Its permissions, kept also where its content stays; None leaves those of an existing file alone.
        secret: What it holds is never shown.
    """

    path: Path
    content: str = field(repr=False)
    seed: bool = False
    watched: bool = False
    mode: int | None = None
    secret: bool = False


@dataclass(frozen=True)
class Program:
    """One program that is to run.

    Attributes:
        name: Its name for people, logs and the supervisor.
        command: The program and its arguments.
        directory: Its working directory.
        environment: Variables it gets in addition to the supervisor's own.
        ports: What it listens on once it is ready.
        files: What it reads; a changed one restarts it, unless it is a seed or watched.
        restart_token: Any text; the program is restarted when it changes.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    files: tuple[ConfigFile, ...] = ()
    restart_token: str = ""


@dataclass(frozen=True)
class Layout:
    """Where a supervisor of one directory keeps its things."""

    home: Path

    @property
    def config(self) -> Path:
        """The supervisor's own configuration."""
        return self.home / "etc" / "supervisord.conf"

    @property
    def programs(self) -> Path:
        """One file per program."""
        return self.home / "etc" / "conf.d"

    @property
    def logs(self) -> Path:
        """One log per program, and the supervisor's."""
        return self.home / "log"

    @property
    def socket(self) -> Path:
        """Where the supervisor takes orders; only its user may connect."""
        return self.home / "run" / "supervisor.sock"

    @property
    def pid_file(self) -> Path:
        """The supervisor's process number."""
        return self.home / "run" / "supervisord.pid"

    def program_config(self, name: str) -> Path:
        """Return the file of one program."""
        return self.programs / f"{name}.ini"

    def program_log(self, name: str) -> Path:
        """Return the log of one program."""
        return self.logs / f"{name}.log"


def program_from_dict(data: Mapping[str, Any]) -> Program:
    """Return the program that a service description names.

    Raises:
        InvalidInput: a name or value cannot be expressed in the supervisor's configuration.
    """
    name = str(data["name"])
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"program {name!r}", "is not a usable name", "use letters, digits, _ and - only")
    program = Program(
        name=name,
        command=tuple(str(word) for word in data["command"]),
        directory=Path(str(data["directory"])),
        environment={str(key): str(value) for key, value in (data.get("environment") or {}).items()},
        ports=tuple(_port(port) for port in data.get("ports") or ()),
        files=tuple(_file(file) for file in data.get("files") or ()),
        restart_token=str(data.get("restart_token") or ""),
    )
    numbers = [port.number for port in program.ports]
    for port in program.ports:
        if numbers.count(port.number) > 1:
            others = " and ".join(sorted(other.variable for other in program.ports if other.number == port.number))
            raise InvalidInput(f"port {port.number}", f"is given twice, by {others}", "give each its own port")
    for value in (*program.command, *program.environment.values(), str(program.directory)):
        if re.search(r"[\n\r\0]|\s[;#]", value):
            problem = f"{value!r} holds a line break or a comment sign"
            raise InvalidInput(f"program {name}", problem, "pass it in a file instead")
    for key, value in program.environment.items():
        if '"' in value or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise InvalidInput(f"program {name}", f"variable {key} cannot be passed on", "use plain names, no quotes")
    return program


def _port(data: Mapping[str, Any]) -> Port:
    return Port(
        number=int(data["number"]),
        variable=str(data["variable"]),
        address=str(data.get("address") or Port.address),
        health=str(data.get("health") or ""),
    )


def _file(data: Mapping[str, Any]) -> ConfigFile:
    secret = data.get("secret") is not None
    mode = data.get("mode")
    if mode is not None and not _MODE.fullmatch(str(mode)):
        raise InvalidInput(f"file {data['path']}", f"{mode!r} are no permissions", "give them in octal, like '0600'")
    return ConfigFile(
        path=Path(str(data["path"])),
        content=str(data["secret"] if secret else data["content"]),
        seed=bool(data.get("seed")),
        watched=bool(data.get("watched")),
        mode=None if mode is None else int(str(mode), 8),
        secret=secret,
    )


def restart_digest(program: Program) -> str:
    """Return a digest of everything, apart from its command line, that a running program has read."""
    read = [file for file in program.files if not (file.seed or file.watched)]
    facts = [program.restart_token, [[str(file.path), file.content] for file in read]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _escaped(text: str) -> str:
    """Return text as the supervisor's configuration needs it: a percent sign starts an expansion there."""
    return text.replace("%", "%%")


def render_program(program: Program, layout: Layout, launcher: tuple[str, ...] = ()) -> str:
    """Return the configuration of one program.

    Args:
        program: What is to run.
        layout: Where the supervisor lives.
        launcher: Words in front of the command, for example ``setpriv --pdeathsig SIGTERM``.
    """
    environment = {**program.environment, "MODELFLEET_RESTART_TOKEN": restart_digest(program)}
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(environment.items()))
    lines = [
        "; Written by role service_runtime.",
        f"[program:{program.name}]",
        f"command={_escaped(shlex.join([*launcher, *program.command]))}",
        f"directory={_escaped(str(program.directory))}",
        f"environment={pairs}",
        "autostart=true",
        "autorestart=true",
        "startsecs=1",
        f"startretries={START_RETRIES}",
        "stopsignal=TERM",
        "stopwaitsecs=10",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_escaped(str(layout.program_log(program.name)))}",
        f"stdout_logfile_maxbytes={LOG_BYTES}",
        f"stdout_logfile_backups={LOG_BACKUPS}",
    ]
    return "\n".join(lines) + "\n"


def render_supervisor(layout: Layout, release: str) -> str:
    """Return the supervisor's own configuration.

    Args:
        layout: Where the supervisor lives.
        release: What it runs from; a change replaces the supervisor itself.
    """
    lines = [
        "; Written by role service_runtime.",
        f"; Release {release}",
        "[unix_http_server]",
        f"file={_escaped(str(layout.socket))}",
        "chmod=0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisord]",
        f"directory={_escaped(str(layout.home))}",
        f"pidfile={_escaped(str(layout.pid_file))}",
        f"logfile={_escaped(str(layout.logs / 'supervisord.log'))}",
        f"logfile_maxbytes={LOG_BYTES}",
        f"logfile_backups={LOG_BACKUPS}",
        f"childlogdir={_escaped(str(layout.logs))}",
        "[supervisorctl]",
        f"serverurl=unix://{_escaped(str(layout.socket))}",
        "[include]",
        f"files = {_escaped(str(layout.programs))}/*.ini",
    ]
    return "\n".join(lines) + "\n"
