"""Epochs, steps, and what happens between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from surm_lite.data import LabelledSet
from surm_lite.training.order import order_of
from surm_lite.training.run import Run
from surm_lite.training.settings import Settings
from surm_lite.training.snapshot import Snapshots
from surm_lite.training.watch import Callbacks

LOOK_EVERY = {"cpu": 1, "cuda": 50, "mps": 50}
"""Steps between two looks at the loss: on a GPU a look waits for all queued work, on a CPU it costs nothing."""


def run_epochs(
    run: Run,
    data: LabelledSet,
    settings: Settings,
    new_optimizer: Callable[..., Optimizer],
    *,
    evaluate_every: int,
    snapshots: Snapshots | None,
    snapshot_every: int | None,
    callbacks: Callbacks,
    bar: Any,
) -> None:
    """Takes a run from wherever it is to its last step."""
    state, group = run.state, run.group
    steps = math.ceil(len(data.train) / settings.batch_size)
    last = min(state.total_steps, settings.max_steps or state.total_steps)
    while state.epoch < math.ceil(last / steps) and not (run.best and run.best.spent(run.record)):
        # Each epoch has its own stream. One that starts in the middle, after a resume, draws the order once more and
        # then goes on with the augmentation where it was.
        done, resumed = state.step - state.epoch * steps, run.chance.get_state()
        run.chance.manual_seed(settings.seed * 1_000_003 + state.epoch)
        order = order_of(data.train, settings.batch_size, run.chance)
        if done:
            run.chance.set_state(resumed)
        state.model.train()
        for index in order.split(settings.batch_size)[done : last - state.epoch * steps]:
            run.step(settings.augmented(data.train[index], run.chance), settings)
            if state.step % LOOK_EVERY[group.device.type] == 0:
                run.look()
                bar.set_postfix(loss=f"{run.record.loss[-1]:.3f}", refresh=False)
            bar.update()
            if snapshots and snapshot_every and state.step % snapshot_every == 0:
                snapshots.save(run)
        run.look()
        run.record.train_score.append(run.score / run.seen)
        run.score, run.seen = 0.0, 0
        state.epoch += 1
        # Every method hears of the epoch; one that changed the layers makes the optimiser start anew around them.
        if any([method.after_epoch(state) for method in run.methods]):
            group.agree_on(state.model)
            state.optimizer = new_optimizer(kept=state.optimizer)
        group.copy_from_first(state.model.buffers())  # running averages of a batch norm are those of one share
        if state.epoch % evaluate_every == 0 and state.step < last:  # the last look comes after `finish`
            found = group.score(state.model, data.validation, run.task, precision=settings.precision)
            run.record.validation_score[state.epoch] = found
            if run.best:
                run.best.look(state.model, run.record)
        if snapshots and (snapshot_every is None or state.step == last):
            snapshots.save(run)
        if state.step < last and callbacks.enough(run):  # they hear of the last epoch after `finish`
            break
