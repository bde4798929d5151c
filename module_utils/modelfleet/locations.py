"""Where single models come from, for manifests that say it model by model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """The source of one model.

    Attributes:
        uri: ``gs://``, ``s3://``, ``http(s)://``, ``file://`` or an absolute path: a directory of versions, the files
            of one version, a single file or an archive.
    """

    uri: str
