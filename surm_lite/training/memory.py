"""What a training run will hold in memory, told before its first step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.data import LabelledSet
from surm_lite.data.arguments import check_choice, check_count
from surm_lite.device import seeded
from surm_lite.evaluate import PRECISIONS, where
from surm_lite.tensor_bytes import TensorBytes
from surm_lite.training.optimizer import Factory, make_optimizer
from surm_lite.training.refuse import check_kinds, check_single


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors that a training run holds; it prints as a line.

    Args:
        weights: parameters and buffers, frozen ones included.
        activations: what a forward pass keeps for the backward pass, and the batch itself.
        gradients: of what is trained.
        optimizer: what it remembers of each trained number, such as the two moments of Adam.
        peak: the most at once. Gradients come as activations go, so it is less than the sum.

    Example:
        >>> print(Memory(4_000_000, 2_000_000, 40_000, 80_000, 6_200_000))
        6.2 MB at once: weights 4.0, activations 2.0, gradients 0.0, optimiser 0.1

    Taught in:
        24_what_it_costs
    """

    weights: int
    activations: int
    gradients: int
    optimizer: int
    peak: int

    def __str__(self) -> str:
        parts = {"weights": self.weights, "activations": self.activations, "gradients": self.gradients}
        told = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in (parts | {"optimiser": self.optimizer}).items())
        return f"{self.peak / 1e6:.1f} MB at once: {told}"


def memory(
    model: nn.Module,
    data: LabelledSet,
    *,
    batch_size: int = 32,
    accumulate: int = 1,
    optimizer: Factory | None = None,
    precision: str = "float32",
) -> Memory:
    """Tells what a training run will hold in memory, part by part, before its first step.

    One forward pass of the first batch is made and forgotten; the model stays as it is. What Python, torch and the data
    set itself take comes on top.

    $$ \\text{peak} = \\text{weights} + \\text{optimiser} + \\max(\\text{forward}, \\text{gradients}) $$

    Args:
        model: adapted or plain, on the device of the run.
        data, batch_size, accumulate, optimizer, precision: as in `train`.

    Returns:
        Memory: bytes.

    Raises:
        TypeError, ValueError: as in `train`.

    Cost:
        A forward pass of one batch, and its memory.

    Example:
        >>> import surm_lite.data, surm_lite.models
        >>> model = surm_lite.models.ViT(surm_lite.models.ViTConfig(width=16, depth=1, heads=2))
        >>> found = memory(model, surm_lite.data.load("digits", train=64))
        >>> found.weights == 4 * sum(p.numel() for p in model.parameters())
        True
        >>> found.optimizer == 2 * found.gradients == 2 * found.weights
        True

    Taught in:
        24_what_it_costs
    """
    check_kinds(model, data)
    check_count("batch_size", batch_size)
    check_count("accumulate", accumulate)
    check_choice("precision", precision, PRECISIONS)
    data.task.check(data)
    on = where(model)
    data.task.check_model(model, data, on)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("model: no parameter requires a gradient; adapt the model or unfreeze something")
    gradients = _size(trained)
    moments = int(gradients * _remembered(optimizer))
    weights = _size([*model.parameters(), *model.buffers()])
    piece = data.train[: -(-min(batch_size, len(data.train)) // accumulate)]
    check_single(model, data, {len(piece)}, 1, on)
    with _as_it_was(model, on), TensorBytes([*model.parameters(), *model.buffers()]) as alive:
        before = alive.now
        ready = data.task.prepare(piece, model.train(), on)
        with torch.autocast(on.type, torch.bfloat16, enabled=precision == "bfloat16"):
            outputs = model(ready.inputs)
        loss = data.task.loss(outputs.float(), ready.targets)
        kept, most = alive.now - before, alive.peak - before
    del loss
    return Memory(weights, kept, gradients, moments, weights + moments + max(most, gradients))


def _size(tensors: Iterable[Tensor]) -> int:
    """Bytes of some tensors; those that share a storage count once."""
    return sum({id(storage): storage.nbytes() for storage in (t.untyped_storage() for t in tensors)}.values())


def _remembered(factory: Factory | None) -> float:
    """What an optimiser remembers of a trained tensor, as a multiple of it: found by one step on a small one."""
    trial = nn.Parameter(torch.zeros(8, 8))
    trial.grad = torch.ones_like(trial)
    made = make_optimizer(factory, [{"params": [trial], "lr": 1e-3, "peak_lr": 1e-3}])
    made.step()
    own: Iterable[Any] = made.state[trial].values()
    return sum(value.nbytes for value in own if isinstance(value, Tensor) and value.ndim) / trial.nbytes


@contextmanager
def _as_it_was(model: nn.Module, on: torch.device) -> Iterator[None]:
    """Afterwards the mode of every module, all buffers and all chance are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with seeded(0, on):
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
