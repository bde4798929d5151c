"""An API of a service behind a real port, and a client that keeps nothing from the test."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelfleet_services.common.event_log import EventLog
from modelfleet_services.common.http_server import HttpServer, listen
from modelfleet_services.common.tokens import Guard
from modelfleet_services.common.web import Application

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from modelfleet_services.common.operations import Api
    from modelfleet_services.common.tokens import TokenFile


@dataclass(frozen=True)
class Answer:
    """One answer; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class HttpClient:
    """Asks one port, each time by a connection of its own."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self._token = token

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout_s: float = 10
    ) -> Answer:
        """Send a request; a body that is not bytes goes as JSON, announced as such."""
        sent = dict(headers or {})
        if self._token:
            sent.setdefault("Authorization", f"Bearer {self._token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)) as connection:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)


@contextmanager
def served(
    api: Api, token: TokenFile | None = None, log: EventLog | None = None, shown: str = ""
) -> Iterator[HttpClient]:
    """Serve an API on a free port of the loopback address; the client shows the token ``shown``."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    application = Application(api, Guard(token), log or EventLog())
    server = HttpServer(application.asgi, listener, lambda: None)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        yield HttpClient(port, shown)
    finally:
        server.stop()
        thread.join(10)
        application.close()
        assert not thread.is_alive(), "the server does not stop"
