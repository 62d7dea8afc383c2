"""A training run at one moment, and its next step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import Method
from surm_lite.data import Split
from surm_lite.tasks import Task
from surm_lite.training.best import Best
from surm_lite.training.processes import Processes
from surm_lite.training.record import Record
from surm_lite.training.settings import Settings


@dataclass
class State:
    """What the hooks of a method see.

    Args:
        step: optimiser steps done so far.
        total_steps: steps of the whole run.
        epoch: epochs done so far.
        lr: learning rate of the step: the common one, which groups with a rate of their own are multiples of.
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
        task: what is trained for.
        best: keeps the best epoch; None where the last one is wanted.
        chance: decides the order and the augmentation of the current epoch.
        seen, score: examples of this epoch so far, and the score of those that were looked at.
    """

    state: State
    methods: list[Method]
    record: Record
    group: Processes
    task: Task
    best: Best | None = None
    chance: torch.Generator = field(default_factory=torch.Generator)
    seen: int = 0
    score: float = 0.0
    _waiting: list[tuple[float, Tensor]] = field(default_factory=list)

    def step(self, batch: Split, settings: Settings) -> None:
        """One optimiser step on a batch with every hook in its place. Nothing in it waits for the device."""
        state, group, on = self.state, self.group, self.group.device
        trained = [p for part in state.optimizer.param_groups for p in part["params"]]
        factor = settings.factor(state.step / state.total_steps)
        for part in state.optimizer.param_groups:
            part["lr"] = part["peak_lr"] * factor
        state.lr = settings.lr * factor
        for method in self.methods:
            method.before_step(state)
        state.optimizer.zero_grad()
        found = torch.zeros(3, device=on)  # loss, penalty, score
        shares = group.shares(len(batch), settings.accumulate)
        for k, (piece, weight) in enumerate(shares, start=1):
            ready = self.task.prepare(batch[piece], state.model, on)
            with torch.autocast(on.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
                outputs = state.model(ready.inputs)
            loss = self.task.loss(outputs.float(), ready.targets) * weight
            penalty = torch.zeros_like(loss)
            if k == len(shares):  # a penalty belongs to the step: once, however many pieces and processes
                for method in self.methods:
                    penalty = penalty + method.penalty(state) / group.size
            (loss + penalty).backward()
            score = self.task.score(outputs.detach(), ready.targets) * (weight > 0)
            found += torch.stack([loss.detach(), penalty.detach(), score])
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
        rows = self.group.total(torch.stack(found)).tolist()  # (steps, 3)
        penalised = any(type(method).penalty is not Method.penalty for method in self.methods)
        for step, (lr, (loss, penalty, score)) in enumerate(zip(rates, rows), start=self.state.step - len(rows)):
            for name, value in (("loss", loss), ("penalty", penalty)):
                if not math.isfinite(value):
                    raise FloatingPointError(
                        f"{name}: is {value} at step {step} with lr {lr:.2g}; try a smaller lr, or clip=1.0"
                    )
            self.record.loss.append(loss)
            if penalised:
                self.record.penalty.append(penalty)
            self.score += score
