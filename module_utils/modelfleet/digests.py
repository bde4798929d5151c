"""Digests that a publisher puts beside a version's files: ``digests.json``, path to SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from .adapters.checksums import BUFFER_SIZE
from .errors import DigestMismatch

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path
    from typing import Callable

#: The file's name, directly in the version's directory.
FILE_NAME = "digests.json"
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_REMEDY = "publish the version again under a new number, with digests of the files that it holds"


def parse(text: str | bytes, subject: str) -> dict[str, str]:
    """Return the digests that a text holds: path to 64 hexadecimal digits in lower case.

    Raises:
        DigestMismatch: the text is not a JSON object of paths and SHA-256 digests.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DigestMismatch(subject, f"{FILE_NAME} is not JSON ({error})", _REMEDY) from error
    if not isinstance(data, dict):
        raise DigestMismatch(subject, f"{FILE_NAME} is not an object of paths and digests", _REMEDY)
    digests = {}
    for path, digest in data.items():
        found = _SHA256.fullmatch(digest) if isinstance(digest, str) else None
        if found is None:
            raise DigestMismatch(subject, f"{FILE_NAME} has no SHA-256 digest for {path!r}", _REMEDY)
        digests[path] = found[1].lower()
    return digests


def verify(folder: Path, files: Collection[str], subject: str, check: Callable[[], None]) -> None:
    """Compare every file of a version with its digest.

    Args:
        folder: The version's directory.
        files: Paths below it.
        subject: What messages call the version.
        check: Called now and then; may raise to give up.

    Raises:
        DigestMismatch: a file has no digest, or another one; a digest has no file.
        OSError: a file cannot be read.
    """
    digests = parse((folder / FILE_NAME).read_bytes(), subject)
    present = {path for path in files if path != FILE_NAME}
    for path in sorted(present ^ digests.keys()):
        problem = "is missing" if path in digests else "has no digest"
        raise DigestMismatch(subject, f"{path} {problem}, says {FILE_NAME}", _REMEDY)
    for path, digest in sorted(digests.items()):
        if hash_of(folder / path, "sha256", check) != digest:
            raise DigestMismatch(subject, f"{path} is not what {FILE_NAME} announces", _REMEDY)


def hash_of(path: Path, algorithm: str, check: Callable[[], None]) -> str:
    """Return the hash of a file in hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    state = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(BUFFER_SIZE))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            state.update(buffer[:count])
            check()
    return state.hexdigest()
