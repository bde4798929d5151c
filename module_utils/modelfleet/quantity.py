"""Amounts of bytes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

from .errors import InvalidInput

_DECIMAL = "kMGTPE"
_UNITS = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "K": Fraction(10**3),
    **{unit: Fraction(10 ** (3 * power)) for power, unit in enumerate(_DECIMAL, 1)},
    **{f"{unit.upper()}i": Fraction(2 ** (10 * power)) for power, unit in enumerate(_DECIMAL, 1)},
}
_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})\s*"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,2})|(?P<unit>[numkKMGTPE]|[KMGTPE]i)?B?)"
)
#: Amounts are below this everywhere, as in signed 64-bit integers.
_LIMIT = 2**63
_REMEDY = "write 512Mi, 1Gi, 1G, or a number of bytes"


def parse_bytes(text: str | float, what: str) -> int:
    """Return a number of bytes, rounded up to a whole one.

    The spellings are those of quantities in Kubernetes: a number with ``k``, ``M``, ``G``, ``T``, ``P`` or ``E``
    (powers of 1000), with ``Ki`` to ``Ei`` (powers of 1024), with ``m``, ``u`` or ``n`` (small fractions), or with an
    exponent of ten (``1e9``). ``K``, a blank before the unit and a ``B`` after it are accepted as well.

    Raises:
        InvalidInput: the text is not such an amount, is less than one byte and not nothing, or does not fit into a
            signed 64-bit integer; ``what`` is named.
    """
    found = _QUANTITY.fullmatch(str(text).strip())
    if found is None:
        raise InvalidInput(what, f"{_shown(text)} is not an amount of bytes", _REMEDY)
    scale = _UNITS[found["unit"] or ""] * Fraction(10) ** int(found["exponent"] or 0)
    amount = Fraction(f"0{found['number']}".rstrip(".")) * scale
    if 0 < amount < 1:
        raise InvalidInput(what, f"{_shown(text)} is less than one byte ('m' means a thousandth)", _REMEDY)
    if amount >= _LIMIT:
        raise InvalidInput(what, f"{_shown(text)} is more than there can be", _REMEDY)
    return ceil(amount)


def show_bytes(amount: int) -> str:
    """Return a number of bytes for people, with at most one digit behind the point: ``1.5 GiB``, ``20 bytes``."""
    for power, unit in reversed(list(enumerate(_DECIMAL.upper(), 1))):
        if amount >= 2 ** (10 * power):
            return f"{amount / 2 ** (10 * power):.1f}".replace(".0", "") + f" {unit}iB"
    return f"{amount} byte" if amount == 1 else f"{amount} bytes"


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= len(str(_LIMIT)) * 2 else f"{shown[:20]}…"
