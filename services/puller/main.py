"""The program ``modelfleet puller``: keeps a node's store as the manifest wants it, and tells about it on a port."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..common.command_line import SettingsRefused
from ..common.event_log import EventLog, take_over_library_logs
from ..common.heartbeats import HeartbeatFiles, Pulse
from ..common.running import Running
from ..common.tokens import Guard
from . import settings
from .progress import Progress
from .vitals import Vitals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from modelfleet.pull_status import PullEvent

    from .settings import Options

_REFUSED = 2


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop; return 2 where the settings do not allow a start.

    Raises:
        InvalidInput: the port is taken, or the directory for signs of life cannot be written.
    """
    try:
        options = settings.read(arguments, os.environ)
    except SettingsRefused as refused:
        for problem in refused.problems:
            sys.stderr.write(f"{settings.PROGRAM}: {problem.one_line()}\n")
        return _REFUSED
    # Slow to import, and a person who gave wrong settings is to be told at once.
    from ..common.http_server import listen  # noqa: PLC0415

    files = HeartbeatFiles(options.app_dir, options.heartbeat_limit_s)
    with listen(options.address, options.port) as listener:
        # Only now: the files may be those of a puller that has the port already.
        files.prepare()
        status = _serve(options, files, listener)
    # A thread that hangs must not keep the process: no joining of threads, no destructors.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(options: Options, files: HeartbeatFiles, listener: socket.socket) -> int:
    """Pull and answer until told to stop; return the exit status."""
    from ..common.http_server import HttpServer  # noqa: PLC0415  (as above)
    from ..common.web import Application  # noqa: PLC0415
    from .api import PullerApi  # noqa: PLC0415
    from .assembly import engine  # noqa: PLC0415

    log = EventLog(style=options.log_format)
    take_over_library_logs(log)
    pulse = Pulse()
    pulling = engine(options, telling(log))
    vitals = Vitals(pulling, pulse, files, Progress(lambda fields: log.write("Progress", fields)))
    api = PullerApi(pulling, vitals).described()
    server = HttpServer(
        Application(api, Guard(options.token), log).asgi, listener, lambda: pulse.beat("http", "answering")
    )
    address, port = listener.getsockname()[:2]
    log.write(
        "Started",
        {
            "node": options.node,
            "source": options.repository or options.config_dir,
            "store": options.store,
            "address": address,
            "port": port,
            "workers": options.puller.workers,
        },
    )
    return Running(log).until_stopped(
        {"http": lambda _: server.run(), "puller": pulling.run, "vitals": vitals.run}, stops=(server.stop,)
    )


def telling(log: EventLog) -> Callable[[PullEvent], None]:
    """Return what writes the engine's events into a log."""

    def tell(event: PullEvent) -> None:
        fields: dict[str, object] = {"model": event.model} if event.model else {}
        if event.version:
            fields["version"] = event.version
        log.write(event.step, {**fields, **(event.details or {})}, level="warning" if event.failure else "info")

    return tell
