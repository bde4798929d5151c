"""Bring supervised programs to what is wanted: write what differs, give the orders, wait until they answer."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .adapters.readiness import complaint
from .adapters.supervisord import ProcessInfo, Supervisord, launcher, listeners
from .durable import make_directory, replace_file
from .errors import DeadlineExceeded, InvalidInput
from .supervision import ConfigFile, Layout, Program, render_program, render_supervisor
from .waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .adapters.supervisord import Listener

POLL_S = 0.1
#: How long others may hold a port: a program that lost its supervisor is still ending.
PORT_PATIENCE_S = 2.0
#: Permissions of a new file for which nobody wants others.
DEFAULT_MODE = 0o644
#: Lines of a program's log that a failure shows.
LOG_LINES = 15
#: A program that was started this often and never became ready will not become ready.
STARTS_UNTIL_HOPELESS = 4
#: The supervisor's words for a program that is running or about to.
COMING_UP = frozenset({"STARTING", "RUNNING", "BACKOFF"})


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be.

    Attributes:
        actions: One line each, in order; empty when nothing was to do.
        before: Text of each file that differed; empty text for a missing one, and a word in place of a secret.
        after: Text of the same files afterwards.
        processes: State of the programs, by name; empty in check mode on a host without a supervisor.
    """

    actions: tuple[str, ...]
    before: Mapping[Path, str]
    after: Mapping[Path, str]
    processes: Mapping[str, ProcessInfo] = field(default_factory=dict)


class Supervision:
    """The programs of one directory."""

    def __init__(self, home: Path, supervisord: Path, release: str, clock: Clock | None = None) -> None:
        """Remember the directory, the program ``supervisord`` and what it belongs to; nothing is touched yet."""
        self._layout = Layout(home)
        self._release = release
        self._clock = clock or Clock()
        self._supervisord = Supervisord(self._layout, supervisord, self._clock)

    def ensure(self, programs: Sequence[Program], ready_timeout_s: float, *, check_mode: bool) -> Outcome:
        """Make the programs run as described and wait until each answers on its ports.

        Raises:
            InvalidInput: a port belongs to another program.
            DeadlineExceeded: a program does not become ready; the message ends with the last lines of its log.
        """
        files = self._files(programs)
        changes = [file for file in files if _text(file.path) != file.content]
        modes = {file.path: file.mode for file in files if file not in changes and file.mode is not None}
        modes = {path: mode for path, mode in modes.items() if _mode(path) != mode}
        before = {file.path: _shown(file, _text(file.path) or "", "the one before") for file in changes}
        after = {file.path: _shown(file, file.content, "a new one") for file in changes}
        running = self._supervisord.processes() if self._supervisord.answers() else None
        self._require_ports(programs, running or {})
        actions = [f"write {file.path}" for file in changes]
        actions += [f"set the permissions of {path} to {mode:04o}" for path, mode in modes.items()]
        replaced = running is None or self._layout.config in after
        if replaced:
            actions.append("start the supervisor" if running is None else "replace the supervisor")
        if check_mode:
            idle = [program.name for program in programs if running and not _coming_up(running, program)]
            return Outcome((*actions, *(f"start {name}" for name in idle)), before, after, running or {})
        for file in changes:
            make_directory(file.path.parent)
            replace_file(file.path, file.content.encode(), DEFAULT_MODE if file.mode is None else file.mode)
        for path, mode in modes.items():
            path.chmod(mode)
        if replaced:
            self._supervisord.start()
        else:
            actions += self._supervisord.update()
            actions += self._start_idle(programs)
        self._await_ready(programs, Deadline(ready_timeout_s, self._clock))
        return Outcome(tuple(actions), before, after, self._supervisord.processes())

    def stop(self, *, check_mode: bool) -> Outcome:
        """End the supervisor and with it every program of the directory.

        Raises:
            DeadlineExceeded: it does not end in time.
        """
        stopped = self._supervisord.alive() if check_mode else self._supervisord.stop()
        return Outcome(("stop the supervisor and its programs",) if stopped else (), {}, {})

    def _files(self, programs: Sequence[Program]) -> list[ConfigFile]:
        """Return every file that must have a certain content."""
        words = launcher()
        wanted = [ConfigFile(self._layout.config, render_supervisor(self._layout, self._release))]
        for program in programs:
            # Of a seed that lies there already only the permissions matter.
            wanted += [
                replace(file, content=_text(file.path) or "") if file.seed and file.path.exists() else file
                for file in program.files
            ]
            text = render_program(program, self._layout, words)
            wanted.append(ConfigFile(self._layout.program_config(program.name), text))
        return wanted

    def _require_ports(self, programs: Sequence[Program], running: Mapping[str, ProcessInfo]) -> None:
        deadline = Deadline(PORT_PATIENCE_S, self._clock)
        while refusal := _taken_port(programs, running):
            if deadline.expired:
                raise refusal
            deadline.pause(POLL_S)

    def _start_idle(self, programs: Sequence[Program]) -> list[str]:
        """Start what a person stopped; the supervisor itself only brings back what ended."""
        processes = self._supervisord.processes()
        idle = [program.name for program in programs if not _coming_up(processes, program)]
        for name in idle:
            self._supervisord.start_program(name)
        return [f"start {name}" for name in idle]

    def _await_ready(self, programs: Sequence[Program], deadline: Deadline) -> None:
        started: dict[str, set[int]] = {program.name: set() for program in programs}
        waiting = list(programs)
        while waiting:
            processes = self._supervisord.processes()
            for program in list(waiting):
                info = processes.get(program.name)
                complaints = _complaints(program, info)
                if not complaints:
                    waiting.remove(program)
                    continue
                if info is not None and info.pid:
                    started[program.name].add(info.pid)
                hopeless = len(started[program.name]) >= STARTS_UNTIL_HOPELESS
                if deadline.expired or hopeless or (info is not None and info.state == "FATAL"):
                    how_long = f"{deadline.timeout_s - deadline.remaining_s:.0f} s"
                    starts = f"{len(started[program.name])} starts"
                    raise self._not_ready(program, f"{' and '.join(complaints)} after {how_long} and {starts}", info)
            if waiting:
                deadline.pause(POLL_S)

    def _not_ready(self, program: Program, problem: str, info: ProcessInfo | None) -> DeadlineExceeded:
        log = self._layout.program_log(program.name)
        tail = "\n".join(f"    {line}" for line in (_text(log) or "").splitlines()[-LOG_LINES:])
        return DeadlineExceeded(
            f"program {program.name}",
            f"{problem} ({info.state if info else 'unknown to the supervisor'})",
            f"read {log}, which ends with\n{tail}" if tail else f"its log {log} is empty",
        )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _coming_up(processes: Mapping[str, ProcessInfo], program: Program) -> bool:
    info = processes.get(program.name)
    return info is not None and info.state in COMING_UP


def _belongs_to(listener: Listener, info: ProcessInfo | None) -> bool:
    """Whether a listener is the program: the supervisor makes each program the head of a process group."""
    return info is not None and info.pid != 0 and info.pid in {listener.pid, listener.group}


def _taken_port(programs: Sequence[Program], running: Mapping[str, ProcessInfo]) -> InvalidInput | None:
    """Return why a program cannot have its port; None when every one can."""
    for program in programs:
        info = running.get(program.name)
        for port in program.ports:
            for other in listeners(port.number):
                if not _belongs_to(other, info):
                    return InvalidInput(
                        f"port {port.number}",
                        f"is in use by {other}, {program.name} needs it",
                        f"stop that program or set {port.variable} to a free port",
                    )
    return None


def _complaints(program: Program, info: ProcessInfo | None) -> list[str]:
    """Return why a program is not ready; nothing when it is."""
    if info is None or info.state != "RUNNING":
        return ["does not answer on " + (" and ".join(str(port.number) for port in program.ports) or "any port")]
    asked = (complaint(port.address, port.number, port.health) for port in program.ports)
    return [words for words in asked if words]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _shown(file: ConfigFile, text: str, word: str) -> str:
    """Return what may be shown of a file's content."""
    return f"(secret, {word})\n" if file.secret and text else text
