"""Where a bucket is reached: its endpoint, its region, its URLs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ..errors import InvalidInput
from ..locations import without_user
from .s3_xml import region_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .access import Access

DEFAULT_REGION = "us-east-1"
#: Regions of a partition that is not Amazon's public one, by how their names begin.
_SUFFIXES = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
#: What may stand in a host's name, and below a certificate for ``*.s3.<region>.amazonaws.com``.
_HOST_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def checked_bucket(bucket: str) -> str:
    """Return the name of a bucket.

    Raises:
        InvalidInput: no bucket is named so, or it is of a kind that works differently.
    """
    subject = f"bucket {without_user(bucket)!r}"
    if not _BUCKET.fullmatch(bucket):
        remedy = "write s3://<bucket>, or s3://<bucket>/<prefix>"
        raise InvalidInput(subject, "is not the name of an S3 bucket", remedy)
    if bucket.endswith("--x-s3"):
        raise InvalidInput(subject, "is a directory bucket of S3 Express, which is not supported", "use a usual bucket")
    return bucket


def stated_region(access: Access, environ: Mapping[str, str]) -> str:
    """Return the region that options or the environment name; empty when they do not.

    Raises:
        InvalidInput: no region is named so.
    """
    region = access.s3_region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
    return checked_region(region) if region else ""


def checked_region(region: str) -> str:
    """Return the name of a region.

    Raises:
        InvalidInput: no region is named so.
    """
    if not region_name(region):
        raise InvalidInput(f"S3 region {region!r}", "is not the name of a region", "write it as in us-east-1")
    return region


def stated_endpoint(access: Access, environ: Mapping[str, str]) -> str:
    """Return the base URL that options or the environment name; empty when they do not.

    Raises:
        InvalidInput: it is not one.
    """
    endpoint = access.s3_endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    return checked_endpoint(endpoint) if endpoint else ""


def checked_endpoint(endpoint: str) -> str:
    """Return the base URL of a server without what is the same everywhere: a default port, a final slash.

    Raises:
        InvalidInput: it is not ``http(s)://host[:port][/path]``.
    """
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.hostname and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in _DEFAULT_PORTS or not plain:
        # It may hold a password, so it is not shown.
        problem = "is not the base URL of a server"
        raise InvalidInput("the S3 endpoint", problem, "write http://host:port or https://host, without user or query")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    shown_port = "" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown_port}{parts.path.rstrip('/')}"


def bucket_url(bucket: str, region: str, endpoint: str = "", *, path_style: bool | None = None) -> str:
    """Return the URL below which the objects of a bucket are.

    Args:
        bucket: The bucket.
        region: Its region, which is a part of Amazon's host names.
        endpoint: Base URL of another server; empty means Amazon's of the region.
        path_style: Whether the bucket goes into the path. None leaves it in the host's name where that surely works:
            at Amazon, for a name that a certificate for all buckets covers.
    """
    if path_style is None:
        path_style = bool(endpoint) or not _HOST_LABEL.fullmatch(bucket)
    base = endpoint or f"https://s3.{region}.{_suffix(region)}"
    if path_style:
        return f"{base}/{bucket}"
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{bucket}.{rest}"


def object_url(base: str, key: str) -> str:
    """Return the URL of an object of the bucket that is at the base; escaped as signatures have it."""
    return f"{base}/{quote(key, safe='/-_.~')}"


def listing_url(base: str, prefix: str, token: str = "") -> str:
    """Return the URL of the keys that begin with the prefix, or of how their list goes on from a token."""
    query = {"continuation-token": token, "encoding-type": "url", "list-type": "2", "prefix": prefix}
    shown = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in query.items() if value)
    # A path is what is signed, so there must be one; a bucket in it has no slash behind it.
    return f"{base}{'' if urlsplit(base).path else '/'}?{shown}"


def _suffix(region: str) -> str:
    return next((suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
