"""How long a plan will take, told before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from statistics import mean

import torch

from surm_lite.comparison.measure import first_batches, step_times, typical_step
from surm_lite.comparison.plan import Plan
from surm_lite.data import LabelledSet
from surm_lite.files import json_object
from surm_lite.training.train import train


@dataclass(frozen=True)
class Outlook:
    """Runs of a plan that are kept in a folder, those that are missing, and seconds of training for each of these.

    Example:
        >>> print(Outlook(kept=5, missing=180, seconds=80.0))
        185 runs, 5 of them kept: about 4.0 hours of training for the others, 80 s each
    """

    kept: int
    missing: int
    seconds: float

    def __str__(self) -> str:
        told = f"{self.kept + self.missing} runs, {self.kept} of them kept"
        if not self.missing:
            return told
        hours = self.missing * self.seconds / 3600
        return f"{told}: about {hours:.1f} hours of training for the others, {self.seconds:.2g} s each"


def outlook(plan: Plan, folder: Path, sets: Mapping[int | None, LabelledSet], device: torch.device) -> Outlook:
    """The seconds are those of the kept runs where there are any, else a trial of three steps tells them.

    Rates beyond those of the plan (`widen`) are not foreseen.
    """
    kept = [
        path
        for examples, name, arm in plan.cases()
        for seed in arm.seeds
        for path in folder.glob(f"{escape(name)}-{examples or 'all'}-lr*-seed{seed}.json")
    ]
    missing = max(plan.n_runs - len(kept), 0)
    known = [seconds for seconds in map(_seconds, kept) if seconds is not None]
    if known or not missing:
        return Outlook(len(kept), missing, mean(known or [0.0]))
    data = next(iter(sets.values()))
    with step_times(device) as moments:
        train(
            plan.build(next(iter(plan.arms)), data, device=device), first_batches(data, plan.batch_size), epochs=3,
            batch_size=plan.batch_size, device=device, progress=False,
        )  # fmt: skip
    # A forward alone takes a third of a step.
    judged = (len(data.validation) + len(data.test)) / (3 * plan.batch_size)
    steps = mean(plan.passes(n) * math.ceil(n / plan.batch_size) for n in (len(one.train) for one in sets.values()))
    return Outlook(0, missing, (steps + judged) * (typical_step(moments) or 0.0))


def _seconds(path: Path) -> float | None:
    """What a kept run took; None where it diverged or is damaged, which `compare` will say."""
    try:
        return float(json_object(path.read_text(encoding="utf-8"))["record"]["seconds"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
