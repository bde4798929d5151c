"""Talk to the puller that runs on this node."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import InvalidInput, ModelfleetError, ServerUnreachable, rebuilt
from ..pull_status import PullerStatus, PullState, VersionReport

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How long a connection, and every piece of an answer, may take.
TIMEOUT_S = 10.0
#: A status of thousands of versions is far below this.
LARGEST_ANSWER = 64 * 1024 * 1024


class PullerClient:
    """The API of one puller."""

    def __init__(self, url: str, token_file: str = "") -> None:
        """Remember where it is; nothing is contacted yet.

        Args:
            url: ``http://host:port`` of the puller.
            token_file: File with the token that it wants from whoever changes something; empty when it wants none.

        Raises:
            InvalidInput: the URL is not such an address.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise InvalidInput(f"puller {url}", "is not the address of a puller", "write http://127.0.0.1:8001")
        self.url = url
        self._host = parts.hostname
        self._port = parts.port or http.client.HTTP_PORT
        self._token_file = token_file

    def status(self) -> PullerStatus:
        """Return what it says about itself.

        Raises:
            ServerUnreachable: it does not answer.
        """
        data = self._ask("GET", "/status", {})
        known = {field.name for field in fields(PullerStatus)}
        versions = tuple(_report(item) for item in data.get("versions") or ())
        return PullerStatus(**{**{key: data[key] for key in data if key in known}, "versions": versions})

    def sync(self) -> None:
        """Let it look at manifest, repository and store now, and try what failed again.

        Raises:
            ServerUnreachable: it does not answer.
            ModelfleetError: it refuses.
        """
        self._ask("POST", "/sync", {"Content-Type": "application/json", **self._credentials()}, b"{}")

    def _credentials(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        try:
            token = Path(self._token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidInput(
                f"token file {self._token_file}",
                f"cannot be read ({error.strerror})",
                "give the file that the puller was started with",
            ) from error
        return {"Authorization": f"Bearer {token}"}

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Mapping[str, Any]:
        subject = f"puller {self.url}"
        try:
            with closing(http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)) as connection:
                connection.request(method, path, body, dict(headers))
                with connection.getresponse() as answer:
                    status, text = answer.status, answer.read(LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnreachable(
                subject, f"does not answer ({str(error) or type(error).__name__})", "look into its log"
            ) from error
        try:
            data: Mapping[str, Any] = json.loads(text)
            if status < http.client.BAD_REQUEST:
                return data
            refusal = rebuilt(data["error"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServerUnreachable(subject, f"answers {status} to {method} {path}", "is it a puller?") from error
        raise _named(refusal, subject)


def _report(data: Mapping[str, Any]) -> VersionReport:
    known = {field.name for field in fields(VersionReport)}
    given = {key: value for key, value in data.items() if key in known}
    return VersionReport(**{**given, "state": PullState(given["state"])})


def _named(refusal: ModelfleetError, subject: str) -> ModelfleetError:
    """Return a refusal that also says who refuses."""
    named = ModelfleetError(subject, f"{refusal.subject}: {refusal.problem}", refusal.remedy)
    named.code = refusal.code
    return named
