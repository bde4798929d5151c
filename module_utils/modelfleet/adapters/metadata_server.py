"""Tokens of the machine itself, from the metadata server that Google's machines and clusters have."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import SourceForbidden, SourceUnavailable
from .transport import Request

if TYPE_CHECKING:
    from google.auth.credentials import TokenState

    from .transport import Transport

_SUBJECT = "Google's metadata server"
_HEADERS = {"Metadata-Flavor": "Google"}
_PRODUCT = Path("/sys/class/dmi/id/product_name")


class Tokens(Protocol):
    """What all kinds of credentials of Google's library have in common."""

    token: str | None

    @property
    def token_state(self) -> TokenState:
        """Whether the token is fresh, stale or invalid."""

    def refresh(self, request: object, /) -> None:
        """Get another token; ``request`` sends what has to be asked."""

    def apply(self, headers: dict[str, str], /) -> None:
        """Add the token to the headers of a request."""


def answering(transport: Transport) -> bool:
    """Return whether this machine has a metadata server.

    Raises:
        SourceUnavailable: it should have one, which does not answer now.
    """
    if os.environ.get("NO_GCE_CHECK") == "true":
        return False
    try:
        answer = transport.once(Request(_SUBJECT, f"{_root()}/", headers=_HEADERS, direct=True, ok=None))
    except (SourceForbidden, SourceUnavailable):
        if "GCE_METADATA_HOST" in os.environ or _is_google_machine():
            raise
        return False
    return bool(answer.headers.get("metadata-flavor") == "Google")


def metadata_credentials(transport: Transport) -> Tokens:
    """Return credentials that ask the metadata server for tokens.

    The library's own kind needs another HTTP client beside this one.
    """
    from google.auth.credentials import Credentials

    class MetadataCredentials(Credentials):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # the library types its classes in parts

        def refresh(self, request: object) -> None:  # noqa: ARG002  (the transport is known already)
            url = f"{_root()}/computeMetadata/v1/instance/service-accounts/default/token"
            answer = transport.request(Request(_SUBJECT, url, headers=_HEADERS, direct=True))
            try:
                token = json.loads(answer.body)
                self.token = str(token["access_token"])
                lifetime = timedelta(seconds=int(token["expires_in"]))
            except (ValueError, KeyError, TypeError) as error:
                raise SourceUnavailable(_SUBJECT, "answers with something that is not a token") from error
            # The library compares with the time of UTC without a zone.
            self.expiry = datetime.now(timezone.utc).replace(tzinfo=None) + lifetime

    return cast("Tokens", MetadataCredentials())


def _root() -> str:
    return f"http://{os.environ.get('GCE_METADATA_HOST') or 'metadata.google.internal'}"


def _is_google_machine() -> bool:
    try:
        return _PRODUCT.read_text(encoding="utf-8").startswith("Google")
    except (OSError, UnicodeDecodeError):
        return False
