"""One training loop for every method."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from surm_lite.adapters import Method, count, methods_of
from surm_lite.data import ImageSet
from surm_lite.device import device as find_device
from surm_lite.device import peak_memory, seeded
from surm_lite.evaluate import accuracy, fit
from surm_lite.record import Record

Augment = Callable[[Tensor, torch.Generator], Tensor]


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


def schedule_factor(schedule: str, progress: float) -> float:
    """Share of the peak learning rate at a point of the run: "onecycle", "cosine" or "constant".

    $$ \\text{onecycle}: \\text{linear from } 1/25 \\text{ to } 1 \\text{ over the first } 30\\,\\%,
       \\text{ then } \\tfrac12 (1 + \\cos \\pi t) $$

    Example:
        >>> [round(schedule_factor("onecycle", p), 2) for p in (0.0, 0.3, 0.65, 1.0)]
        [0.04, 1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    warm = 0.3 if schedule == "onecycle" else 0.0
    if progress < warm:
        return 0.04 + 0.96 * progress / warm
    return 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


SCHEDULES = ("onecycle", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16")


def train(
    model: nn.Module,
    data: ImageSet,
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    head_lr: float | None = None,
    batch_size: int = 32,
    weight_decay: float = 0.0,
    schedule: str = "onecycle",
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "float32",
    clip: float | None = None,
    augment: Augment | None = None,
    max_steps: int | None = None,
    evaluate_every: int = 1,
    progress: bool = True,
) -> Record:
    """Trains what is trainable in a model, and measures it.

    What requires a gradient is trained: after `adapt` that is the adapters and the head. AdamW; the loss is
    cross-entropy plus the penalties of the methods.

    Args:
        model: gives (batch, classes) for a batch of images; changed in place, and left on `device`.
        data: images are fitted to `model.image_format` batch by batch; a model without one gets them in [0, 1]
            as they are.
        epochs: passes over the training part.
        lr: peak learning rate of everything but the head.
        head_lr: peak learning rate of `model.head`; None takes `lr`.
        batch_size: images in a step.
        weight_decay: of AdamW, on matrices only (biases, norms and other vectors have none).
        schedule: "onecycle", "cosine" or "constant".
        seed: decides order, augmentation and dropout. On a CPU the same seed gives the same record.
        device: None chooses (see `sl.device`).
        precision: "float32", or "bfloat16" for autocast (parameters stay as they are).
        clip: largest gradient norm; None does not clip.
        augment: changes a batch of uint8 images, given a CPU generator.
        max_steps: stop after so many steps (of the same schedule); None runs all.
        evaluate_every: epochs between two looks at the validation part; the last epoch is always looked at.
        progress: show a progress bar.

    Returns:
        Record: loss of each step, accuracies, time, memory, counts, versions.

    Raises:
        ValueError: an argument out of range, nothing to train, or labels that the model has no output for.
        FloatingPointError: the loss is not finite; the message names the step and the learning rate.

    Cost:
        One forward and backward for each training image and epoch, one forward for each validation image and epoch and
        for each test image at the end.

    Example:
        >>> import surm_lite.data, surm_lite.models
        >>> digits = surm_lite.data.load("digits", train=64, validation=20, test=20)
        >>> model = surm_lite.models.ViT(surm_lite.models.ViTConfig(width=16, depth=1, heads=2))
        >>> record = train(model, digits, epochs=2, progress=False)
        >>> len(record.loss), sorted(record.validation_accuracy)
        (4, [1, 2])

    Taught in:
        21_finetune_vit
    """
    _check_choice("schedule", schedule, SCHEDULES)
    _check_choice("precision", precision, PRECISIONS)
    counts = {"epochs": epochs, "batch_size": batch_size, "evaluate_every": evaluate_every, "max_steps": max_steps}
    for name, value in (counts | {"lr": lr, "head_lr": head_lr, "clip": clip}).items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: got {value!r}, need a positive number")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay: got {weight_decay!r}, need a number of at least 0")
    began = time.perf_counter()
    on = find_device(device)
    _check_outputs(model.to(on), data, on)
    methods = methods_of(model)
    new_optimizer = partial(build_optimizer, model, methods, lr=lr, head_lr=head_lr or lr, weight_decay=weight_decay)
    steps = math.ceil(len(data.train) / batch_size)
    state = State(model, new_optimizer(), total_steps=epochs * steps)
    last = min(state.total_steps, max_steps or state.total_steps)
    record = Record(
        data={"name": data.name} | {name: len(part) for name, part in data.parts.items()},
        methods=[{"name": m.name, "options": m.options(), "layers": list(m.layers)} for m in methods],
        options={
            "epochs": epochs, "lr": lr, "head_lr": head_lr, "batch_size": batch_size, "weight_decay": weight_decay,
            "schedule": schedule, "seed": seed, "precision": precision, "clip": clip, "max_steps": max_steps,
            "augment": None if augment is None else getattr(augment, "__name__", str(augment)),
        },
        device=str(on),
        parameters=dataclasses.asdict(count(model)),
    )  # fmt: skip
    with seeded(seed, on), tqdm(total=last, disable=not progress, unit="step") as bar:
        while state.step < last:
            # Each epoch has its own stream, so a run that starts again at an epoch needs no state of a generator.
            chance = torch.Generator().manual_seed(seed * 1_000_003 + state.epoch)
            model.train()
            right = seen = 0
            for index in torch.randperm(len(data.train), generator=chance).split(batch_size)[: last - state.step]:
                batch = data.train[index]
                images = augment(batch.images, chance) if augment else batch.images
                lr_now = schedule_factor(schedule, state.step / state.total_steps)
                for group in state.optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * lr_now
                state.lr = state.optimizer.param_groups[0]["lr"]
                loss, logits = _step(state, methods, fit(images, model, on), batch.labels.to(on), precision, clip)
                record.loss.append(loss)
                right += int((logits.argmax(-1).cpu() == batch.labels).sum())
                seen += len(batch)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            state.epoch += 1
            record.train_accuracy.append(right / seen)
            # Every method hears of the epoch; one that changed the layers makes the optimiser start anew around them.
            if any([method.after_epoch(state) for method in methods]):
                state.optimizer = new_optimizer(kept=state.optimizer)
            if state.epoch % evaluate_every == 0 or state.step == last:
                record.validation_accuracy[state.epoch] = accuracy(model, data.validation, precision=precision)
        for method in methods:
            method.finish(model)
        record.test_accuracy = accuracy(model, data.test, precision=precision)
    record.seconds = round(time.perf_counter() - began, 3)
    record.peak_memory = peak_memory(on)
    return record


def _step(
    state: State, methods: Sequence[Method], images: Tensor, labels: Tensor, precision: str, clip: float | None
) -> tuple[float, Tensor]:
    """One optimiser step with every hook in its place; returns the loss and the logits."""
    for method in methods:
        method.before_step(state)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = state.model(images)  # (b, classes)
    loss = F.cross_entropy(logits.float(), labels)
    for method in methods:
        loss = loss + method.penalty()
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"loss: is {value} at step {state.step} with lr {state.lr:.2g}; try a smaller lr, or clip=1.0"
        )
    state.optimizer.zero_grad()
    loss.backward()
    for method in methods:
        method.after_backward(state)
    if clip is not None:
        nn.utils.clip_grad_norm_([p for group in state.optimizer.param_groups for p in group["params"]], clip)
    state.optimizer.step()
    state.step += 1
    for method in methods:
        method.after_step(state)
    return value, logits


def build_optimizer(
    model: nn.Module,
    methods: Sequence[Method],
    *,
    lr: float,
    head_lr: float,
    weight_decay: float,
    kept: torch.optim.Optimizer | None = None,
) -> torch.optim.AdamW:
    """AdamW over what a method groups itself, over the head, and over all else that requires a gradient.

    A group of a method may set `lr`, or `lr_scale` as a multiple of the common one. Moments of parameters that `kept`
    already knew are carried over.
    """
    head = {id(p) for p in getattr(model, "head", nn.Identity()).parameters()}
    groups = [dict(group) for method in methods for group in method.param_groups(model)]
    for group in groups:
        group["peak_lr"] = group.pop("lr", lr * group.pop("lr_scale", 1.0))
    grouped = {id(p) for group in groups for p in group["params"]}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    for rate, params in ((lr, [p for p in rest if id(p) not in head]), (head_lr, [p for p in rest if id(p) in head])):
        groups.append({"params": [p for p in params if p.ndim > 1], "peak_lr": rate})
        groups.append({"params": [p for p in params if p.ndim <= 1], "peak_lr": rate, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("model: no parameter requires a gradient; adapt the model or unfreeze something")
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    if kept is not None:
        known = {id(p) for group in groups for p in group["params"]}
        optimizer.state.update({p: value for p, value in kept.state.items() if id(p) in known})
    return optimizer


@torch.inference_mode()
def _check_outputs(model: nn.Module, data: ImageSet, on: torch.device) -> None:
    shape = tuple(model.eval()(fit(data.train.images[:2], model, on)).shape)
    if len(shape) != 2 or shape[1] < len(data.classes):
        raise ValueError(f"model: gives {shape} for 2 images, but {data.name} has {len(data.classes)} classes")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, need one of {', '.join(choices)}")
