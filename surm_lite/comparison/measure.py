"""What a run costs and what it did to the model, beside its scores."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from surm_lite.adapters.base import Adapter
from surm_lite.data import LabelledSet
from surm_lite.tensor_bytes import TensorBytes
from surm_lite.training.train import train

MEASURES = ("step_seconds", "file_bytes", "tensor_bytes", "rank", "effective_rank", "forgetting")
"""What each kept run says beside its record; None where a run of an older version did not look."""


@contextmanager
def step_times(on: torch.device) -> Iterator[list[float]]:
    """Moments at which an optimiser stepped inside the block.

    On a CPU they are read from the clock of this process, which stands still while other programs compute.
    """
    clock = time.process_time if on.type == "cpu" else time.perf_counter
    moments: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: moments.append(clock()))
    try:
        yield moments
    finally:
        hook.remove()


def typical_step(moments: list[float]) -> float | None:
    """The median time from one step to the next: what lies between two epochs does not move it."""
    return round(median(b - a for a, b in itertools.pairwise(moments)), 6) if len(moments) > 1 else None


def first_batches(data: LabelledSet, count: int) -> LabelledSet:
    """The first examples of the training part and two of the others: enough to watch a step or two."""
    return replace(data, train=data.train[:count], validation=data.validation[:2], test=data.test[:2])


def tensor_bytes(model: nn.Module, data: LabelledSet, *, batch_size: int, **how: Any) -> int:
    """The most bytes of tensors at once in the first two steps of training, those of the model among them."""
    with TensorBytes(model.state_dict().values()) as memory:
        train(model, first_batches(data, 2 * batch_size), epochs=1, batch_size=batch_size, **how)
    return memory.peak


@torch.no_grad()
def update_ranks(before: Mapping[str, Any], after: nn.Module) -> tuple[float | None, float | None]:
    """Rank and effective rank of what training added to the weight of each layer, averaged over the layers `before`.

    The effective rank is the exponential of the entropy of the singular values, taken as shares of their sum: between
    1 (one direction) and the rank (all alike); 0 for no update (Roy and Vetterli 2007). The rank counts singular values
    above `max(m, n)` times the rounding of float32 times the largest. None where a layer is not linear in its input.
    """
    updates: list[Tensor] = []
    for name, layer in before.items():
        now: Any = after.get_submodule(name)
        if isinstance(now, Adapter) and not all(one.method.mergeable for one in now.stack()):
            return None, None
        updates.append(now.weight.cpu().double() - layer.weight.cpu().double())
    values = [torch.linalg.svdvals(update) for update in updates]
    ranks = [
        int((s > s[0] * max(update.shape) * torch.finfo(torch.float32).eps).sum()) for s, update in zip(values, updates)
    ]
    return sum(ranks) / len(ranks), round(sum(map(effective_rank, values)) / len(values), 3)


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of singular values as shares of their sum: 0 where all are zero."""
    if not singular_values.any():
        return 0.0
    shares = singular_values / singular_values.sum()
    return float(torch.special.entr(shares).sum().exp())
