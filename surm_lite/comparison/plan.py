"""What a comparison is made of, before anything is run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from surm_lite import models
from surm_lite.adapters import adapt
from surm_lite.adapters.base import near
from surm_lite.adapters.registry import METHODS, make_method
from surm_lite.models import ViT, split_qkv

WHOLE = {"full": "every weight is trained", "head": "only the head is trained"}
QKV = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning, and the learning rates to choose from.

    Args:
        label: what tables and figures call it.
        lrs: peak learning rates to choose from, ascending; the choice is made on the validation part.
        method: a name of `sl.methods()`, "full" (every weight) or "head" (only the classifier).
        options: of the method.
        targets: which layers get it.
        pretrained: False starts from random weights.
        equal: whether the arm keeps the comparison's common budget.
        seeds: runs at the chosen learning rate; the first is also the seed of the choice.
    """

    label: str
    lrs: tuple[float, ...]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] = QKV
    pretrained: bool = True
    equal: bool = True
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        if not self.lrs or list(self.lrs) != sorted(set(self.lrs)) or not self.lrs[0] > 0:
            raise ValueError(f"lrs of {self.label!r}: got {self.lrs}, need positive rates, ascending, none twice")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds of {self.label!r}: got {self.seeds}, need at least one and none twice")
        if self.method not in WHOLE:
            make_method(self.method, dict(self.options))
        elif self.options:
            raise ValueError(f"options of {self.label!r}: got {dict(self.options)}, but {self.method!r} has none")


@dataclass(frozen=True)
class Plan:
    """A comparison: what is trained on what, and how each choice is made.

    Args:
        data: a name of `surm_lite.data.CATALOGUE`.
        arms: the ways of fine-tuning, by a short name.
        model: a name of `surm_lite.models.MODELS`; its query, key and value layers are split.
        images: sizes of the training part to compare at; None is the set's own size.
        epochs: passes over the training part.
        min_steps: a small training part is passed over more often, until it has this many steps.
        batch_size, head_lr, precision: as in `sl.train`.
        frozen: also measure what the frozen features can do (nearest neighbours, linear probe).
    """

    data: str
    arms: Mapping[str, Arm]
    model: str = "vit_s14"
    images: tuple[int | None, ...] = (None,)
    epochs: int = 4
    min_steps: int = 0
    batch_size: int = 32
    head_lr: float = 3e-3
    precision: str = "float32"
    frozen: bool = True

    def __post_init__(self) -> None:
        if self.model not in models.MODELS:
            raise ValueError(near("model", self.model, models.MODELS))
        if not self.arms:
            raise ValueError("arms: is empty, need at least one way of fine-tuning")

    @property
    def n_runs(self) -> int:
        """How many training runs the plan takes: the sweep, and the other seeds at the chosen rate."""
        return len(self.images) * sum(len(arm.lrs) + len(arm.seeds) - 1 for arm in self.arms.values())

    def build(self, name: str, *, classes: int = 10, seed: int = 0) -> ViT:
        """The model of one arm, ready for `train`."""
        arm, make = self.arms[name], models.MODELS[self.model]
        model = split_qkv(make(num_classes=classes, seed=seed))
        if not arm.pretrained:
            model = split_qkv(ViT(model.config, generator=torch.Generator().manual_seed(seed)))
        if arm.method in WHOLE:
            model.requires_grad_(arm.method == "full")
            model.head.requires_grad_(True)
        else:
            adapt(model, arm.method, arm.targets, seed=seed, **arm.options)
        return model

    def passes(self, n_images: int) -> int:
        """Epochs for a training part of this size."""
        return max(self.epochs, math.ceil(self.min_steps / math.ceil(n_images / self.batch_size)))

    def settings(self, name: str, images: int | None, lr: float, seed: int) -> dict[str, Any]:
        """Everything that decides the result of one run, in plain JSON types: what tells a kept run from another."""
        arm = self.arms[name]
        common = ("data", "model", "epochs", "min_steps", "batch_size", "head_lr", "precision")
        return {
            **{key: getattr(self, key) for key in common},
            "method": arm.method,
            "pretrained": arm.pretrained,
            "options": {key: list(value) if isinstance(value, tuple) else value for key, value in arm.options.items()},
            "targets": list(arm.targets) if arm.method in METHODS else None,
            "images": images,
            "lr": lr,
            "seed": seed,
        }

    def cases(self) -> Iterator[tuple[int | None, str, Arm]]:
        """Every (size of the training part, arm name, arm), sizes outermost."""
        for images in self.images:
            for name, arm in self.arms.items():
                yield images, name, arm
