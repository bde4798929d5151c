"""The shapes of what a puller tells, as JSON Schema."""

from __future__ import annotations

from typing import Any

from modelfleet.pull_status import PullState

REASON: dict[str, Any] = {
    "type": "object",
    "required": ["code", "subject", "problem", "remedy"],
    "properties": {name: {"type": "string"} for name in ("code", "subject", "problem", "remedy")},
}

_NUMBER = {"type": "number", "minimum": 0}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}

VERSION: dict[str, Any] = {
    "type": "object",
    "description": "One version of a model on its way to the disk; version 0 is the model as a whole.",
    "properties": {
        "model": _TEXT,
        "version": _COUNT,
        "state": {"type": "string", "enum": [state.value for state in PullState]},
        "code": {"type": "string", "description": "Reason of the last failure; empty without one."},
        "message": _TEXT,
        "remedy": _TEXT,
        "attempt": _COUNT,
        "next_retry_s": {"type": ["number", "null"], "description": "Seconds until the next attempt."},
        "bytes_done": _COUNT,
        "bytes_total": _COUNT,
        "bytes_per_s": _NUMBER,
        "since": {"type": "string", "description": "When it came into this state, ISO 8601 in UTC."},
    },
}
VERSION["required"] = list(VERSION["properties"])

_VERSIONS = {"type": "array", "items": {"$ref": "#/components/schemas/Version"}}
_LOOK_ERROR = {
    "type": ["object", "null"],
    "description": "Why manifest and repository could not be looked at; nothing is dropped because of it.",
}

STATUS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "node": _TEXT,
        "source": _TEXT,
        "manifest": _TEXT,
        "revision": _COUNT,
        "paused": {"type": "boolean"},
        "error": _LOOK_ERROR,
        "passes": _COUNT,
        "last_pass_at": _TEXT,
        "last_pass_s": _NUMBER,
        "next_pass_s": _NUMBER,
        "versions": _VERSIONS,
        "counters": {"type": "object", "additionalProperties": _COUNT},
        "oldest_pending_s": _NUMBER,
    },
}
STATUS["required"] = list(STATUS["properties"])

HEALTH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "healthy": {"type": "boolean"},
        "node": _TEXT,
        "reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}},
        "threads": {
            "type": "object",
            "description": "How long ago each thread showed life, and what it did then.",
            "additionalProperties": {
                "type": "object",
                "required": ["age_s", "doing"],
                "properties": {"age_s": _NUMBER, "doing": _TEXT},
            },
        },
    },
}
HEALTH["required"] = list(HEALTH["properties"])

READINESS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ready": {"type": "boolean"},
        "looked": {"type": "boolean", "description": "Whether manifest and repository were looked at since the start."},
        "error": _LOOK_ERROR,
        "missing": _COUNT,
        "versions": {**_VERSIONS, "description": "What is missing; the first hundred."},
    },
}
READINESS["required"] = list(READINESS["properties"])

ACCEPTED: dict[str, Any] = {
    "type": "object",
    "properties": {"paused": {"type": "boolean"}},
    "required": ["paused"],
}

CANCEL: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["model"],
    "properties": {
        "model": {"type": "string", "description": "Name of the model."},
        "version": {"type": "integer", "minimum": 1, "description": "One version of it; all of them without this."},
    },
}

CANCELLED: dict[str, Any] = {
    "type": "object",
    "required": ["cancelled"],
    "properties": {
        "cancelled": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["model", "version"],
                "properties": {"model": _TEXT, "version": _COUNT},
            },
        }
    },
}

SCHEMAS = {
    "Reason": REASON,
    "Version": VERSION,
    "Status": STATUS,
    "Health": HEALTH,
    "Readiness": READINESS,
    "Accepted": ACCEPTED,
    "Cancel": CANCEL,
    "Cancelled": CANCELLED,
}
