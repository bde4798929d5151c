"""JSON text in the form that the HTTP API shows it."""

from __future__ import annotations

import json
import math
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Longest piece of a request that an error text repeats, in bytes.
_SHOWN_BYTES = 256
_DATATYPES = {
    1: "float",
    2: "double",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "half",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}
#: What is neither listed nor a truth value is a number.
_TYPE_NAMES: dict[type, str] = {type(None): "Null", str: "String", list: "Array", dict: "Object"}


def datatype_name(dtype: int) -> str:
    """Return TensorFlow's name of a tensor type."""
    return _DATATYPES.get(dtype, f"unknown dtype enum ({dtype})")


def type_name(value: object) -> str:
    """Return the name of a JSON value's type."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES.get(type(value), "Number")


def _finish(text: str) -> str:
    if "." in text or "e" in text:
        return text
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text) or text + ".0"


def float_texts(values: Iterable[float]) -> list[str]:
    """Return 32-bit floats as text: six digits where they say it all, else nine; whole numbers end in ``.0``."""
    numbers = list(values)
    short = [f"{number:g}" for number in numbers]
    again = array("f", map(float, short))
    return [
        _finish(text if number == back or math.isnan(number) else f"{number:.9g}")
        for number, text, back in zip(numbers, short, again, strict=True)
    ]


def double_texts(values: Iterable[float]) -> list[str]:
    """Return 64-bit floats as text: six digits where they say it all, else seventeen."""
    result = []
    for number in values:
        text = f"{number:g}"
        result.append(_finish(text if float(text) == number or math.isnan(number) else f"{number:.17g}"))
    return result


def shown(value: object) -> str:
    """Return a JSON value for an error text, cut where it is long."""
    if isinstance(value, float):
        return double_texts([value])[0]
    text = json.dumps(value, indent=4, ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape")[:_SHOWN_BYTES].decode("utf-8", "ignore")
