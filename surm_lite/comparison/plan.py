"""What a comparison is made of, before anything is run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any

import torch
from torch import nn

from surm_lite import models
from surm_lite.adapters import adapt
from surm_lite.adapters.count import count
from surm_lite.adapters.methods.registry import METHODS, make_method
from surm_lite.adapters.options import near
from surm_lite.adapters.targets import as_patterns
from surm_lite.data import CATALOGUE, LabelledSet
from surm_lite.data.arguments import (
    check_choice,
    check_count,
    check_flag,
    check_kind,
    check_number,
    check_positive,
    check_seed,
)
from surm_lite.device import device as find_device
from surm_lite.files import digest
from surm_lite.models import Bert, ViT, apart
from surm_lite.training.settings import PRECISIONS


@dataclass(frozen=True)
class Arm:
    """One way of fine-tuning, and the learning rates to choose from.

    Args:
        label: what tables and figures call it.
        lrs: peak learning rates to choose from, ascending; the choice is made on the validation part. They are those of
            all but the head, or of the head where nothing else is trained.
        method: a name of `sl.methods()`.
        options: of the method.
        targets: which layers get it, None for the model's queries, keys and values. The rank of an update is measured
            there, also where a method wraps no layer.
        keep: what is trained whole, as in `sl.adapt`.
        pretrained: False starts from random weights.
        equal: whether the arm keeps the comparison's common budget.
        seeds: runs at the chosen learning rate; the first is also the seed of the choice.
    """

    label: str
    lrs: tuple[float, ...]
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[str, ...] | None = None
    keep: tuple[str, ...] | None = None
    pretrained: bool = True
    equal: bool = True
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_kind("label", self.label, str, "what tables and figures call it")
        lrs = self.lrs
        check_kind(f"lrs of {self.label!r}", lrs, Sequence, "a tuple of positive rates")
        for lr in lrs:
            check_number(f"lrs of {self.label!r}", lr, "positive rates")
        if not lrs or not all(0 < lr < math.inf for lr in lrs) or list(lrs) != sorted(set(lrs)):
            raise ValueError(f"lrs of {self.label!r}: got {lrs}, need positive rates, ascending, none twice")
        check_kind("method", self.method, str, f"a name of methods(): {', '.join(METHODS)}")
        check_kind("options", self.options, Mapping, "a dictionary")
        if self.targets is not None:
            as_patterns("targets", self.targets)
        if self.keep is not None:
            as_patterns("keep", self.keep)
        check_flag("pretrained", self.pretrained)
        check_flag("equal", self.equal)
        check_kind(f"seeds of {self.label!r}", self.seeds, Sequence, "a tuple of whole numbers")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds of {self.label!r}: got {self.seeds}, need at least one and none twice")
        for seed in self.seeds:
            check_seed(f"seeds of {self.label!r}", seed)
        make_method(self.method, dict(self.options))


@dataclass(frozen=True)
class Plan:
    """A comparison: what is trained on what, and how each choice is made.

    Args:
        data: a name of `surm_lite.data.CATALOGUE`, or examples of your own, such as `sl.data.from_folder(path)`.
        arms: the ways of fine-tuning, by a short name.
        model: a name of `surm_lite.models.MODELS`; its queries, keys and values are layers of their own.
        examples: sizes of the training part to compare at; None is the set's own size.
        epochs: passes over the training part.
        min_steps: a small training part is passed over more often, until it has this many steps.
        batch_size, head_lr, precision: as in `sl.train`.
        frozen: also measure what the frozen features can do (nearest neighbours, linear probe).
        widen: learning rates that are tried beyond those of an arm, one after the other, while the best one is the
            smallest or the largest.
        elsewhere: a data set that is not trained on; how much worse a linear probe of it becomes is what a run forgets.
    """

    data: str | LabelledSet
    arms: Mapping[str, Arm]
    model: str = "vit_s14"
    examples: tuple[int | None, ...] = (None,)
    epochs: int = 4
    min_steps: int = 0
    batch_size: int = 32
    head_lr: float = 3e-3
    precision: str = "float32"
    frozen: bool = True
    widen: int = 0
    elsewhere: str | None = None

    def __post_init__(self) -> None:
        names: list[tuple[str, Any, Mapping[str, Any]]] = [("model", self.model, models.MODELS)]
        names += [] if isinstance(self.data, LabelledSet) else [("data set", self.data, CATALOGUE)]
        names += [] if self.elsewhere is None else [("data set", self.elsewhere, CATALOGUE)]
        for what, name, known in names:
            if not isinstance(name, str) or name not in known:
                raise ValueError(near(what, str(name), known))
        check_kind("arms", self.arms, Mapping, "a dictionary of Arm objects by short names")
        if not self.arms:
            raise ValueError("arms: is empty, need at least one way of fine-tuning")
        for name, arm in self.arms.items():
            check_kind("arms", arm, Arm, "Arm objects")
            check_kind("arms", name, str, "short names")
            if PurePath(name).name != name or "\0" in name:
                raise ValueError(f"arms: got the name {name!r}, which cannot begin the name of a file")
        if isinstance(self.examples, str) or not isinstance(self.examples, Sequence):
            raise TypeError(f"examples: got {self.examples!r}, need a tuple of sizes")
        if not self.examples or len(set(self.examples)) < len(self.examples):
            raise ValueError(f"examples: got {self.examples}, need at least one size and none twice")
        for size in self.examples:
            if size is not None:
                check_count("examples", size)
        check_count("epochs", self.epochs)
        check_count("batch_size", self.batch_size)
        check_count("min_steps", self.min_steps, least=0)
        check_positive("head_lr", self.head_lr)
        check_choice("precision", self.precision, PRECISIONS)
        check_flag("frozen", self.frozen)
        check_count("widen", self.widen, least=0)

    @cached_property
    def data_name(self) -> str:
        """What the examples are called; of one's own the name holds a digest, so that others are not taken for them."""
        if isinstance(self.data, str):
            return self.data
        parts = self.data.parts.items()
        whole = {f"{name} {kind}": getattr(part, kind) for name, part in parts for kind in ("inputs", "labels")}
        return f"{self.data.name} ({digest(whole, json.dumps(self.data.task.about(self.data)))[:12]})"

    @property
    def n_runs(self) -> int:
        """How many training runs the plan takes: the sweep, and the other seeds at the chosen rate.

        Rates that `widen` adds come on top.
        """
        return len(self.examples) * sum(len(arm.lrs) + len(arm.seeds) - 1 for arm in self.arms.values())

    def base(self, name: str, data: LabelledSet, *, seed: int = 0) -> ViT | Bert:
        """The model that one arm starts from, as it is before anything is attached to it."""
        model = models.MODELS[self.model](num_classes=data.task.n_outputs(data), seed=seed)
        if not self.arms[name].pretrained:
            model = model.fresh(torch.Generator().manual_seed(seed))
        return apart(model)

    def layers(self, name: str) -> tuple[str, ...]:
        """The patterns of the layers of one arm."""
        targets = self.arms[name].targets
        return models.TARGETS[self.model] if targets is None else targets

    def build(
        self, name: str, data: LabelledSet, *, seed: int = 0, device: str | torch.device | None = None
    ) -> ViT | Bert:
        """The model of one arm, ready for `train` on this data.

        A method that looks at data before it starts sees batches of the training part, on the device of the run.
        """
        arm, model = self.arms[name], self.base(name, data, seed=seed)
        method = make_method(arm.method, dict(arm.options))
        losses = None if method.ready() else data.task.losses(model.to(find_device(device)), data, seed=seed)
        adapt(model, method, self.layers(name) if method.wraps else None, keep=arm.keep, seed=seed, losses=losses)
        return model

    def passes(self, n_examples: int) -> int:
        """Epochs for a training part of this size."""
        return max(self.epochs, math.ceil(self.min_steps / math.ceil(n_examples / self.batch_size)))

    def settings(self, name: str, examples: int | None, lr: float, seed: int) -> dict[str, Any]:
        """Everything that decides the result of one run, in plain JSON types: what tells a kept run from another."""
        arm = self.arms[name]
        common = ("model", "epochs", "min_steps", "batch_size", "head_lr", "precision")
        return {
            "data": self.data_name,
            **{key: getattr(self, key) for key in common},
            "method": arm.method,
            "pretrained": arm.pretrained,
            "options": {key: list(value) if isinstance(value, tuple) else value for key, value in arm.options.items()},
            "targets": list(self.layers(name)) if METHODS[arm.method].wraps else None,
            "keep": None if arm.keep is None else list(arm.keep),
            "examples": examples,
            "lr": lr,
            "seed": seed,
        }

    def cases(self) -> Iterator[tuple[int | None, str, Arm]]:
        """Every (size of the training part, arm name, arm), sizes outermost."""
        for examples in self.examples:
            for name, arm in self.arms.items():
                yield examples, name, arm


def next_rate(lr: float, up: bool) -> float:
    """The neighbour of a learning rate on the ladder 1, 3, 10, 30, ...

    Example:
        >>> next_rate(1e-3, up=True), next_rate(3e-3, up=True), next_rate(3e-3, up=False), next_rate(1e-3, up=False)
        (0.003, 0.01, 0.001, 0.0003)
    """
    return float(f"{lr * 3.3 if up else lr / 3:.0e}")


def only_kept(model: nn.Module) -> bool:
    """Whether nothing but kept modules is trained: then `head_lr` is the one learning rate there is."""
    counted = count(model)
    return counted.trained == counted.kept
