"""Puts the parts of the running puller together: the engine, its signs of life, and the port that tells about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.event_log import EventLog, take_over_library_logs
from ..common.heartbeats import HeartbeatFiles, Pulse
from ..common.http_server import HttpServer, listen
from ..common.running import Running
from ..common.tokens import Guard
from ..common.web import Application
from .api import PullerApi
from .assembly import engine
from .progress import Progress
from .vitals import Vitals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from modelfleet.pull_status import PullEvent

    from .settings import Options


def serve(options: Options) -> int:
    """Pull and answer until told to stop; return the exit status.

    Raises:
        InvalidInput: the port is taken, or the directory for signs of life cannot be written.
    """
    files = HeartbeatFiles(options.app_dir, options.heartbeat_limit_s)
    with listen(options.address, options.port) as listener:
        # Only now: the files may be those of a puller that has the port already.
        files.prepare()
        return _run(options, files, listener)


def _run(options: Options, files: HeartbeatFiles, listener: socket.socket) -> int:
    """Pull and answer until told to stop; return the exit status."""
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
