"""One training loop for every method."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import time
from functools import partial

import torch
from torch import nn
from tqdm.auto import tqdm

from surm_lite.adapters import count, methods_of
from surm_lite.data import ImageSet
from surm_lite.device import peak_memory, seeded
from surm_lite.record import Record
from surm_lite.training.loop import run_epochs
from surm_lite.training.optimizer import build_optimizer
from surm_lite.training.processes import processes
from surm_lite.training.refuse import check_checkpoint, check_data, check_outputs
from surm_lite.training.run import Run, State
from surm_lite.training.settings import PRECISIONS, SCHEDULES, Augment, Settings, check_positive
from surm_lite.training.snapshot import Snapshots, identity

__all__ = ["PRECISIONS", "SCHEDULES", "train"]


def train(
    model: nn.Module,
    data: ImageSet,
    *,
    epochs: int = 5,
    lr: float = 1e-3,
    head_lr: float | None = None,
    batch_size: int = 32,
    accumulate: int = 1,
    weight_decay: float = 0.0,
    schedule: str = "onecycle",
    warmup: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "float32",
    clip: float | None = None,
    augment: Augment | None = None,
    max_steps: int | None = None,
    evaluate_every: int = 1,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool | str = False,
    progress: bool = True,
) -> Record:
    """Trains what is trainable in a model, and measures it.

    What requires a gradient is trained: after `adapt` that is the adapters and the head. AdamW; the loss is
    cross-entropy plus the penalties of the methods. Started by `torchrun` or `accelerate launch`, the processes share
    every batch and train one model: the numbers are those of a single process, up to rounding.

    Args:
        model: gives (batch, classes) for a batch of images; changed in place, and left on `device`.
        data: images are fitted to `model.image_format` batch by batch; a model without one gets them in [0, 1]
            as they are.
        epochs: passes over the training part.
        lr: peak learning rate of everything but the head.
        head_lr: peak learning rate of `model.head`; None takes `lr`.
        batch_size: images in a step, over all processes.
        accumulate: pieces in which a process computes its share of a batch, one after the other: less memory, the same
            step.
        weight_decay: of AdamW, on matrices only (biases, norms and other vectors have none).
        schedule: "onecycle", "cosine" or "constant".
        warmup: share of the steps in which the learning rate rises; None: 0.3 for "onecycle", else 0.
        seed: decides order, augmentation and dropout. On a CPU the same seed gives the same record.
        device: None chooses (see `sl.device`); one CUDA device a process.
        precision: "float32", or "bfloat16" for autocast (parameters stay as they are).
        clip: largest gradient norm; None does not clip.
        augment: changes a batch of uint8 images, given a CPU generator.
        max_steps: stop after so many steps (of the same schedule); None runs all.
        evaluate_every: epochs between two looks at the validation part; the last epoch is always looked at.
        checkpoint: a file that always holds the last good state of the run: trained weights, optimiser, schedule,
            chance, order of the data, state of the methods and the record so far. None keeps none.
        checkpoint_every: steps between two checkpoints; None: one an epoch. The end of the run always has one.
        resume: True goes on from `checkpoint`, to the very weights of a run that was never stopped (bit for bit on a
            CPU); "auto" does so where the file exists and starts anew where not.
        progress: show a progress bar.

    Returns:
        Record: loss of each step, accuracies, time, memory, counts, versions.

    Raises:
        ValueError: an argument out of range, nothing to train, images that the model does not take, labels that it has
            no output for, a class without images, or a checkpoint that is damaged or of another run (the first
            difference is named). The numbers of the model are then untouched.
        FloatingPointError: the loss is not finite; the message names the step and the learning rate.
        FileNotFoundError: resume=True, and there is no checkpoint.
        FileExistsError: a checkpoint exists, and resume=False.
        OSError: the checkpoint could not be written. The last good one is kept, here as after any other error.

    Cost:
        One forward and backward for each training image and epoch, one forward for each validation image and epoch and
        for each test image at the end. A checkpoint holds three numbers for each trained one.

    Example:
        >>> import surm_lite.data, surm_lite.models
        >>> digits = surm_lite.data.load("digits", train=64, validation=20, test=20)
        >>> model = surm_lite.models.ViT(surm_lite.models.ViTConfig(width=16, depth=1, heads=2))
        >>> record = train(model, digits, epochs=2, progress=False)
        >>> len(record.loss), sorted(record.validation_accuracy)
        (4, [1, 2])

    Taught in:
        21_finetune_vit, 27_scale_out
    """
    settings = Settings(
        epochs=epochs, lr=lr, head_lr=head_lr, batch_size=batch_size, accumulate=accumulate, weight_decay=weight_decay,
        schedule=schedule, warmup=warmup, seed=seed, precision=precision, clip=clip, augment=augment,
        max_steps=max_steps,
    )  # fmt: skip
    check_positive("evaluate_every", evaluate_every)
    file = check_checkpoint(checkpoint, checkpoint_every, resume)
    check_data(data)
    began = time.perf_counter()
    with processes(device) as group, seeded(seed + 1_000_003 * group.rank, group.device):
        methods = methods_of(model)
        record = Record(
            data={"name": data.name} | {name: len(part) for name, part in data.parts.items()},
            methods=[{"name": m.name, "options": m.options(), "layers": list(m.layers)} for m in methods],
            options=settings.options(),
            device=str(group.device),
            processes=group.size,
            parameters=dataclasses.asdict(count(model)),
        )
        snapshots = None if file is None else Snapshots(file, identity(record, model, data))
        found = snapshots.find(resume) if snapshots else None
        group.agree("checkpoint: steps done", found.step if found else 0)
        check_outputs(model.to(group.device), data, group.device)
        group.copy_from_first(itertools.chain(model.parameters(), model.buffers()))
        if found:
            found.restore_methods(methods)
        new_optimizer = partial(
            build_optimizer, model, methods, lr=lr, head_lr=head_lr or lr, weight_decay=weight_decay
        )
        total = epochs * math.ceil(len(data.train) / batch_size)
        run = Run(State(model, new_optimizer(), total_steps=total), methods, record, group)
        if found:
            found.restore(run)
        last = min(total, max_steps or total)
        shown = progress and group.first
        with tqdm(total=last, initial=run.state.step, disable=not shown, unit="step") as bar:
            try:
                run_epochs(
                    run, data, settings, new_optimizer, evaluate_every=evaluate_every, snapshots=snapshots,
                    snapshot_every=checkpoint_every, bar=bar,
                )  # fmt: skip
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}{snapshots.kept() if snapshots else ''}") from None
        for method in methods:
            method.finish(model)
        run.record.test_accuracy = group.accuracy(model, data.test, precision=precision)
    run.record.seconds = round(run.record.seconds + time.perf_counter() - began, 3)
    run.record.peak_memory = peak_memory(group.device)
    return run.record
