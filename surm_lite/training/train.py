"""One training loop for every method."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from surm_lite.adapters import count, methods_of
from surm_lite.adapters.attached import tell
from surm_lite.adapters.base import Method
from surm_lite.adapters.names import unwrap
from surm_lite.data import LabelledSet
from surm_lite.data.arguments import check_count
from surm_lite.device import peak_memory, seeded
from surm_lite.training.best import Best, check_patience
from surm_lite.training.loop import run_epochs
from surm_lite.training.optimizer import Factory, build_optimizer, refuse_own_steps
from surm_lite.training.processes import processes
from surm_lite.training.record import Record
from surm_lite.training.refuse import check_augment, check_checkpoint, check_kinds, check_single
from surm_lite.training.run import Run, State
from surm_lite.training.settings import PRECISIONS, SCHEDULES, Augment, Settings
from surm_lite.training.snapshot import Snapshots, identity
from surm_lite.training.watch import Callback, Callbacks

__all__ = ["PRECISIONS", "SCHEDULES", "train"]


def train(
    model: nn.Module,
    data: LabelledSet,
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    head_lr: float | None = None,
    batch_size: int = 32,
    accumulate: int = 1,
    weight_decay: float = 0.0,
    optimizer: Factory | None = None,
    schedule: str = "onecycle",
    warmup: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "float32",
    clip: float | None = None,
    augment: Augment | str | None = None,
    max_steps: int | None = None,
    evaluate_every: int = 1,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool | str = False,
    progress: bool = True,
) -> Record:
    """Trains what is trainable in a model, and measures it.

    What requires a gradient is trained: after `adapt` that is the adapters and the head. The task that the data set
    carries says what is trained for; methods may add penalties. The adapter file will say what the task knows of the
    outputs, and the format of the pictures. Started by `torchrun` or `accelerate launch`, the processes share every
    batch and train one model: the numbers are those of a single process, up to rounding.

    Args:
        model: gives what the task needs, such as a number for each label; changed in place, and left on `device`.
        data: examples and their task. Pictures are fitted to `model.image_format` batch by batch; a model without one
            gets them in [0, 1] as they are.
        epochs: passes over the training part.
        lr: peak learning rate of everything but the head.
        head_lr: peak learning rate of the modules that `adapt` keeps (head, classifier, score); None takes `lr`.
        batch_size: examples in a step, over all processes.
        accumulate: pieces in which a process computes its share of a batch, one after the other: less memory, the same
            step.
        weight_decay: on all tensors of adapters and on matrices of kept modules; biases and norms have none.
        optimizer: makes one of parameter groups, such as `torch.optim.SGD` or a `functools.partial` of it; its rates
            are those of `lr` and `head_lr`. None: AdamW.
        schedule: "onecycle", "cosine" or "constant".
        warmup: share of the steps in which the learning rate rises; None: 0.3 for "onecycle", else 0.
        seed: decides order, augmentation and dropout. On a CPU the same seed gives the same record.
        device: None chooses (see `sl.device`); one CUDA device a process.
        precision: "float32", or "bfloat16" for autocast (parameters stay as they are).
        clip: largest gradient norm; None does not clip.
        augment: changes a batch of inputs, given a CPU generator; or "flip_and_shift", or "shift" where left and right
            mean something (both for pictures).
        max_steps: stop after so many steps (of the same schedule); None runs all.
        evaluate_every: epochs between two looks at the validation part; the last epoch is always looked at.
        patience: stop after so many looks without a better validation score, and leave the model as it was after its
            best epoch (`Record.best_epoch`); None runs to the end and keeps the last.
        callbacks: functions that are called with a `Progress` after every epoch; where one returns True, the run ends.
            `sl.JsonLog(path)` is one.
        checkpoint: a file that always holds the last good state of the run: trained weights, optimiser, schedule,
            chance, order of the data, state of the methods and the record so far. None keeps none.
        checkpoint_every: steps between two checkpoints; None: one an epoch. The end of the run always has one.
        resume: True goes on from `checkpoint`, to the very weights of a run that was never stopped (bit for bit on a
            CPU); "auto" does so where the file exists and starts anew where not.
        progress: show a progress bar.

    Returns:
        Record: loss of each step, scores, time, memory, counts, versions.

    Raises:
        TypeError: an argument of another kind than it must be.
        ValueError: an argument out of range, nothing to train, examples that the model or the task does not take, a
            batch of one for a batch norm, `clip` or `weight_decay` with a method that steps by itself, or a checkpoint
            that is damaged or of another run (the first difference is named). The numbers of the model are then
            untouched.
        FloatingPointError: the loss is not finite; the message names the step and the learning rate.
        FileNotFoundError: resume=True, and there is no checkpoint.
        FileExistsError: a checkpoint exists, and resume=False.
        OSError: the checkpoint could not be written. The last good one is kept, here as after any other error.

    Cost:
        One forward and backward for each training example and epoch, one for each validation example and epoch and
        for each test example at the end. A checkpoint holds three numbers for each trained one.

    Example:
        >>> import surm_lite.data, surm_lite.models
        >>> digits = surm_lite.data.load("digits", train=64, validation=20, test=20)
        >>> model = surm_lite.models.ViT(surm_lite.models.ViTConfig(width=16, depth=1, heads=2))
        >>> record = train(model, digits, epochs=2, progress=False)
        >>> len(record.loss), sorted(record.validation_score)
        (4, [1, 2])

    Taught in:
        21_finetune_vit, 27_scale_out
    """
    settings = Settings(
        epochs=epochs, lr=lr, head_lr=head_lr, batch_size=batch_size, accumulate=accumulate, weight_decay=weight_decay,
        optimizer=optimizer, schedule=schedule, warmup=warmup, seed=seed, precision=precision, clip=clip,
        augment=augment, max_steps=max_steps, patience=patience,
    )  # fmt: skip
    check_count("evaluate_every", evaluate_every)
    check_kinds(model, data)
    check_augment(augment, data)
    file = check_checkpoint(checkpoint, checkpoint_every, resume)
    data.task.check(data)
    began = time.perf_counter()
    heard = Callbacks(callbacks, epochs, math.ceil(len(data.train) / batch_size))
    with processes(device) as group, seeded(seed + 1_000_003 * group.rank, group.device):
        methods = methods_of(model)
        form = getattr(unwrap(model), "image_format", None)
        said = {} if form is None else {"image_format": form._asdict()}
        tell(model, task=type(data.task).__name__, **data.task.about(data), **said)
        refuse_own_steps(methods, clip=clip, weight_decay=weight_decay)
        check_patience(methods, patience)
        record = Record(
            data={"name": data.name}
            | {name: len(part) for name, part in data.parts.items()}
            | {"task": type(data.task).__name__},
            methods=_describe(methods),
            options=settings.options(),
            device=str(group.device),
            processes=group.size,
            parameters=dataclasses.asdict(count(model)),
            seconds=sum((method.seconds for method in methods), 0.0),  # what looking at data before the start has taken
        )
        snapshots = None if file is None else Snapshots(file, identity(record, model, data))
        found = snapshots.find(resume) if snapshots else None
        group.agree("checkpoint: steps done", found.step if found else 0)
        data.task.check_model(model.to(group.device), data, group.device)
        total = epochs * math.ceil(len(data.train) / batch_size)
        last = min(total, max_steps or total)
        rest = len(data.train) - (math.ceil(len(data.train) / batch_size) - 1) * batch_size
        whole = last >= math.ceil(len(data.train) / batch_size)
        counts = {min(batch_size, len(data.train)), rest if whole else batch_size}
        check_single(model, data, counts, group.size * accumulate, group.device)
        group.agree_on(model)
        if found:
            found.restore_methods(methods)
        new_optimizer = partial(
            build_optimizer,
            model,
            methods,
            lr=settings.lr,
            head_lr=settings.head_lr or settings.lr,
            weight_decay=settings.weight_decay,
            factory=optimizer,
        )
        best = None if patience is None else Best(patience)
        run = Run(State(model, new_optimizer(), total_steps=total), methods, record, group, data.task, best)
        if found:
            found.restore(run)
        shown = progress and group.first
        with tqdm(total=last, initial=run.state.step, disable=not shown, unit="step") as bar:
            try:
                run_epochs(
                    run, data, settings, new_optimizer, evaluate_every=evaluate_every, snapshots=snapshots,
                    snapshot_every=checkpoint_every, callbacks=heard, bar=bar,
                )  # fmt: skip
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}{snapshots.kept() if snapshots else ''}") from None
        for method in methods:
            method.finish(model)
        group.agree_on(model)
        run.record.methods, run.record.parameters = _describe(methods), dataclasses.asdict(count(model))
        score = partial(group.score, model, task=data.task, precision=precision)
        if best is None or run.state.epoch not in run.record.validation_score:
            run.record.validation_score[run.state.epoch] = score(data.validation)
        if run.state.step >= last:
            heard.enough(run)
        if best is not None:
            best.look(model, run.record)
            best.put_back(model)
        run.record.test_score = score(data.test)
    run.record.seconds = round(run.record.seconds + time.perf_counter() - began, 3)
    run.record.peak_memory = peak_memory(group.device)
    return run.record


def _describe(methods: list[Method]) -> list[dict[str, Any]]:
    return [{"name": m.name, "options": m.options(), "layers": list(m.layers)} for m in methods]
