"""Equal budgets: the options of a method that spend at most so many numbers on a layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from surm_lite.adapters.registry import make_method
from surm_lite.matrices.kronecker import factor_shapes


def options_for_budget(method: str, m: int, n: int, budget: int) -> dict[str, Any]:
    """The options with which a method spends as much of a budget as it can, and no more.

    Args:
        method: a name of `sl.methods()`.
        m, n: size of the layer's weight.
        budget: trained numbers a layer.

    Returns:
        Options for `sl.adapt`; of several choices with the same count, the one with the highest rank.

    Raises:
        ValueError: an unknown method, or one that cannot say so few numbers; the message names its smallest count.

    Cost:
        O(number of candidates): the divisors of m and n.

    Example:
        >>> options_for_budget("lora", 768, 768, 3_072), options_for_budget("circulant", 768, 768, 3_072)
        ({'rank': 2}, {'block': 192})

    Taught in:
        22_what_moves_accuracy
    """
    sized = [(make_method(method, options).n_params(m, n), options) for options in _candidates(method, m, n)]
    fitting = [(size, _rank(method, m, n, options), options) for size, options in sized if size <= budget]
    if not fitting:
        smallest = min(size for size, _ in sized)
        raise ValueError(
            f"budget: got {budget} numbers a layer; the smallest {method} update of {m} x {n} has {smallest}"
        )
    return max(fitting, key=lambda one: one[:2])[2]


def _divisors(k: int) -> list[int]:
    return [d for d in range(1, k + 1) if k % d == 0]


def _candidates(method: str, m: int, n: int) -> Iterator[dict[str, Any]]:
    if method == "circulant":
        yield from ({"block": block} for block in _divisors(math.gcd(m, n)))
    elif method == "kronecker":
        yield from ({"a_shape": (m1, n1)} for m1 in _divisors(m) for n1 in _divisors(n))
    elif "rank" in make_method(method, {}).options():
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))
    else:
        yield {}


def _rank(method: str, m: int, n: int, options: dict[str, Any]) -> int:
    """Highest rank that the update can have; only Kronecker shapes of equal count differ in it."""
    if method != "kronecker":
        return 0
    a, b = factor_shapes(m, n, options["a_shape"])
    return min(a) * min(b)
