"""Reconstruction: the model gives back what it was given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surm_lite.data.labelled import LabelledSet, Split
from surm_lite.tasks.base import Ready, Task


class Reconstruction(Task):
    """The outputs are held against the prepared input itself; labels play no part.

    $$ \\text{score} = -\\sum_i \\tfrac1n \\|y_i - x_i\\|^2, \\quad \\text{loss} = -\\text{score} / b $$

    Example:
        >>> Reconstruction().score(torch.zeros(2, 4), torch.ones(2, 1, 2, 2))
        tensor(-2.)

    Taught in:
        21_finetune_vit, 37_latent_space
    """

    def prepare(self, batch: Split, model: nn.Module, on: torch.device) -> Ready:
        inputs = super().prepare(batch, model, on).inputs
        return Ready(inputs, inputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._errors(outputs, targets).mean()

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return -self._errors(outputs, targets).sum()

    def n_outputs(self, data: LabelledSet) -> int:
        return data.train.inputs[0].numel()

    def check(self, data: LabelledSet) -> None:
        """Every part has examples, and they are numbers that can be near each other."""
        super().check(data)
        if not data.train.inputs.dtype == torch.uint8:
            raise ValueError(f"data: {data.name} holds {data.train.inputs.dtype}; only pictures can be reconstructed")

    def check_outputs(self, outputs: Tensor, targets: Tensor, data: LabelledSet) -> None:
        """As many numbers as went in, in whatever shape."""
        if outputs.shape[:1] != targets.shape[:1] or outputs.numel() != targets.numel():
            raise ValueError(
                f"model: gives {tuple(outputs.shape)} for {tuple(targets.shape)}; need as many numbers as went in"
            )

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of each example, shape (b,)."""
        return (outputs.float().flatten(1) - targets.float().flatten(1)).square().mean(1)
