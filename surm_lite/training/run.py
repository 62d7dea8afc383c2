"""A training run at one moment, and its next step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surm_lite.adapters import Method
from surm_lite.data import Split
from surm_lite.evaluate import fit
from surm_lite.record import Record

from .processes import Processes
from .settings import Settings


@dataclass
class State:
    """What the hooks of a method see.

    Args:
        step: optimiser steps done so far.
        total_steps: steps of the whole run.
        epoch: epochs done so far.
        lr: learning rate of the step (of the first parameter group).
        model, optimizer: the ones being trained.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    total_steps: int
    step: int = 0
    epoch: int = 0
    lr: float = 0.0

    def reset_moments(self, param: nn.Parameter, index: Any = ...) -> None:
        """Forgets the optimiser's running averages of `param[index]` (a slot that a method has given a new meaning)."""
        for value in self.optimizer.state.get(param, {}).values():
            if isinstance(value, Tensor) and value.shape == param.shape:
                value[index] = 0


@dataclass
class Run:
    """All that the next step of a run depends on, and what the run has found so far.

    Args:
        state: what hooks see; it holds the model and the optimiser.
        methods: the methods whose hooks are called.
        record: what is found.
        group: the processes that train together.
        chance: decides the order and the augmentation of the current epoch.
        seen, right: images of this epoch so far, and right answers among those that were looked at.
    """

    state: State
    methods: list[Method]
    record: Record
    group: Processes
    chance: torch.Generator = field(default_factory=torch.Generator)
    seen: int = 0
    right: int = 0
    _waiting: list[tuple[float, Tensor]] = field(default_factory=list)

    def step(self, batch: Split, settings: Settings) -> None:
        """One optimiser step on a batch with every hook in its place. Nothing in it waits for the device."""
        state, group, on = self.state, self.group, self.group.device
        trained = [p for part in state.optimizer.param_groups for p in part["params"]]
        factor = settings.factor(state.step / state.total_steps)
        for part in state.optimizer.param_groups:
            part["lr"] = part["peak_lr"] * factor
        state.lr = state.optimizer.param_groups[0]["lr"]
        for method in self.methods:
            method.before_step(state)
        state.optimizer.zero_grad()
        found = torch.zeros(2, device=on)  # loss, right answers
        shares = group.shares(len(batch), settings.accumulate)
        for k, (piece, weight) in enumerate(shares, start=1):
            images = fit(to_device(batch.images[piece], on), state.model, on)
            labels = to_device(batch.labels[piece], on)
            with torch.autocast(on.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
                logits = state.model(images)  # (b, classes)
            loss = F.cross_entropy(logits.float(), labels) * weight
            if k == len(shares):  # a penalty belongs to the step: once, however many pieces and processes
                for method in self.methods:
                    loss = loss + method.penalty() / group.size
            loss.backward()
            right = (logits.argmax(-1) == labels).sum() * (weight > 0)
            found += torch.stack([loss.detach(), right])
        group.sum_gradients(trained)
        for method in self.methods:
            method.after_backward(state)
        if settings.clip is not None:
            nn.utils.clip_grad_norm_(trained, settings.clip)
        state.optimizer.step()
        state.step += 1
        for method in self.methods:
            method.after_step(state)
        self.seen += len(batch)
        self._waiting.append((state.lr, found))

    def look(self) -> None:
        """Fetches what the steps since the last look have found: the one moment at which the host waits.

        Raises:
            FloatingPointError: a loss is not finite; the message names the first such step.
        """
        if not self._waiting:
            return
        rates, found = zip(*self._waiting)
        self._waiting.clear()
        rows = self.group.total(torch.stack(found)).tolist()  # (steps, 2)
        for step, (lr, (loss, right)) in enumerate(zip(rates, rows), start=self.state.step - len(rows)):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"loss: is {loss} at step {step} with lr {lr:.2g}; try a smaller lr, or clip=1.0"
                )
            self.record.loss.append(loss)
            self.right += int(right)


def to_device(tensor: Tensor, on: torch.device) -> Tensor:
    """A copy on the device; to CUDA from pinned memory, because a copy from ordinary memory makes the host wait."""
    return tensor.pin_memory().to(on, non_blocking=True) if on.type == "cuda" else tensor.to(on)
