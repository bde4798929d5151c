"""The supervisor of one directory: its process, its orders over a UNIX socket, and the ports of its programs.

Only the standard library is needed here; the supervisor itself is the PyPI package ``supervisor``, run as a program.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeadlineExceeded, InvalidInput, StoreError
from ..waiting import Clock, Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..supervision import Layout

#: What XML-RPC carries: numbers, texts, lists and mappings, as the order has it; it declares no types.
Answer = Any

#: How long the supervisor may take for one order; stopping a stubborn program takes ten seconds of it.
ORDER_TIMEOUT_S = 60.0
#: How long the supervisor itself may take to come up or to go away.
SUPERVISOR_TIMEOUT_S = 30.0
POLL_S = 0.05
#: Variables that tell who a person is to the stores, and where these are. The supervisor outlives the person's shell
#: and hands its environment on, so its programs are told such things by their own descriptions alone.
_PERSONAL = ("AWS_", "CLOUDSDK_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
#: As much of a command line as tells people which program it is.
COMMAND_LENGTH = 120
#: ``st`` of a listening socket in ``/proc/net/tcp``.
_LISTENING = "0A"
#: Position of the local address, the state and the inode in a line of ``/proc/net/tcp``.
_LOCAL, _STATE, _INODE = 1, 3, 9


@dataclass(frozen=True)
class ProcessInfo:
    """What the supervisor says about one program.

    Attributes:
        name: The program.
        state: The supervisor's word: STARTING, RUNNING, BACKOFF, STOPPED, EXITED, FATAL.
        pid: Its process number, 0 without one.
    """

    name: str
    state: str
    pid: int


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port.

    Attributes:
        pid: Its number; 0 if it belongs to another user.
        group: Its process group, 0 if unknown.
        command: Its command line, as far as it may be read.
    """

    pid: int
    group: int
    command: str

    def __str__(self) -> str:
        """Return it as people would look for it."""
        return f"process {self.pid} ({self.command})" if self.pid else "a process of another user"


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ORDER_TIMEOUT_S)
        self.sock.connect(str(self._path))


class Supervisord:
    """The supervisor of one directory."""

    def __init__(self, layout: Layout, command: Path, clock: Clock | None = None) -> None:
        """Remember where it lives; nothing is contacted yet.

        Args:
            layout: Its directory.
            command: The program ``supervisord``.
            clock: For waits.
        """
        self._layout = layout
        self._command = command
        self._clock = clock or Clock()

    def _order(self, name: str, *arguments: str | bool) -> Answer:
        body = xmlrpc.client.dumps(arguments, f"supervisor.{name}").encode()
        with contextlib.closing(_Connection(self._layout.socket)) as connection:
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            with connection.getresponse() as response:
                answer = response.read()
        try:
            (result,), _ = xmlrpc.client.loads(answer)
        except xmlrpc.client.Fault as fault:
            raise StoreError(
                f"supervisor order {name}", fault.faultString, f"see {self._layout.logs / 'supervisord.log'}"
            ) from fault
        return result

    def answers(self) -> bool:
        """Whether it takes orders now."""
        try:
            return bool(self._order("getState")["statename"] == "RUNNING")
        except (OSError, http.client.HTTPException, StoreError):
            return False

    def _pid(self) -> int:
        """Return the number of its live process, 0 without one; a number that another program got does not count."""
        if self.answers():
            return int(self._order("getPID"))
        try:
            pid = int(self._layout.pid_file.read_text(encoding="ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return 0
        return pid if os.fsencode(self._layout.config) in words else 0

    def alive(self) -> bool:
        """Whether its process exists."""
        return bool(self._pid())

    def start(self) -> None:
        """Start it and wait until it takes orders; what a dead one left is cleared first.

        Raises:
            InvalidInput: it cannot be started.
            DeadlineExceeded: it does not answer in time.
        """
        self.stop()
        for leftover in (self._layout.socket, self._layout.pid_file):
            leftover.unlink(missing_ok=True)
        try:
            done = subprocess.run(  # noqa: S603  (the environment's own program)
                [str(self._command), "-c", str(self._layout.config)],
                env={name: value for name, value in os.environ.items() if not name.startswith(_PERSONAL)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SUPERVISOR_TIMEOUT_S,
                check=False,
                text=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InvalidInput(str(self._command), f"cannot be started ({error})", "run role host again") from error
        if done.returncode != 0:
            raise InvalidInput(str(self._command), f"ended with {done.returncode}: {done.stdout.strip()}")
        deadline = Deadline(SUPERVISOR_TIMEOUT_S, self._clock)
        while not self.answers():
            if deadline.expired:
                raise DeadlineExceeded(
                    "supervisor", f"takes no orders after {deadline.timeout_s:g} s", f"see {self._layout.logs}"
                )
            deadline.pause(POLL_S)

    def stop(self) -> bool:
        """Stop it with all its programs and wait until it is gone; return whether there was anything to stop.

        Raises:
            DeadlineExceeded: it does not go away in time.
        """
        pid = self._pid()
        if not pid:
            return False
        if self.answers():
            self._order("shutdown")
        else:
            os.kill(pid, signal.SIGTERM)
        self._await_end(pid)
        return True

    def _await_end(self, pid: int) -> None:
        deadline = Deadline(SUPERVISOR_TIMEOUT_S, self._clock)
        while Path(f"/proc/{pid}").exists():
            if deadline.expired:
                raise DeadlineExceeded(
                    f"supervisor (process {pid})", f"does not end within {deadline.timeout_s:g} s", f"kill {pid}"
                )
            deadline.pause(POLL_S)

    def update(self) -> list[str]:
        """Let it read its configuration again; return what it did, one line a program."""
        (added, changed, removed), *_ = self._order("reloadConfig")
        for name in (*removed, *changed):
            self._order("stopProcessGroup", name)
            self._order("removeProcessGroup", name)
        for name in (*changed, *added):
            self._order("addProcessGroup", name)
        verbs = (("started", added), ("restarted", changed), ("removed", removed))
        return [f"{verb} {name}" for verb, names in verbs for name in names]

    def processes(self) -> dict[str, ProcessInfo]:
        """Return what it says about each program."""
        found = self._order("getAllProcessInfo")
        return {str(item["name"]): ProcessInfo(item["name"], item["statename"], int(item["pid"])) for item in found}

    def start_program(self, name: str) -> None:
        """Start a program that is not running; it comes up in the background."""
        wait = False
        self._order("startProcess", name, wait)


def launcher() -> tuple[str, ...]:
    """Return the words that make a program end with its supervisor, even if that one is killed; none if unavailable."""
    setpriv = shutil.which("setpriv")
    if not setpriv:
        return ()
    words = (setpriv, "--pdeathsig", "SIGTERM", "--")
    works = subprocess.run(  # noqa: S603  (fixed words)
        [*words, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    return words if works.returncode == 0 else ()


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[_STATE] == _LISTENING and int(fields[_LOCAL].rpartition(":")[2], 16) == port:
                inodes.add(fields[_INODE])
    return inodes


def _open_sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                target = str(Path(entry.path).readlink())
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]


def listeners(port: int) -> list[Listener]:
    """Return who listens on a TCP port of this machine; empty if nobody does."""
    inodes = _listening_inodes(port)
    if not inodes:
        return []
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and not inodes.isdisjoint(_open_sockets(int(process.name))):
            # A process may end while it is looked at.
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                pid = int(process.name)
                found.append(Listener(pid, os.getpgid(pid), words.strip()[:COMMAND_LENGTH]))
    return found or [Listener(0, 0, "")]
