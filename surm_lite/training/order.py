"""In which order an epoch meets its examples."""

from __future__ import annotations

import torch
from torch import Tensor

from surm_lite.data import Split

WINDOW = 16
"""Batches of sentences that are sorted by length together."""


def order_of(data: Split, batch_size: int, chance: torch.Generator) -> Tensor:
    """A random order of the examples, as their indices.

    Sentences of a like length come together, because a batch is as long as its longest: in windows of 16 batches they
    are sorted by length, and the batches of a window come in random order. A last, smaller batch stays the last.
    """
    order = torch.randperm(len(data), generator=chance)
    if data.inputs.ndim != 2:
        return order
    lengths, found = (data.inputs != 0).sum(1), []
    for window in order.split(WINDOW * batch_size):
        batches = window[lengths[window].argsort(stable=True)].split(batch_size)
        whole = [batch for batch in batches if len(batch) == batch_size]
        found += [whole[k] for k in torch.randperm(len(whole), generator=chance).tolist()]
        found += batches[len(whole) :]
    return torch.cat(found)
