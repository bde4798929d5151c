"""Headers that single hosts ask for, for example ``Authorization``, from a secret file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from modelfleet.errors import InvalidInput

from ..common import private_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WHAT = "http headers file"
_LARGEST = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\t -~]*")


def read_http_headers(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the headers of each host.

    Raises:
        InvalidInput: the file is not readable, not private, or not what it should be; its content is not named.
    """
    content, _ = private_file.read(path, _WHAT, _LARGEST)
    try:
        hosts = json.loads(content)
    except ValueError as error:
        raise _wrong(path, "is not JSON") from error
    if not isinstance(hosts, dict) or not all(isinstance(headers, dict) for headers in hosts.values()):
        raise _wrong(path, "is not an object of hosts")
    for host, headers in hosts.items():
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise _wrong(path, f"has what is not a header for host {host!r}")
    return {host.lower(): headers for host, headers in hosts.items()}


def _wrong(path: Path, problem: str) -> InvalidInput:
    return InvalidInput(f"{_WHAT} {path}", problem, 'write {"models.example.com": {"Authorization": "Bearer ..."}}')
