"""GoRA: the gradient decides the rank of each layer and the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Additive, Update, base_weight
from surm_lite.adapters.base import Losses
from surm_lite.adapters.gradient import mean_gradients
from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.options import check_count, check_number, check_ranks
from surm_lite.matrices import LowRank


@dataclass
class GoRA(Update):
    """LoRA whose ranks and first step come from the gradient of the frozen model.

    With ``G`` the mean gradient of a layer's weight over some training batches, its importance is ``mean |W0 * G|``.
    The budget ``sum_i sqrt(m_i + n_i) r`` is shared out in proportion to it, and each rank ``r_i`` is rounded and
    clipped. Then ``W = W0 + (alpha / sqrt(r_i)) B A``, where A starts as in LoRA and B at ``-xi G A^T (A A^T)^-1``,
    ``xi = gamma sqrt(n) / alpha``: the first update is the part of ``-gamma sqrt(n / r_i) G`` that A can say, a step of
    gradient descent of about gamma ||G||.

    Args:
        rank: r, the mean rank.
        alpha: numerator of the scale, which is divided by sqrt(r_i).
        rank_min, rank_max: bounds of a layer's rank; min(m, n) bounds it too. 0 lets a layer stay plain.
        gamma: size of the first step; 0 starts as LoRA does.
        lr_ratio: learning rate of B over that of A, as in LoRA+.
        ranks: rank of each layer by name. None: decided by ``adapt(losses=...)``; a file says it.

    Raises:
        ValueError: a count or number out of range, or a layer that ``ranks`` does not name.

    Cost:
        sum_i r_i (m_i + n_i) numbers, about r (m + n) a layer; once, a gradient of every adapted weight a batch.

    Example:
        >>> GoRA(rank=4, ranks={"0": 6}).of("0").n_params(10, 10)
        120

    Source:
        He et al. (2025), sections 3.2 and 3.3, and the authors' code, whose latest version has the sign of the first
        step wrong.

    Taught in:
        33_let_the_gradient_choose
    """

    name = "gora"
    paper = "He et al. 2025, arXiv 2502.12171"
    needs = ("losses",)
    exact_at_init = False
    lr = 1e-4

    rank: int = 8
    alpha: float = 16.0
    rank_min: int = 4
    rank_max: int = 32
    gamma: float = 0.05
    lr_ratio: float = 16.0
    ranks: dict[str, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("rank", "rank_max"):
            check_count(self.name, name, getattr(self, name))
        for name in ("alpha", "gamma", "lr_ratio"):
            check_number(self.name, name, getattr(self, name))
        if not self.alpha:
            raise ValueError(f"alpha of method {self.name!r} is {self.alpha!r}; it must not be zero")
        if type(self.rank_min) is not int or not 0 <= self.rank_min <= self.rank_max:
            raise ValueError(f"rank_min of method {self.name!r} is {self.rank_min!r}; it must be 0 to {self.rank_max}")

        check_ranks(self.name, "ranks", self.ranks)

    def of(self, name: str) -> LoRA:
        return LoRA(self.rank if self.ranks is None else self.ranks[name], self.alpha, rslora=True)

    def ready(self) -> bool:
        return self.ranks is not None

    def n_params(self, m: int, n: int) -> int:
        return self.rank * (m + n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        return LoRA(self.rank).sizes(m, n)

    def calibrate(self, model: nn.Module, layers: Mapping[str, nn.Module], losses: Losses) -> None:
        G = mean_gradients(layers, losses)
        importance = {name: (base_weight(layer) * G[name]).abs().mean().item() for name, layer in layers.items()}
        width = {name: sum(g.shape) ** 0.5 for name, g in G.items()}
        whole, budget = sum(importance.values()), self.rank * sum(width.values())
        wanted = {k: round(budget * importance[k] / whole / width[k]) if whole else self.rank for k in G}
        self.ranks = {k: min(max(wanted[k], self.rank_min), self.rank_max, *g.shape) for k, g in G.items()}
        self.found = dict(G)

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Additive | None:
        if self.ranks is not None and name not in self.ranks:
            raise ValueError(f"ranks of method {self.name!r} names {', '.join(self.ranks)}, and not this layer")
        return None if self.ranks is not None and self.ranks[name] == 0 else super().wrap(name, layer, generator)

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        tensors = self.of(name).begin(name, weight, generator)
        if name in self.found:
            A, G = tensors["A"].to(weight), self.found[name].to(weight)
            tensors["B"] = -self.gamma * weight.shape[1] ** 0.5 / self.alpha * torch.linalg.solve(A @ A.mT, A @ G.mT).mT
        return tensors

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        return LoRA(len(tensors["A"]), self.alpha, rslora=True).operator(m, n, tensors)

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        return [{"params": [a.tensors()["B"] for a in self.layers.values()], "lr_scale": self.lr_ratio}]
