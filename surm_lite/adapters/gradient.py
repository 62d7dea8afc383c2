"""The gradient of the frozen weights, for methods that look at it before they start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.base import Adapter, Losses


def mean_gradients(layers: Mapping[str, nn.Module], losses: Losses) -> dict[str, Tensor]:
    """The mean over all losses of the gradient of each layer's frozen weight: name -> (m, n), in at least float32."""
    bottoms = {name: layer.linear if isinstance(layer, Adapter) else layer for name, layer in layers.items()}
    weights = [frozen.own_weight(layer).requires_grad_() for layer in bottoms.values()]
    means = [torch.zeros_like(frozen.wide(W.detach())) for W in weights]
    for loss in losses:
        for mean, gradient in zip(means, torch.autograd.grad(loss(), weights, materialize_grads=True)):
            mean += gradient / len(losses)
    return {k: G.mT if frozen.is_conv1d(layer) else G for (k, layer), G in zip(bottoms.items(), means)}
