"""What a run needs of its data and its model, said before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from surm_lite.adapters.names import check_model
from surm_lite.data import LabelledSet
from surm_lite.data.arguments import check_count
from surm_lite.files import as_path, check_output
from surm_lite.tasks import Task


def check_checkpoint(path: str | os.PathLike[str] | None, every: int | None, resume: bool | str) -> Path | None:
    """The file of the checkpoint, tried before there is anything to put there; None for a run without."""
    if not isinstance(resume, bool) and resume != "auto":
        raise ValueError(f"resume: got {resume!r}, need True, False or 'auto'")
    if every is not None:
        check_count("checkpoint_every", every)
    if path is None:
        for name, given in (("checkpoint_every", every is not None), ("resume", resume)):
            if given:
                raise ValueError(f"{name}: needs checkpoint, the file that it is about")
        return None
    file = as_path("checkpoint", path)
    check_output("checkpoint", file)
    return file


def check_kinds(model: Any, data: Any) -> None:
    """A model and a data set, and not what other libraries train on."""
    check_model(model)
    if not isinstance(data, LabelledSet):
        raise TypeError(f"data: got a {type(data).__name__}, need a LabelledSet: {_way_to_a_set(data)}")
    if not isinstance(data.task, Task):
        raise TypeError(f"data: {data.name} has the task {data.task!r}, need an sl.Task")


def check_augment(augment: Any, data: LabelledSet) -> None:
    """An augmentation by name moves pictures; what a function of one's own takes is its own affair."""
    if isinstance(augment, str) and data.train.inputs.ndim != 4:
        raise ValueError(
            f"augment: got {augment!r}, which moves pictures, and {data.name} has {data.train.inputs.dtype} of shape "
            f"{tuple(data.train.inputs.shape[1:])} each; need None, or a function of a batch and a generator"
        )


def _way_to_a_set(data: Any) -> str:
    """What to call with what people try first."""
    if isinstance(data, str | os.PathLike):
        return "sl.data.load(name) gives that of a name, sl.data.from_folder(path) that of a folder"
    if isinstance(data, DataLoader):
        return "sl.data.from_dataset(loader.dataset) makes one, and train makes the batches"
    if isinstance(data, Dataset):
        return "sl.data.from_dataset(dataset) makes one"
    if isinstance(data, tuple | list | Tensor | np.ndarray):
        return "sl.data.from_arrays(X, y) makes one of pictures and their labels"
    return "what sl.data.load(name) returns, or sl.data.from_arrays(X, y), or one of three Split(inputs, labels)"


def check_single(model: nn.Module, data: LabelledSet, counts: Iterable[int], cuts: int, on: torch.device) -> None:
    """A batch norm cannot count on one example; said before the last batch meets it.

    Args:
        counts: sizes of the batches.
        cuts: pieces of each, over all processes.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if not norms or min(max(1, count // cuts) for count in counts) > 1:
        return
    inputs = data.task.prepare(data.train[:1], model, on).inputs
    modes = [(module, module.training) for module in model.modules()]
    numbers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # the norms count on a copy
    try:
        with torch.no_grad():
            torch.func.functional_call(model.train(), numbers, (inputs,))
    except ValueError as error:
        raise ValueError(
            f"batch_size: {len(data.train)} training examples leave a batch, or a piece of one, with a single example, "
            f"and a batch norm ({norms[0]}) needs two: {error}"
        ) from None
    finally:
        for module, mode in modes:
            module.training = mode
