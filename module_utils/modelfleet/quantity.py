"""Amounts of bytes as people write them."""

from __future__ import annotations

import re

from .errors import InvalidInput

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]i?)?B?")


def parse_bytes(text: str | int, what: str) -> int:
    """Return a number of bytes from ``512``, ``1Gi`` (binary) or ``1G`` (decimal).

    Raises:
        InvalidInput: the text is not such an amount; ``what`` is named.
    """
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None:
        raise InvalidInput(what, f"{text!r} is not an amount of bytes", "write 512Mi, 1Gi, 1G, or a number of bytes")
    return int(float(found["number"]) * _UNITS[found["unit"] or ""])
