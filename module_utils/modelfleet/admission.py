"""Which models may use the memory of a node.

What runs is never given up for a newcomer. A model that does not fit is left as it is: not brought where it is not
there yet, not changed where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import NoMemory
from .quantity import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Claim:
    """What one model announces.

    Attributes:
        model: Its name.
        each: Memory of one version, in bytes.
        wanted: How many versions would be in memory; 0 where that cannot be told now.
        held: How many are in memory already, as far as the disk tells.
    """

    model: str
    each: int
    wanted: int
    held: int = 0

    @property
    def need(self) -> int:
        """Bytes that the model would take; never less than it takes."""
        return self.each * max(self.wanted, self.held)

    @property
    def taken(self) -> int:
        """Bytes that it takes now."""
        return self.each * self.held


def admit(claims: Iterable[Claim], budget: int) -> dict[str, NoMemory]:
    """Return the models that do not fit, each with the reason, ordered by name.

    What models on the node take counts first, the smallest first, so that one that announces too much does not push
    out others. Then they may grow, and then newcomers come, each by name; whoever does not fit is passed over.

    Args:
        claims: What the models announce; those that announce nothing take nothing.
        budget: Bytes that the node has for models.
    """
    ordered = sorted(claims, key=lambda claim: claim.model)
    taken = 0
    refused: dict[str, NoMemory] = {}
    for claim in sorted(ordered, key=lambda claim: claim.taken):
        if claim.taken > max(budget - taken, 0):
            refused[claim.model] = _no_memory(claim, budget - taken, budget)
        taken += claim.taken
    for claim in sorted(ordered, key=lambda claim: not claim.held):
        growth = claim.need - claim.taken
        if claim.model in refused or not growth:
            continue
        if taken + growth <= budget:
            taken += growth
        else:
            refused[claim.model] = _no_memory(claim, budget - taken + claim.taken, budget)
    return dict(sorted(refused.items()))


def _no_memory(claim: Claim, free: int, budget: int) -> NoMemory:
    need = show_bytes(claim.need)
    count = claim.need // claim.each
    parts = f" ({count} versions of {show_bytes(claim.each)})" if count > 1 else ""
    stays = "it stays as it is" if claim.held else "it is not brought"
    return NoMemory(
        f"model {claim.model}",
        f"announces {need} of memory{parts}, and {show_bytes(max(free, 0))} of this node's {show_bytes(budget)} are "
        f"left for it; {stays}",
        "raise the node's budget, want fewer models or versions, or announce less",
    )
