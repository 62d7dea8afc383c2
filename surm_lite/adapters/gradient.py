"""The gradient of the frozen weights, for methods that look at it before they start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.base import Adapter, Losses


def mean_gradients(layers: Mapping[str, nn.Module], losses: Losses) -> dict[str, Tensor]:
    """The mean over all losses of the gradient of each layer's frozen weight: name -> (m, n), in at least float32.

    Losses of another model, of which this one is a copy say, reach none of the weights: a ValueError.
    """
    bottoms = {name: layer.linear if isinstance(layer, Adapter) else layer for name, layer in layers.items()}
    weights = [frozen.own_weight(layer).requires_grad_() for layer in bottoms.values()]
    means = [torch.zeros_like(frozen.wide(W.detach())) for W in weights]
    for number, loss in enumerate(losses):
        value = loss()
        gradients = torch.autograd.grad(value, weights, allow_unused=True) if value.requires_grad else [None]
        if weights and all(gradient is None for gradient in gradients):
            raise ValueError(f"losses[{number}] depends on none of the adapted layers; need losses of this very model")
        for mean, gradient in zip(means, gradients):
            if gradient is not None:
                mean += gradient / len(losses)
    return {k: G.mT if frozen.is_conv1d(layer) else G for (k, layer), G in zip(bottoms.items(), means)}
