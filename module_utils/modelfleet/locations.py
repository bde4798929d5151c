"""Where single models come from, for manifests that say it model by model."""

from __future__ import annotations

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
