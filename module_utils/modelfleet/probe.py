"""Whether a model's answer is the expected one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ProbeFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .adapters.tfserving import Prediction


@dataclass(frozen=True)
class Expectation:
    """What an answer must be.

    Attributes:
        outputs: Expected value by output name; outputs not named are not compared.
        tolerance: How far a number may be from the expected one, absolutely.
        max_latency_ms: The longest time the answer may take, in milliseconds; None for any.
    """

    outputs: Mapping[str, Any]
    tolerance: float = 1e-5
    max_latency_ms: float | None = None


def verify(subject: str, prediction: Prediction, expectation: Expectation) -> None:
    """Compare an answer with what was expected.

    Raises:
        ProbeFailed: an output is missing or differs, or the answer took too long; the first difference is named.
    """
    where = f"{subject} version {prediction.version}"
    for name, expected in expectation.outputs.items():
        if name not in prediction.outputs:
            known = ", ".join(prediction.outputs)
            raise ProbeFailed(where, f"has no output {name}", f"expect one of: {known}")
        difference = _difference(expected, prediction.outputs[name], expectation.tolerance, name)
        if difference:
            raise ProbeFailed(where, difference, "serve another version, or correct the expectation")
    limit = expectation.max_latency_ms
    if limit is not None and prediction.seconds * 1000 > limit:
        raise ProbeFailed(
            where, f"took {prediction.seconds * 1000:.1f} ms, more than {limit:g} ms", "look at the node's load"
        )


def _difference(expected: object, actual: object, tolerance: float, at: str) -> str:
    """Return the first difference of two nested values, or an empty text."""
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return f"{at} has {len(actual)} values, expected {len(expected)}"
        pairs = enumerate(zip(expected, actual))
        return next((text for i, (e, a) in pairs if (text := _difference(e, a, tolerance, f"{at}[{i}]"))), "")
    numbers = (int, float)
    if isinstance(expected, numbers) and isinstance(actual, numbers) and not isinstance(expected, bool):
        # Two NaNs are the same answer; an infinity is equal to itself only.
        same = (math.isnan(expected) and math.isnan(actual)) or math.isclose(
            expected, actual, rel_tol=0.0, abs_tol=tolerance
        )
        return "" if same else f"{at} is {actual!r}, expected {expected!r}"
    return "" if expected == actual else f"{at} is {actual!r}, expected {expected!r}"
