"""Reading the JSON of a request of the HTTP API."""

from __future__ import annotations

import base64
import binascii
import json
import math
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


class _NumberTooBig(Exception):
    """A number in the text is beyond the range of a double; the text of the number is the argument."""


def _decimal(text: str) -> float:
    value = float(text)
    if value in _INFINITE:
        raise _NumberTooBig(text)
    return value


def _integer(text: str) -> int | float:
    """Return a JSON integer; one that 64 bits cannot hold becomes a decimal."""
    if len(text) > _MAX_INTEGER_CHARACTERS:
        return _decimal(text)
    value = int(text)
    return value if -(2**63) <= value < 2**64 else float(text)


_INFINITE = (math.inf, -math.inf)
#: A sign and the digits of 2**64.
_MAX_INTEGER_CHARACTERS = 21
_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_decimal)
_BLANKS = " \t\n\r"
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKEN = re.compile(rf"(?s){_STRING}|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_CONSTANT = re.compile(rf"(?s){_STRING}|(-?(?:NaN|Inf(?:inity)?))")
_ESCAPE = re.compile(r"(?s)\\u([dD][89abAB]..)\\u[dD][c-fC-F]..|\\u([dD][89a-fA-F]..)|\\.")


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


def _syntax_error(text: str, position: int, words: str) -> StatusError:
    offset = len(text[:position].encode("utf-8", "surrogateescape"))
    return invalid(f"JSON Parse error: {words} at offset: {offset}")


def _check_surrogates(text: str, end: int) -> None:
    """Refuse half a surrogate pair in the escapes of well-formed JSON text."""
    if "\\ud" not in text and "\\uD" not in text:
        return
    for escape in _ESCAPE.finditer(text, 0, end):
        if escape[2] is not None:
            raise _syntax_error(text, escape.start(), "The surrogate pair in string is invalid.")


def _decode(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at ``start``, and where it ends.

    The API knows more spellings of the infinite numbers than the decoder does. They are put in as ``NaN``, with blanks
    so that no offset changes, and get their values in the order in which the decoder meets them.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if not text.startswith(("Inf", "-Inf", "-NaN"), error.pos):
            raise
    constants = (float(match[1]) for match in _CONSTANT.finditer(text, start) if match[1])
    spelled = _CONSTANT.sub(lambda match: "NaN".ljust(len(match[1])) if match[1] else match[0], text[start:])
    decoder = json.JSONDecoder(parse_int=_integer, parse_float=_decimal, parse_constant=lambda _: next(constants))
    return decoder.raw_decode(text[:start] + spelled, start)


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
        document, end = _decode(text, start)
    except json.JSONDecodeError as error:
        _check_surrogates(text, error.pos)
        raise _syntax_error(text, error.pos, _syntax_text(error)) from error
    except _NumberTooBig as error:
        # The text up to this number is well-formed, so the first token that reads like it is the one.
        position = next(token.start() for token in _TOKEN.finditer(text, start) if token[0] == error.args[0])
        _check_surrogates(text, position)
        raise _syntax_error(text, position, "Number too big to be stored in double.") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply.") from error
    _check_surrogates(text, end)
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
    return utf8(name).decode("utf-8", "replace")


def utf8(text: str) -> bytes:
    """Return the bytes that a JSON string stands for; the body may hold any."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Return whether the bytes of a JSON string are text."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


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
