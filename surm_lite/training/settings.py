"""The arguments of a run that change its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .schedule import SCHEDULES, schedule_factor

Augment = Callable[[Tensor, torch.Generator], Tensor]
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How a model is trained; every field is an argument of `train`, where it is explained."""

    epochs: int
    lr: float
    head_lr: float | None
    batch_size: int
    accumulate: int
    weight_decay: float
    schedule: str
    warmup: float | None
    seed: int
    precision: str
    clip: float | None
    augment: Augment | None
    max_steps: int | None

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        for name in ("epochs", "batch_size", "accumulate", "max_steps", "lr", "head_lr", "clip"):
            check_positive(name, getattr(self, name))
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay: got {self.weight_decay!r}, need a number of at least 0")
        if self.warmup is not None and not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: got {self.warmup!r}, need a share of the steps, at least 0 and below 1")

    def options(self) -> dict[str, Any]:
        """The fields as JSON values, for a record."""
        name = None if self.augment is None else getattr(self.augment, "__name__", str(self.augment))
        return dataclasses.asdict(self) | {"augment": name}

    def factor(self, progress: float) -> float:
        """Share of the peak learning rate, see `schedule_factor`."""
        return schedule_factor(self.schedule, progress, self.warmup)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, need one of {', '.join(choices)}")


def check_positive(name: str, value: int | float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{name}: got {value!r}, need a positive number")
