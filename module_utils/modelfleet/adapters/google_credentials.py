"""Who asks Google: application default credentials, read again when they are replaced, renewed before they expire."""

from __future__ import annotations

import os
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Callable, cast

from ..errors import MissingDependency, ModelfleetError, SourceForbidden, SourceUnavailable
from .http_errors import LATER
from .metadata_server import answering, metadata_credentials
from .transport import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .metadata_server import Tokens
    from .transport import Transport

SUBJECT = "Google credentials"
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_only",)
_FILE_NAME = "application_default_credentials.json"
#: A token that is rejected so soon after it was renewed will not be accepted any more, in seconds.
_RENEWED_S = 60.0
_LOG_IN = "put valid credentials there; the file is read again when it changes"


class GoogleCredentials:
    """Signs requests for Google; safe for threads, of which one at a time asks for a token.

    A file of credentials is looked at before every request and read again when it was replaced. A token is renewed
    minutes before it expires, while other threads go on with the old one.
    """

    def __init__(self, credentials_file: str, transport: Transport) -> None:
        self._file = credentials_file
        self._transport = transport
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._credentials: Tokens | None = None
        self._mark: tuple[str, int, int, int] | None = None
        self._renewed_at = -_RENEWED_S

    def headers(self) -> dict[str, str]:
        """Return the headers that prove who asks.

        Raises:
            SourceForbidden: there are no credentials, or they are not accepted.
            SourceUnavailable: nobody gives a token now.
            MissingDependency: the library for them is not installed.
        """
        credentials = self._loaded()
        self._refresh(credentials)
        return _applied(credentials)

    def renew(self, rejected: Mapping[str, str]) -> bool:
        """Give up the token that a server did not accept; return whether there is hope in another one."""
        with self._lock:
            if self._credentials is None or _applied(self._credentials) != dict(rejected):
                return True
            if time.monotonic() - self._renewed_at < _RENEWED_S:
                return False
            self._renewed_at = time.monotonic()
            self._credentials = None
            return True

    def _loaded(self) -> Tokens:
        """Return the credentials, read again when their file is another one."""
        with self._lock:
            path = self._path()
            mark = _mark(path)
            if self._credentials is None or mark != self._mark:
                try:
                    self._credentials = self._load(path)
                    self._mark = mark
                except SourceForbidden:
                    # While a file is being replaced, the token from the old one still serves.
                    if self._credentials is None or not _usable(self._credentials):
                        raise
            return self._credentials

    def _path(self) -> str:
        """Return where credentials are; empty when they are left to the metadata server."""
        named = self._file or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        if named:
            return named
        usual = _usual_file()
        return str(usual) if usual.exists() else ""

    def _load(self, path: str) -> Tokens:
        try:
            import google.auth
            from google.auth.credentials import with_scopes_if_required
            from google.auth.exceptions import DefaultCredentialsError
        except ImportError as error:
            library = "Python library google-auth"
            raise MissingDependency(library, "gs:// with credentials") from error
        if not path:
            return self._from_metadata()
        try:
            with warnings.catch_warnings():
                # The library warns that files from strangers are dangerous, and of users' own credentials.
                warnings.simplefilter("ignore")
                credentials, _ = google.auth.load_credentials_from_file(path, request=self._asker())
        except DefaultCredentialsError as error:
            raise SourceForbidden(SUBJECT, _first_words(error), _LOG_IN) from error
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "they are malformed"
            raise SourceForbidden(SUBJECT, f"{path} cannot be used: {reason}", _LOG_IN) from error
        return cast("Tokens", with_scopes_if_required(credentials, SCOPES))

    def _from_metadata(self) -> Tokens:
        if answering(self._transport):
            return metadata_credentials(self._transport)
        problem = (
            f"there are none: $GOOGLE_APPLICATION_CREDENTIALS is not set, {_usual_file()} does not exist, "
            "and no metadata server answers"
        )
        raise SourceForbidden(SUBJECT, problem, "put them there, or set anonymous for a public bucket")

    def _refresh(self, credentials: Tokens) -> None:
        """Have a token that is valid: renewed ahead of time by one thread, waited for only when there is none."""
        from google.auth.credentials import TokenState

        if _fresh(credentials):
            return
        ahead = credentials.token_state is TokenState.STALE
        if not self._refreshing.acquire(blocking=not ahead):
            return
        try:
            if not _fresh(credentials):  # another thread may have been quicker
                self._ask(credentials)
        except ModelfleetError:
            if credentials.token_state is TokenState.INVALID:
                raise
        finally:
            self._refreshing.release()

    def _ask(self, credentials: Tokens) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            credentials.refresh(self._asker())
        except (GoogleAuthError, ValueError) as error:
            if isinstance(error.__cause__, ModelfleetError):
                raise error.__cause__ from error
            problem = f"no token is given for them ({_first_words(error)})"
            if isinstance(error, TransportError) or getattr(error, "retryable", False):
                raise SourceUnavailable(SUBJECT, problem, LATER) from error
            raise SourceForbidden(SUBJECT, problem, _LOG_IN) from error

    def _asker(self) -> Callable[..., SimpleNamespace]:
        """Return how the library sends its requests: through the transport, so that proxies and trust are the same."""
        from google.auth.exceptions import TransportError

        def ask(
            url: str,
            method: str = "GET",
            body: str | bytes | None = None,
            headers: Mapping[str, str] | None = None,
            **_: object,
        ) -> SimpleNamespace:
            content = body.encode() if isinstance(body, str) else body
            try:
                answer = self._transport.once(
                    Request(SUBJECT, url, method, headers=dict(headers or {}), body=content, ok=None)
                )
            except ModelfleetError as error:
                raise TransportError(error.problem) from error
            return SimpleNamespace(status=answer.status, headers=answer.headers, data=answer.body)

        return ask


def _applied(credentials: Tokens) -> dict[str, str]:
    headers: dict[str, str] = {}
    if credentials.token:
        credentials.apply(headers)
    return headers


def _fresh(credentials: Tokens) -> bool:
    from google.auth.credentials import TokenState

    return credentials.token_state is TokenState.FRESH


def _usable(credentials: Tokens) -> bool:
    from google.auth.credentials import TokenState

    return credentials.token_state is not TokenState.INVALID


def _usual_file() -> Path:
    folder = os.environ.get("CLOUDSDK_CONFIG", "")
    return (Path(folder) if folder else Path("~/.config/gcloud").expanduser()) / _FILE_NAME


def _mark(path: str) -> tuple[str, int, int, int]:
    """Return what changes when a file is replaced or written anew."""
    try:
        status = os.stat(path)  # noqa: PTH116  (a text from outside, empty for none)
    except OSError:
        return path, 0, 0, 0
    return path, status.st_mtime_ns, status.st_ino, status.st_size


def _first_words(error: Exception) -> str:
    """Return what a library says, without the answer of the server that it adds."""
    return str(error.args[0] if error.args else error).partition("\n")[0][:300]
