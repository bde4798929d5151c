"""Credentials in Google's formats whose tokens come from a server of one's own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .tiny_http_server import Reply

if TYPE_CHECKING:
    from pathlib import Path

    from .tiny_http_server import Asked


@dataclass
class Tokens:
    """What a token server gives.

    Attributes:
        expires_in: How long tokens live, in seconds.
        given: The tokens so far, each made of who asked and a number.
        refuse: The status with which everybody is refused instead; 0 for nobody.
    """

    expires_in: int = 3600
    given: list[str] = field(default_factory=list)
    refuse: int = 0

    def reply(self, asked: Asked) -> Reply:
        """Answer a refresh of a user's token, or the signed assertion of a service account."""
        if self.refuse:
            return Reply(self.refuse, b'{"error":"invalid_grant","error_description":"Token has been revoked."}')
        form = parse_qs(asked.body.decode())
        self.given.append(f"{form.get('refresh_token', ['account'])[0]}-{len(self.given)}")
        body = {"access_token": self.given[-1], "expires_in": self.expires_in, "token_type": "Bearer"}
        return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


def write_user(path: Path, name: str = "user") -> None:
    """Write the credentials of a user, replacing the file in one step.

    Google's library asks Google for tokens of users, whatever the file says.
    """
    _replace(
        path,
        {
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": "client-hush",
            "refresh_token": name,
        },
    )


def write_service_account(path: Path, token_uri: str) -> None:
    """Write the key of a service account."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    _replace(
        path,
        {
            "type": "service_account",
            "project_id": "tests",
            "private_key_id": "1",
            "private_key": text,
            "client_email": "puller@tests.example",
            "token_uri": token_uri,
        },
    )


def _replace(path: Path, content: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    new.replace(path)
