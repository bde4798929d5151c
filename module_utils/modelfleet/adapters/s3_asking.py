"""How a bucket is asked: where, as whom, and what its refusals teach about both."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .http_errors import host_of
from .s3_address import (
    DEFAULT_REGION,
    bucket_url,
    checked_bucket,
    checked_endpoint,
    checked_region,
    stated_endpoint,
    stated_region,
)
from .s3_credentials import Signer
from .s3_errors import error_of, may_be_outdated
from .s3_xml import fault_of, region_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import ModelfleetError
    from ..waiting import Clock
    from .access import Access
    from .s3_credentials import Signed
    from .transport import Answer

#: Answers that may come from another region's servers, or from servers that want another region's signature.
_OTHER_REGION = frozenset({301, 307, 400, 403})


class Asking:
    """What all requests to one bucket have in common; for many threads.

    Attributes:
        bucket: Its name.
        signer: Who signs; None when it is asked without credentials.
    """

    def __init__(self, bucket: str, access: Access, clock: Clock) -> None:
        """Find out from the settings and the environment where the bucket is.

        Raises:
            InvalidInput: the bucket, the endpoint or the region cannot be one.
        """
        self.bucket = checked_bucket(bucket)
        self._region = stated_region(access, os.environ)
        self._endpoint = stated_endpoint(access, os.environ)
        self._path_style = access.s3_path_style
        self.signer = None if access.anonymous else Signer(access, clock)
        self._lock = threading.Lock()
        self._settled = access.anonymous

    def place(self) -> tuple[str, str]:
        """Return the URL below which the bucket's objects are, and the bucket's region.

        Raises:
            InvalidInput: the profile in use names what is no endpoint or region.
            SourceForbidden: the profile in use cannot be read.
        """
        with self._lock:
            if self.signer and not self._settled:
                endpoint = self._endpoint or self.signer.profile("endpoint_url")
                self._endpoint = checked_endpoint(endpoint) if endpoint else ""
                self._region = self._region or checked_region(self.signer.profile("region") or DEFAULT_REGION)
                self._settled = True
            region = self._region or DEFAULT_REGION
        return bucket_url(self.bucket, region, self._endpoint, path_style=self._path_style), region

    def move(self, region: str) -> None:
        """Ask in another region from now on."""
        with self._lock:
            self._region = region


class Attempt:
    """One attempt to ask a bucket something.

    Attributes:
        base: URL below which the bucket's objects are.
        moved: Whether a refusal told that they are at another URL.
    """

    def __init__(self, asking: Asking, subject: str) -> None:
        self.base, self._region = asking.place()
        self.moved = False
        self._asking = asking
        self._subject = subject
        self._signed: Signed | None = None

    def sign(self, method: str, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers to send, signed unless the bucket is asked without credentials.

        Raises:
            SourceForbidden: there are no credentials, or incomplete ones.
            SourceUnavailable: whoever grants them does not answer.
        """
        if self._asking.signer is None:
            return headers
        # A proxy may rewrite this one.
        own = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}
        self._signed = self._asking.signer.signed(method, url, own, self._region)
        return {**headers, **self._signed.headers}

    def again(self, answer: Answer) -> bool:
        """Return whether a refusal taught something that makes the same request worth repeating.

        Raises:
            SourceForbidden: the credentials were refused and there are no others any more.
            SourceUnavailable: they were refused, and whoever grants others does not answer.
        """
        fault = fault_of(answer.body)
        region = region_name(answer.headers.get("x-amz-bucket-region", "")) or fault.region
        if answer.status in _OTHER_REGION and region and region != self._region:
            self._asking.move(region)
            base, self._region = self._asking.place()
            self.moved = base != self.base
            return not self.moved
        if self._signed is None or self._asking.signer is None or not may_be_outdated(answer.status, fault):
            return False
        return self._asking.signer.renewed(self._signed)

    def refused(self, answer: Answer) -> ModelfleetError | None:
        """Return the error that a refusal stands for; None for one that any server may give."""
        return error_of(self._subject, self._asking.bucket, host_of(answer.url), answer.status, fault_of(answer.body))
