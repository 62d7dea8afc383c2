"""Fixed, seeded, stratified splits."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from surm_lite.data.arguments import check_kind, check_seed


def stratified_order(labels: Int64[Tensor, " count"], seed: int) -> Int64[Tensor, " count"]:
    """Shuffles so that every run of neighbours holds the classes in their overall proportions.

    The j-th of n shuffled members of a class gets the key (j + 1/2) / n, and all are sorted by key. So a split is a
    slice, and a slice of a slice is a smaller split that is stratified too.

    Args:
        labels: class of each example.
        seed: decides the shuffle.

    Returns:
        Tensor: a permutation of 0 .. count - 1.

    Cost:
        Two sorts.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 1, 1])
        >>> labels[stratified_order(labels, seed=0)].tolist()
        [0, 1, 0, 0, 1, 0]
    """
    check_kind("labels", labels, Tensor, "a torch.Tensor")
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex() or labels.is_meta or labels.is_sparse:
        raise ValueError(f"labels: got {labels.dtype} of shape {tuple(labels.shape)}, need one whole number an example")
    check_seed("seed", seed)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    keys = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = shuffled[labels[shuffled] == label]
        keys[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return shuffled[keys[shuffled].argsort(stable=True)]
