"""Reading the JSON of a request of the HTTP API."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any, TypeGuard

from .rest_json_text import shown
from .rpc_status import Code, StatusError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The decoder's own words, and what the API says instead.
_SYNTAX_ERRORS = (
    ("Expecting value", "Invalid value."),
    ("Expecting property name", "Missing a name for object member."),
    ("Illegal trailing comma before end of object", "Missing a name for object member."),
    ("Expecting ':'", "Missing a colon after a name of object member."),
    ("Unterminated string", "Missing a closing quotation mark in string."),
    ("Invalid control character", "Invalid encoding in string."),
    ("Invalid \\escape", "Invalid escape character in string."),
    ("Invalid \\uXXXX", "Incorrect hex digit after \\u escape in string."),
)


def invalid(text: str) -> StatusError:
    """Return the error of a request that cannot be understood."""
    return StatusError(Code.INVALID_ARGUMENT, text)


def _integer(text: str) -> int | float:
    """Return a JSON integer; one that 64 bits cannot hold becomes a decimal."""
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(text)


_DECODER = json.JSONDecoder(parse_int=_integer)
_BLANKS = " \t\n\r"


def _syntax_text(error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting ',' delimiter"):
        opened = _innermost(error.doc[: error.pos])
        end, what = ("}", "object member") if opened == "{" else ("]", "array element")
        return f"Missing a comma or {end} after an {what}."
    return next((text for words, text in _SYNTAX_ERRORS if error.msg.startswith(words)), error.msg)


def _innermost(text: str) -> str:
    """Return the bracket that is still open at the end of well-formed JSON text."""
    brackets: list[str] = []
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        if bracket in "{[":
            brackets.append(bracket)
        elif bracket in "}]":
            brackets.pop()
    return brackets[-1]


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body begins with; what follows it is ignored.

    Raises:
        StatusError: INVALID_ARGUMENT for anything but an object.
    """
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    start = len(text) - len(text.lstrip(_BLANKS))
    if start == len(text):
        raise invalid("JSON Parse error: The document is empty")
    try:
        document, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise invalid(f"JSON Parse error: {_syntax_text(error)} at offset: {offset}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply.") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the signature that a request names; empty for the default one.

    Raises:
        StatusError: INVALID_ARGUMENT for a name that is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def utf8(text: str) -> bytes:
    """Return the bytes that a JSON string stands for.

    Raises:
        StatusError: INVALID_ARGUMENT for half a surrogate pair.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None


def is_base64(value: object) -> TypeGuard[dict[str, str]]:
    """Return whether a JSON value is bytes: an object with the one key ``b64``."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: object) -> bytes:
    """Return the bytes of such an object; padding and line breaks do not matter.

    Raises:
        StatusError: INVALID_ARGUMENT for anything else.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None
