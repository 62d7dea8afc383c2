"""Fixed, seeded, stratified splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from surm_lite.data.arguments import check_kind, check_number, check_seed


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


def check_shares(shares: Mapping[str, float]) -> None:
    """Shares of the examples that other parts get, by the names of these: each above 0, and something is left."""
    for part, share in shares.items():
        check_number(part, share, "a share of the examples, such as 0.2")
        if not 0 < share < 1:
            raise ValueError(f"{part}: got {share!r}, need a share of the examples, above 0 and below 1")
    if sum(shares.values()) >= 1:
        raise ValueError(
            f"{', '.join(shares)}: got {', '.join(map(str, shares.values()))}, and nothing is left to train"
        )


def cut(name: str, labels: Tensor, classes: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, Tensor]:
    """Cuts off a share of every class for each of some parts, at least one example; what is left is for training.

    Args:
        name: the argument that the examples come from, for messages.
        labels: class of each example.
        classes: their names, for messages.
        shares: part -> share of the examples.
        seed: decides which.

    Returns:
        dict: part -> indices, shuffled and stratified; "train" is the last.

    Raises:
        ValueError: classes with too few examples for these shares, by name.
    """

    def takes(n: int) -> list[int]:
        return [max(1, round(share * n)) for share in shares.values()]

    there = labels.bincount(minlength=len(classes)).tolist()
    if short := [(one, n) for one, n in zip(classes, there) if sum(takes(n)) >= n]:
        few, most = ", ".join(f"{one!r} ({n})" for one, n in short), max(n for _, n in short)
        if most > len(shares):  # enough for one example in each part: it is the shares that are too large
            taken = " and ".join(f"{part} takes {k}" for part, k in zip(shares, takes(most)))
            why = f"of {most}, {taken}, and none is left to train; take smaller shares"
        else:
            why = f"need at least {len(shares) + 1}" + (f", some for {' and '.join(shares)}" if shares else "")
        raise ValueError(f"{name}: too few examples of class {few}; {why}")
    order = stratified_order(labels, seed)
    pieces: dict[str, list[Tensor]] = {part: [] for part in (*shares, "train")}
    for label, n in enumerate(there):
        members = order[labels[order] == label]
        for part, piece in zip(pieces, members.split([*takes(n), n - sum(takes(n))])):
            pieces[part].append(piece)
    whole = {part: torch.cat(piece) for part, piece in pieces.items()}
    return {part: index[stratified_order(labels[index], seed)] for part, index in whole.items()}
