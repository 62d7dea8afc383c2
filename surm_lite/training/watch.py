"""What looks on while a model trains, and may say that it is enough."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from surm_lite.files import as_path, check_output, write_whole
from surm_lite.training.run import Run


@dataclass(frozen=True)
class Progress:
    """How far a run is, at the end of an epoch: what a callback of `train` gets.

    Args:
        epoch: epochs done, counted from 1.
        epochs: those of the whole run.
        step: optimiser steps done.
        lr: the last learning rate.
        loss: the training loss of each step of this epoch.
        train_score: mean score in this epoch, on the batches as they were trained on.
        validation_score: at its end; None where the epoch was not evaluated.
        seconds: since training began, in this process.

    Example:
        >>> Progress(1, 5, 2, 1e-3, (2.3, 1.9), 0.4, 0.5, 3.2).loss[-1]
        1.9

    Taught in:
        42_your_own_data
    """

    epoch: int
    epochs: int
    step: int
    lr: float
    loss: tuple[float, ...]
    train_score: float
    validation_score: float | None
    seconds: float


Callback = Callable[[Progress], Any]
"""Called after every epoch; a run ends where one returns True."""


class JsonLog:
    """A callback that keeps a file with a line of JSON for each epoch, to be looked at while the run goes on.

    Args:
        path: the file. A new run replaces it; one that is resumed goes on with it.

    Raises:
        ValueError, OSError: a place where no file can be written; said before the run.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> log = JsonLog(Path(tempfile.mkdtemp()) / "log.jsonl")
        >>> log(Progress(1, 5, 2, 1e-3, (2.3, 1.9), 0.4, 0.5, 3.2))
        >>> json.loads(log.path.read_text())["validation_score"]
        0.5

    Taught in:
        42_your_own_data
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = as_path("path", path)
        check_output("path", self.path)

    def __call__(self, progress: Progress) -> None:
        kept: list[str] = []
        if progress.epoch > 1 and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if json.loads(line)["epoch"] < progress.epoch]
        write_whole(self.path, "".join([*kept, json.dumps(asdict(progress)) + "\n"]).encode())


class Callbacks:
    """The callbacks of one run.

    Args:
        functions: what is called.
        epochs: those of the whole run.
        steps: those of an epoch.
    """

    def __init__(self, functions: Any, epochs: int, steps: int) -> None:
        if not isinstance(functions, Sequence) or not all(map(callable, functions)):
            raise TypeError(f"callbacks: got {functions!r}, need a list of functions of a Progress")
        self.functions, self.epochs, self.steps = functions, epochs, steps
        self.began = time.perf_counter()

    def enough(self, run: Run) -> bool:
        """Tells all of them how far the run is, in the first process; whether one of them wants it to end."""
        if not self.functions:
            return False
        state, record, group = run.state, run.record, run.group
        progress = Progress(
            state.epoch, self.epochs, state.step, state.lr, tuple(record.loss[(state.epoch - 1) * self.steps :]),
            record.train_score[-1], record.validation_score.get(state.epoch), time.perf_counter() - self.began,
        )  # fmt: skip
        ends = [function(progress) is True for function in self.functions] if group.first else []
        return bool(group.total(torch.tensor(float(any(ends)), device=group.device)))
