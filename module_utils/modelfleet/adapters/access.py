"""How repositories are reached: endpoints, trust, who is asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Access:
    """What an operator may say about the way to a repository; the environment decides what is left empty.

    Attributes:
        gcs_endpoint: Base URL of a server that speaks Google Cloud Storage's JSON API instead of Google's.
        s3_endpoint: Base URL of a server that speaks S3 instead of Amazon's.
        s3_region: The bucket's region.
        s3_path_style: Whether the bucket goes into the path instead of the host name; None means: with an endpoint.
        anonymous: Whether to ask without credentials.
        credentials_file: Google credentials; empty means application default credentials.
        ca_bundle: File of the certificates to trust instead of the system's.
        proxy: URL of the proxy for every request; empty means what the environment says.
        http_headers: Headers for ``http(s)://`` sources, by host (``models.example.com`` or with ``:port``).
        connect_timeout_s: How long a connection may take, in seconds.
        read_timeout_s: How long a server may send nothing, in seconds.
    """

    gcs_endpoint: str = ""
    s3_endpoint: str = ""
    s3_region: str = ""
    s3_path_style: bool | None = None
    anonymous: bool = False
    credentials_file: str = ""
    ca_bundle: str = ""
    proxy: str = ""
    http_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
