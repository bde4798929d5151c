"""Who asks S3: the credentials that Amazon's tools would find, and signatures made with them."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import MissingDependency, ModelfleetError, SourceForbidden, SourceUnavailable
from .s3_address import DEFAULT_REGION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.credentials import Credentials, ReadOnlyCredentials
    from botocore.session import Session

    from ..waiting import Clock
    from .access import Access

#: The usual names of the environment's variables, and the old ones; the first complete pair wins.
_PAIRS = (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_ACCESS_KEY", "AWS_SECRET_KEY"))
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
#: Refusals of many requests at once, or again and again, ask for new credentials at most this often.
_RENEWAL_PAUSE_S = 10.0
_WORDS_LIMIT = 300
_SERVER_ERRORS = 500
_SUBJECT = "S3 credentials"
_GIVE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role or a credentials file"


class Signed(NamedTuple):
    """A signature.

    Attributes:
        headers: What to send besides the request's own headers.
        by: Whose it is, for ``Signer.renewed`` alone.
    """

    headers: dict[str, str]
    by: ReadOnlyCredentials | None

    def __repr__(self) -> str:
        """Show nothing: signatures open doors."""
        return "Signed(…)"


class Signer:
    """Finds credentials, keeps them fresh, signs requests; for many threads.

    They are looked for where Amazon's tools look: environment, credentials file and profiles, single sign-on, web
    identity, the container's or the machine's role. A changed file is read again; what expires is renewed in time.
    """

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._credentials: Credentials | None = None
        self._stamp: tuple[object, ...] = ()
        self._renewed_at: float | None = None

    def profile(self, name: str) -> str:
        """Return a setting of the profile in use, such as ``region`` or ``endpoint_url``; empty when it has none."""
        with self._lock:
            session = self._session = self._session or _new_session(self._access)
        try:
            return str(session.get_scoped_config().get(name) or "")
        except _botocore_errors() as error:
            raise _explained(error) from error

    def signed(self, method: str, url: str, headers: Mapping[str, str], region: str) -> Signed:
        """Return the headers that let a request without a body pass as ours.

        Raises:
            SourceForbidden: there are no credentials, or incomplete ones.
            SourceUnavailable: whoever grants them does not answer.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        frozen = self._frozen()
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        S3SigV4Auth(frozen, "s3", region).add_auth(request)
        sent = {name.lower() for name in headers}
        return Signed({name: value for name, value in request.headers.items() if name.lower() not in sent}, frozen)

    def renewed(self, refused: Signed) -> bool:
        """Return whether there are other credentials than those that were refused, and look for new ones if need be.

        Raises:
            SourceForbidden: there are none any more.
            SourceUnavailable: whoever grants them does not answer.
        """
        if self._frozen() != refused.by:
            return True
        with self._lock:
            now = self._clock.now()
            if self._renewed_at is not None and now - self._renewed_at < _RENEWAL_PAUSE_S:
                return False
            self._renewed_at = now
            self._load()
        return self._frozen() != refused.by

    def _frozen(self) -> ReadOnlyCredentials:
        with self._lock:
            credentials = self._current()
        try:
            return credentials.get_frozen_credentials()
        except _botocore_errors() as error:
            raise _explained(error) from error

    def _current(self) -> Credentials:
        if self._credentials is None:
            return self._load()
        if _stamp() == self._stamp:
            return self._credentials
        try:
            return self._load()
        except ModelfleetError:
            # Half-written, perhaps: what worked is used until the file can be read.
            return self._credentials

    def _load(self) -> Credentials:
        _check_pairs(os.environ)
        stamp = _stamp()
        session = _new_session(self._access)
        try:
            found = session.get_credentials()
        except _botocore_errors() as error:
            raise _explained(error) from error
        if found is None:
            problem = "none were found in the environment, in a credentials file, or as a role of this machine"
            raise SourceForbidden(_SUBJECT, problem, _GIVE)
        self._session, self._credentials, self._stamp = session, found, stamp
        return found


def _new_session(access: Access) -> Session:
    try:
        from botocore.config import Config
        from botocore.credentials import EnvProvider
        from botocore.session import get_session
    except ImportError as error:
        raise MissingDependency("botocore", "a repository in S3") from error
    # Its lines for developers hold session tokens and signatures.
    logging.getLogger("botocore").setLevel(logging.ERROR)
    session = get_session()
    try:
        if not session.get_config_variable("region"):
            session.set_config_variable("region", os.environ.get("AWS_REGION") or access.s3_region or DEFAULT_REGION)
        if access.ca_bundle:
            session.set_config_variable("ca_bundle", access.ca_bundle)
        if access.proxy:
            session.set_default_client_config(Config(proxies={"http": access.proxy, "https": access.proxy}))
        access_key, secret_key = _PAIRS[1]
        old_names = EnvProvider(mapping={"access_key": access_key, "secret_key": secret_key})
        session.get_component("credential_provider").insert_after(EnvProvider.METHOD, old_names)
    except _botocore_errors() as error:
        raise _explained(error) from error
    return session


def _check_pairs(environ: Mapping[str, str]) -> None:
    for pair in _PAIRS:
        missing = [name for name in pair if not environ.get(name)]
        if len(missing) == 1:
            given = next(name for name in pair if name not in missing)
            raise SourceForbidden(_SUBJECT, f"{given} is set without {missing[0]}", "set both of them, or neither")


def _stamp() -> tuple[object, ...]:
    """Return what changes when somebody replaces or edits a file of credentials."""
    return tuple(_file_stamp(Path(os.environ.get(name) or default)) for name, default in _FILES)


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.expanduser().stat()
    except (OSError, RuntimeError):  # the second one where there is no home
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _botocore_errors() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError

    # Files of tokens that are gone, answers that make no sense.
    return BotoCoreError, ClientError, OSError, RuntimeError, ValueError


def _explained(error: Exception) -> ModelfleetError:
    from botocore.exceptions import ClientError, HTTPClientError, MetadataRetrievalError
    from botocore.exceptions import ConnectionError as Unconnected

    words = " ".join(str(error).split())[:_WORDS_LIMIT].rstrip(".")
    temporary = isinstance(error, (Unconnected, HTTPClientError, MetadataRetrievalError))
    if isinstance(error, ClientError):
        temporary = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERRORS
    if temporary:
        return SourceUnavailable(_SUBJECT, f"cannot be had now ({words})", "it is tried again")
    return SourceForbidden(_SUBJECT, f"cannot be used ({words})", _GIVE)
