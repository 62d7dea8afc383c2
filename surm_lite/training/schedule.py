"""The learning rate over a run, as a function of how far it is: nothing to store in a checkpoint."""

from __future__ import annotations

import math

SCHEDULES = {"onecycle": 0.3, "cosine": 0.0, "constant": 0.0}
"""Each schedule with the share of the run in which it warms up, unless `warmup` says otherwise."""


def schedule_factor(schedule: str, progress: float, warmup: float | None = None) -> float:
    """Share of the peak learning rate at a point of the run: "onecycle", "cosine" or "constant".

    $$ \\text{onecycle}: \\text{linear from } 1/25 \\text{ to } 1 \\text{ over the first } 30\\,\\%,
       \\text{ then } \\tfrac12 (1 + \\cos \\pi t) $$

    Args:
        schedule: "onecycle" and "cosine" are one curve with and without a warm-up; "constant" never falls.
        progress: share of the steps that are done, from 0 to 1.
        warmup: share of the steps in which the rate rises; None: 0.3 for "onecycle", else 0.

    Returns:
        float: between 0 and 1.

    Example:
        >>> [round(schedule_factor("onecycle", p), 2) for p in (0.0, 0.3, 0.65, 1.0)]
        [0.04, 1.0, 0.5, 0.0]
        >>> [round(schedule_factor("cosine", p, warmup=0.1), 2) for p in (0.0, 0.1, 0.55, 1.0)]
        [0.04, 1.0, 0.5, 0.0]
    """
    warm = SCHEDULES[schedule] if warmup is None else warmup
    if progress < warm:
        return 0.04 + 0.96 * progress / warm
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))
