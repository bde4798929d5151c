"""Why a request over HTTP is refused."""

from __future__ import annotations

from http import HTTPStatus

from modelfleet.errors import DeadlineExceeded, InvalidInput, ModelfleetError, StoreBusy


class Refusal(ModelfleetError):
    """A request that is not carried out.

    Attributes:
        status: The answer's status.
    """

    status = HTTPStatus.BAD_REQUEST


class NoToken(Refusal):
    """A change was asked for without a token, or with a wrong one."""

    code = "UNAUTHORIZED"
    status = HTTPStatus.UNAUTHORIZED


class NotAllowed(Refusal):
    """A change was asked for by somebody who may not."""

    code = "FORBIDDEN"
    status = HTTPStatus.FORBIDDEN


class TokenUnusable(Refusal):
    """A change was asked for, and the service cannot tell who may: its own token is gone or open to others."""

    code = "TOKEN_UNUSABLE"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class NotFound(Refusal):
    """What a request names does not exist."""

    code = "NOT_FOUND"
    status = HTTPStatus.NOT_FOUND


class WrongMethod(Refusal):
    """The path does not take this method."""

    code = "METHOD_NOT_ALLOWED"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class Conflict(Refusal):
    """What a request asks for does not go together with the present state."""

    code = "CONFLICT"
    status = HTTPStatus.CONFLICT


class LateBody(Refusal):
    """The body of a request does not arrive."""

    code = "REQUEST_TIMEOUT"
    status = HTTPStatus.REQUEST_TIMEOUT


class LargeBody(Refusal):
    """The body of a request is larger than anything that is asked for."""

    code = "TOO_LARGE"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotJson(Refusal):
    """The body of a request is not announced as JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


_STATUS: tuple[tuple[type[ModelfleetError], HTTPStatus], ...] = (
    (InvalidInput, HTTPStatus.BAD_REQUEST),
    (StoreBusy, HTTPStatus.CONFLICT),
    (DeadlineExceeded, HTTPStatus.SERVICE_UNAVAILABLE),
)


def status_of(error: ModelfleetError) -> HTTPStatus:
    """Return the status of an answer that tells an error."""
    if isinstance(error, Refusal):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
