"""Where single models come from, for manifests that say it model by model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Location:
    """The source of one model.

    Attributes:
        uri: ``gs://``, ``s3://``, ``http(s)://``, ``file://`` or an absolute path: a directory of versions, the files
            of one version, a single file or an archive. It may carry a password or a signature, so it is no part of
            the representation.
        versions: The only versions that count, by their numbers at the source, ascending; empty where all do. One
            that the source does not have is wanted all the same, and missing.
    """

    uri: str = field(repr=False)
    versions: tuple[int, ...] = ()


def shown(uri: str) -> str:
    """Return the URI of a source as logs may have it: without user, password, query and hash, where it has such."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if scheme not in {"gs", "s3", "file"}:
        rest = re.split("[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{without_user(authority)}{slash}{path}"


def without_user(authority: str) -> str:
    """Return the part of a URI before its path without user and password, which some write before buckets as well."""
    return authority.rpartition("@")[2]
