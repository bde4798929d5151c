"""Reader of protobuf's text format, as far as configuration files of TensorFlow Serving need it.

The result is a plain tree without a schema: names, scalars and blocks with their positions. What a field means, and
whether it may repeat, is the caller's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from .errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Deepest nesting that is followed; configuration files need five levels.
MAX_DEPTH = 50
#: A byte, as an octal escape may say it.
_BYTE = 0xFF
#: Integers beyond this many digits are refused before they are converted.
MAX_DIGITS = 40

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n\v\f]+|\#[^\n]*)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>-?(?:0[xX][0-9A-Fa-f]+|[0-9]+)(?![\w.]))
  | (?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
  | (?P<mark>[{}<>\[\]:;,])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    rb"""\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9A-Fa-f]{1,2})|u(?P<short>[0-9A-Fa-f]{4})"""
    rb"""|U(?P<long>[0-9A-Fa-f]{8})|(?P<simple>[abfnrtv\\'"?])|(?P<bad>.?))""",
    re.DOTALL,
)
_SIMPLE = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
    b"\\": b"\\", b"'": b"'", b'"': b'"', b"?": b"?",
}  # fmt: skip
_CLOSING = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class Place:
    """A position in a source, for messages; lines and columns count from one."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Word:
    """A bare word: an enumeration value or a truth value."""

    text: str


#: A string stays apart from a bare word; a number is an integer, since no field here is a fraction.
Value = Union[int, str, Word, "Block"]


@dataclass(frozen=True)
class Field:
    """One field with one value; a list of values becomes as many fields."""

    name: str
    value: Value
    place: Place


@dataclass(frozen=True)
class Block:
    """A message: its fields in the order of the file."""

    fields: tuple[Field, ...]
    place: Place


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: Place

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else self.text


def read(text: str, source: str) -> Block:
    """Return the fields of a text-format message.

    Args:
        text: The content.
        source: What messages call it, usually a path.

    Raises:
        InvalidInput: it is not text format; the message names the place and what stands there.
    """
    return _Reader(text, source).message()


def escape(text: str) -> str:
    """Return a text as a double-quoted string of the format."""
    shown = []
    for character in text:
        if character in '"\\':
            shown.append(f"\\{character}")
        elif character.isprintable():
            shown.append(character)
        else:
            shown.extend(f"\\{byte:03o}" for byte in character.encode())
    return '"' + "".join(shown) + '"'


def _tokens(text: str, source: str) -> Iterator[_Token]:
    position, line, line_start = 0, 1, 0
    while position < len(text):
        place = Place(source, line, position - line_start + 1)
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _unreadable(place, f"{text[position : position + 20].splitlines()[0]!r} is not understood")
        chunk = match.group()
        if match.lastgroup != "blank":
            yield _Token(match.lastgroup, chunk, place)
        if "\n" in chunk:
            line += chunk.count("\n")
            line_start = position + chunk.rindex("\n") + 1
        position = match.end()
    yield _Token("end", "", Place(source, line, position - line_start + 1))


def _unreadable(place: Place, problem: str) -> InvalidInput:
    return InvalidInput(str(place), problem, "remove the file: the next deployment writes it anew")


class _Reader:
    """Recursive descent over the tokens of one source."""

    def __init__(self, text: str, source: str) -> None:
        self._stream = _tokens(text, source)
        self._next = next(self._stream)

    def message(self) -> Block:
        place = self._next.place
        return Block(tuple(self._fields("end", 0)), place)

    def _take(self) -> _Token:
        taken = self._next
        if taken.kind != "end":
            self._next = next(self._stream)
        return taken

    def _at(self, *marks: str) -> bool:
        return self._next.kind == "mark" and self._next.text in marks

    def _fields(self, closing: str, depth: int) -> Iterator[Field]:
        while not (self._next.kind == "end" and closing == "end") and not self._at(closing):
            token = self._take()
            if token.kind != "name":
                raise _unreadable(token.place, f"{token} stands where the name of a field should be")
            yield from self._values(token, depth)
            if self._at(";", ","):
                self._take()

    def _values(self, name: _Token, depth: int) -> Iterator[Field]:
        colon = self._at(":")
        if colon:
            self._take()
        if not self._at("["):
            yield Field(name.text, self._value(name, colon=colon, depth=depth), name.place)
            return
        self._take()
        while not self._at("]"):
            yield Field(name.text, self._value(name, colon=colon, depth=depth), name.place)
            if not self._at(","):
                break
            self._take()
            if self._at("]"):
                raise _unreadable(self._next.place, f"a value is missing in the list of {name.text}")
        if not self._at("]"):
            raise _unreadable(self._next.place, f"{self._next} stands where the list of {name.text} should end")
        self._take()

    def _value(self, name: _Token, *, colon: bool, depth: int) -> Value:
        token = self._take()
        if token.kind == "mark" and token.text in _CLOSING:
            return self._block(token, depth + 1)
        if not colon:
            raise _unreadable(token.place, f"{token} stands where ':' or '{{' should follow {name.text}")
        if token.kind == "string":
            return self._string(token)
        if token.kind == "number":
            return _number(token)
        if token.kind == "name":
            return Word(token.text)
        raise _unreadable(token.place, f"{token} stands where the value of {name.text} should be")

    def _block(self, opening: _Token, depth: int) -> Block:
        if depth > MAX_DEPTH:
            raise _unreadable(opening.place, f"blocks are nested more than {MAX_DEPTH} deep")
        closing = _CLOSING[opening.text]
        fields = tuple(self._fields(closing, depth))
        self._take()
        return Block(fields, opening.place)

    def _string(self, token: _Token) -> str:
        first = token
        content = _unescape(token)
        while self._next.kind == "string":
            content += _unescape(self._take())
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise _unreadable(first.place, f"the string is not UTF-8 ({error.reason})") from error


def _number(token: _Token) -> int:
    digits = token.text.lstrip("-")
    if len(digits) > MAX_DIGITS:
        raise _unreadable(token.place, f"the number {digits[:20]}… is too large")
    try:
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
        value = int(digits, 8 if octal else 0)
    except ValueError as error:
        raise _unreadable(token.place, f"{token} is not a number") from error
    return -value if token.text.startswith("-") else value


def _unescape(token: _Token) -> bytes:
    def replacement(match: re.Match[bytes]) -> bytes:
        if match["octal"] is not None and int(match["octal"], 8) <= _BYTE:
            return bytes([int(match["octal"], 8)])
        if match["hex"] is not None:
            return bytes([int(match["hex"], 16)])
        if match["simple"] is not None:
            return _SIMPLE[match["simple"]]
        digits = match["short"] or match["long"]
        try:
            return chr(int(digits, 16)).encode()
        except (TypeError, ValueError, OverflowError) as error:
            raise _unreadable(token.place, f"{match.group().decode()!r} is not an escape sequence") from error

    try:
        content = token.text[1:-1].encode()
    except UnicodeEncodeError as error:
        raise _unreadable(token.place, f"the string is not UTF-8 ({error.reason})") from error
    return _ESCAPE.sub(replacement, content)
