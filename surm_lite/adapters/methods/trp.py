"""TRP: a weight that is cut to low rank again and again while it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.factored import Factored, that_pays
from surm_lite.adapters.options import check_count, check_not_negative, check_number


@dataclass
class TRP(Factored):
    """A trained weight that is cut to low rank every few steps, so that the last cut costs little.

    Every ``period`` steps ``W = U S V^T`` keeps the smallest number k of singular values with ``sum_(i<=k) s_i^2 >=
    energy sum_i s_i^2``; the forward and the gradient of that step are those of the cut weight, to which
    ``nuclear U_k V_k^T``, the gradient of its nuclear norm, is added. All other steps are ordinary. At the end every
    weight is cut once more and becomes two factors of rank k, where they have fewer numbers: ``thin(model)`` makes them
    layers. The averages of the optimiser are not cut.

    Args:
        energy: share of the squared norm that each cut keeps, above 0 and at most 1. Cuts add up, so choose it by a
            validation after training.
        period: steps between two cuts.
        nuclear: weight of the nuclear norm.
        ranks: rank of each layer by name, None for one that stays whole; training decides it.

    Raises:
        ValueError: a number out of range.

    Cost:
        m n numbers while training, then k (m + n); a singular value decomposition every ``period`` steps.

    Example:
        >>> TRP(ranks={"0": 2}).of("0").n_deployed(10, 10)
        -60

    Source:
        Xu et al. (2020), section 3, and the authors' code.

    Taught in:
        35_low_rank_while_training
    """

    name = "trp"
    paper = "Xu et al. 2020, arXiv 2004.14566"
    lr = 1e-3

    energy: float = 0.95
    period: int = 20
    nuclear: float = 3e-4

    edges: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """U_k V_k^T of the layers that were cut in this step."""

    def __post_init__(self) -> None:
        check_number(self.name, "energy", self.energy)
        if not 0 < self.energy <= 1:
            raise ValueError(f"energy of method {self.name!r} is {self.energy!r}; it must be above 0 and at most 1")
        check_not_negative(self.name, "nuclear", self.nuclear)
        check_count(self.name, "period", self.period)

    @torch.no_grad()
    def before_step(self, state: Any) -> None:
        self.edges.clear()
        if self.ranks is None and state.step and state.step % self.period == 0:
            for name, adapter in self.layers.items():
                W = adapter.tensors()["full"]
                U, s, Vh = torch.linalg.svd(W, full_matrices=False)
                kept = keeps(s, self.energy)
                W.copy_(U * (s * kept) @ Vh)
                self.edges[name] = U * kept @ Vh

    def after_backward(self, state: Any) -> None:
        for name, edge in self.edges.items():
            gradient = self.layers[name].tensors()["full"].grad
            if gradient is not None:
                gradient += self.nuclear * edge

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        if self.ranks is not None:
            return
        ranks: dict[str, int | None] = {}
        for name, adapter in self.layers.items():
            W = adapter.tensors()["full"]
            U, s, Vh = torch.linalg.svd(W, full_matrices=False)
            kept = keeps(s, self.energy)
            W.copy_(U * (s * kept) @ Vh)
            ranks[name] = that_pays(max(1, int(kept.sum())), *W.shape)
        self.cut(ranks)


def keeps(s: Tensor, energy: float) -> Tensor:
    """1 for the singular values of the smallest head that has this share of all squares, 0 for the others."""
    squares = s.square()
    return (squares.cumsum(0) - squares < energy * squares.sum()).to(s)
