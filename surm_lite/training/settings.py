"""The arguments of a run that change its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.data import AUGMENTATIONS, Split
from surm_lite.data.arguments import check_choice, check_count, check_number, check_positive, check_seed
from surm_lite.evaluate import PRECISIONS
from surm_lite.training.optimizer import Factory, describe
from surm_lite.training.schedule import SCHEDULES, schedule_factor

Augment = Callable[[Tensor, torch.Generator], Tensor]
RATES = 1e30  # optimisers multiply and divide them, in float32, which ends at 3e38


@dataclass(frozen=True)
class Settings:
    """How a model is trained; every field is an argument of `train`, where it is explained."""

    epochs: int
    lr: float
    head_lr: float | None
    batch_size: int
    accumulate: int
    weight_decay: float
    optimizer: Factory | None
    schedule: str
    warmup: float | None
    seed: int
    precision: str
    clip: float | None
    augment: Augment | str | None
    max_steps: int | None
    patience: int | None

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        for check, names in (
            (check_count, ("epochs", "batch_size", "accumulate", "max_steps", "patience")),
            (check_positive, ("lr", "head_lr", "clip")),
        ):
            for name in names:
                if getattr(self, name) is not None or name in ("epochs", "batch_size", "accumulate", "lr"):
                    check(name, getattr(self, name))
        check_seed("seed", self.seed)
        check_number("weight_decay", self.weight_decay, "a number of at least 0")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay: got {self.weight_decay!r}, need a number of at least 0")
        for name in ("lr", "head_lr", "weight_decay"):
            if (getattr(self, name) or 0) >= RATES:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, need a number below {RATES:g}, for float32")
        if self.warmup is not None:
            check_number("warmup", self.warmup, "a share of the steps")
            if not 0 <= self.warmup < 1:
                raise ValueError(f"warmup: got {self.warmup!r}, need a share of the steps, at least 0 and below 1")
        if isinstance(self.augment, str):
            check_choice("augment", self.augment, AUGMENTATIONS)
        elif self.augment is not None and not callable(self.augment):
            raise TypeError(
                f"augment: got {self.augment!r}, need a function of a batch and a generator, or one of "
                f"{', '.join(AUGMENTATIONS)}, or None"
            )
        describe(self.optimizer, self.weight_decay)
        for name in ("lr", "head_lr", "weight_decay", "warmup", "clip"):  # whatever kind of number: a record has floats
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))

    def augmented(self, batch: Split, chance: torch.Generator) -> Split:
        """The batch as `augment` changes it."""
        if self.augment is None:
            return batch
        augment = AUGMENTATIONS[self.augment] if isinstance(self.augment, str) else self.augment
        try:
            made = augment(batch.inputs, chance)
        except TypeError as error:
            raise TypeError(f"augment: {self.augment!r} takes no inputs and generator ({error})") from error
        if not isinstance(made, Tensor) or made.dtype != batch.inputs.dtype or len(made) != len(batch):
            got = (
                f"{made.dtype} of shape {tuple(made.shape)}" if isinstance(made, Tensor) else f"a {type(made).__name__}"
            )
            raise ValueError(
                f"augment: gives {got} for {batch.inputs.dtype} of shape {tuple(batch.inputs.shape)}; need as many "
                "inputs of the same dtype"
            )
        return Split(made, batch.labels)

    def options(self) -> dict[str, Any]:
        """The fields as JSON values, for a record."""
        given = self.augment
        name = given if given is None or isinstance(given, str) else getattr(given, "__name__", str(given))
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return own | {"augment": name, "optimizer": describe(self.optimizer, self.weight_decay)}

    def factor(self, progress: float) -> float:
        """Share of the peak learning rate, see `schedule_factor`."""
        return schedule_factor(self.schedule, progress, self.warmup)
