"""What a service answers over HTTP, described once: routing, OpenAPI and the page for people follow from it."""

from __future__ import annotations

import base64
import hashlib
import html
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

JSON_TYPE = "application/json"
HTML_TYPE = "text/html; charset=utf-8"
DESCRIPTION_PATH, PAGE_PATH = "/openapi.json", "/docs"
_BEARER = "token"
_ERROR = "Error"
_CHANGES = "POST"

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "subject", "problem", "remedy"],
            "properties": {
                "code": {"type": "string", "description": "Stable reason in upper case."},
                "subject": {"type": "string", "description": "What the error is about."},
                "problem": {"type": "string", "description": "What is wrong with it."},
                "remedy": {"type": "string", "description": "The next step for a person; may be empty."},
            },
        }
    },
}


@dataclass(frozen=True)
class Reply:
    """What an operation answers.

    Attributes:
        content: Plain data for JSON, a text for any other type.
        status: HTTP status.
        media_type: The type of the content.
    """

    content: Any
    status: HTTPStatus = HTTPStatus.OK
    media_type: str = JSON_TYPE


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation.

    Attributes:
        method: ``GET``, or ``POST`` for what changes something; callers show the token for the latter.
        path: Its path.
        name: Its name in OpenAPI.
        summary: One line.
        run: Does it; called in a thread, with the request's body (empty for ``GET``).
        answers: Meaning of each status that is no error.
        schema: Of the answer; None when it is not JSON.
        media_type: The answer's type.
        body: Schema of the request's body; None when it has none.
        errors: Meaning of each error of its own; those that every operation has are known.
    """

    method: str
    path: str
    name: str
    summary: str
    run: Callable[[Mapping[str, Any]], Reply]
    answers: Mapping[HTTPStatus, str]
    schema: Mapping[str, Any] | None
    media_type: str = JSON_TYPE
    body: Mapping[str, Any] | None = None
    errors: Mapping[HTTPStatus, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return self.method == _CHANGES


@dataclass(frozen=True, kw_only=True)
class Api:
    """Everything that a service answers.

    Attributes:
        title: Name of the service.
        version: Its version.
        operations: What it answers.
        schemas: What the operations' schemas refer to, by name.
    """

    title: str
    version: str
    operations: Sequence[Operation]
    schemas: Mapping[str, Mapping[str, Any]]


def _answer(meaning: str, media_type: str, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    content = {media_type: {"schema": dict(schema)} if schema is not None else {"schema": {"type": "string"}}}
    return {"description": meaning, "content": content}


def _described(operation: Operation) -> dict[str, Any]:
    """Return the OpenAPI object of one operation."""
    failures = {HTTPStatus.SERVICE_UNAVAILABLE: "The service does not answer in time."}
    if operation.changes:
        failures |= {
            HTTPStatus.BAD_REQUEST: "The body is not what the operation takes.",
            HTTPStatus.UNAUTHORIZED: "The token is missing or wrong.",
            HTTPStatus.FORBIDDEN: "The service has no token, and the call does not come from its own machine.",
            HTTPStatus.REQUEST_TIMEOUT: "The body does not arrive.",
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than 64 KiB.",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not JSON.",
        }
    failures |= operation.errors
    error = {"$ref": f"#/components/schemas/{_ERROR}"}
    answers = {status: _answer(meaning, JSON_TYPE, error) for status, meaning in failures.items()}
    answers |= {
        status: _answer(meaning, operation.media_type, operation.schema)
        for status, meaning in operation.answers.items()
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {str(int(status)): answers[status] for status in sorted(answers)},
    }
    if operation.changes:
        described["security"] = [{_BEARER: []}]
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON_TYPE: {"schema": dict(operation.body)}}}
    return described


def openapi(api: Api) -> dict[str, Any]:
    """Return the OpenAPI document of a service."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in api.operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": api.title, "version": api.version},
        "paths": paths,
        "components": {
            "schemas": {_ERROR: ERROR_SCHEMA, **{name: dict(schema) for name, schema in api.schemas.items()}},
            "securitySchemes": {
                _BEARER: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of the service's token file; not needed where it has none.",
                }
            },
        },
    }


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.4rem .8rem;border-bottom:1px solid #d5dae0;vertical-align:top}"
    "code{font-family:ui-monospace,monospace}"
)

#: The page loads nothing and runs nothing; only its own style is let in.
PAGE_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    + "'"
)


def page(api: Api) -> str:
    """Return the page that lists the operations for people."""
    rows = "".join(
        f"<tr><td><code>{html.escape(operation.method)}&nbsp;{html.escape(operation.path)}</code></td>"
        f"<td>{html.escape(operation.summary)}{_fields(operation)}</td>"
        f"<td>{'yes' if operation.changes else 'no'}</td></tr>"
        for operation in api.operations
    )
    shown = html.escape(f"{api.title} {api.version}")
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{shown}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{shown}</h1>"
        "<p>Operations that change something take the header <code>Authorization: Bearer &lt;token&gt;</code> where "
        "the service has a token file. Errors are JSON: <code>code</code>, <code>subject</code>, <code>problem</code>, "
        f'<code>remedy</code>. For programs: <a href="{DESCRIPTION_PATH}">{DESCRIPTION_PATH}</a>.</p>'
        f"<table><thead><tr><th>operation</th><th>meaning</th><th>token</th></tr></thead><tbody>{rows}</tbody></table>"
        "</body></html>\n"
    )


def _fields(operation: Operation) -> str:
    """Return what the body of an operation holds."""
    if operation.body is None:
        return ""
    required = operation.body.get("required", ())
    names = ", ".join(
        f"<code>{html.escape(name)}</code>" + ("" if name in required else " (optional)")
        for name in operation.body["properties"]
    )
    return f"<br>Body: {names}"
