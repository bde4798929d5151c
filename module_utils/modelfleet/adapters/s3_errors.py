"""What S3's refusals mean to somebody who waits for a model."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from ..errors import SourceForbidden, SourceNotFound, SourceUnavailable

if TYPE_CHECKING:
    from ..errors import ModelfleetError
    from .s3_xml import Fault

_RENEW = "renew the credentials"
_CORRECT = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what stands in their place"
_ELSEWHERE = "correct the region or the endpoint"
_REMEDIES = {
    "AccessDenied": "allow these credentials s3:ListBucket on the bucket and s3:GetObject on what is in it",
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "ExpiredToken": _RENEW,
    "InvalidAccessKeyId": _CORRECT,
    "InvalidObjectState": "restore the object from the archive, or keep models in a storage class that can be read",
    "InvalidToken": _RENEW,
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": "set this machine's clock, and keep it by a time server",
    "SignatureDoesNotMatch": _CORRECT,
    "TokenRefreshRequired": _RENEW,
}
_OUTDATED = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_NOT_ABOUT_CREDENTIALS = frozenset({"InvalidObjectState", "RequestTimeTooSkewed"})


def may_be_outdated(status: int, fault: Fault) -> bool:
    """Return whether other credentials may be welcome where these were refused."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return fault.code not in _NOT_ABOUT_CREDENTIALS
    return fault.code in _OUTDATED


def error_of(subject: str, bucket: str, host: str, status: int, fault: Fault) -> ModelfleetError | None:
    """Return the error that a refusal of S3's own stands for; None for one that any server may give.

    Args:
        subject: What was asked for.
        bucket: The bucket.
        host: Who answered.
        status: The answer's HTTP status.
        fault: What it says.
    """
    said = f"{fault.code}: {fault.message}" if fault.message else fault.code
    if fault.code == "NoSuchBucket":
        problem = f"{host} does not know it ({said})"
        return SourceNotFound(f"bucket {bucket}", problem, f"make it, or correct its name; else {_ELSEWHERE}")
    if fault.code == "RequestTimeout":
        return SourceUnavailable(subject, f"{host} answers {said}", "it is tried again")
    client_error = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    particular = {
        HTTPStatus.NOT_FOUND,
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
    if not fault.code or not client_error or status in particular:
        return None
    return SourceForbidden(
        subject, f"{host} answers {said}", _REMEDIES.get(fault.code, "correct the bucket's settings")
    )
