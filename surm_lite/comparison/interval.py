"""How far a mean of a few runs can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt
from statistics import mean, stdev

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The .975 quantile of Student's t for 1 to 9 degrees of freedom."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of independent runs and the half-width of its 95 % interval, by Student's t.

    Args:
        values: two to ten finite results, of one seed each.

    Returns:
        (mean, half): in 95 of 100 such experiments mean ± half holds what infinitely many seeds would give.

    Raises:
        ValueError: fewer than two or more than ten values, or one that is not finite.

    Example:
        >>> interval([0.80, 0.82, 0.84])
        (0.82, 0.0497)

    Taught in:
        41_leaderboard
    """
    if not 2 <= len(values) <= len(T95) + 1:
        raise ValueError(f"values: got {len(values)}, need 2 to {len(T95) + 1}, one a seed")
    if not all(map(isfinite, values)):
        raise ValueError(f"values: got {list(values)}, need finite numbers")
    half = T95[len(values) - 2] * stdev(values) / sqrt(len(values))
    return round(mean(values), 6), float(f"{half:.3g}")
