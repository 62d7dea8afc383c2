"""Equal budgets: the options of a method that spend at most so many numbers on a layer."""

from __future__ import annotations

from typing import Any

from surm_lite.adapters.methods.registry import METHODS, make_method
from surm_lite.adapters.options import near
from surm_lite.matrices.arguments import check_length, check_whole


def options_for_budget(method: str, m: int, n: int, budget: int) -> dict[str, Any]:
    """The options with which a method spends as much of a budget as it can, and no more.

    Args:
        method: a name of `sl.methods()`.
        m, n: size of the layer's weight.
        budget: trained numbers a layer.

    Returns:
        Options for `sl.adapt`; of several choices with the same count, the one that the method prefers.

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
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(near("method", str(method), METHODS))
    check_whole(budget, "budget", least=0)
    check_length(m, "m")
    check_length(n, "n")
    sized = []
    for options in make_method(method, {}).sizes(m, n):
        try:
            sized.append((make_method(method, options).n_params(m, n), options))
        except ValueError:  # an option that does not fit this layer is no candidate
            continue
    fitting = [(size, k, options) for k, (size, options) in enumerate(sized) if size <= budget]
    if not fitting:
        smallest = min((size for size, _ in sized), default="no size")
        raise ValueError(
            f"budget: got {budget} numbers a layer; the smallest {method} update of {m} x {n} has {smallest}"
        )
    return max(fitting, key=lambda one: one[:2])[2]  # of equals the last
