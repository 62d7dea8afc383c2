"""SingLoRA: one thin matrix instead of two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Update
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import LowRank


@dataclass
class SingLoRA(Update):
    """A symmetric low-rank update from one matrix, faded in.

    ``W = W0 + u(t) (alpha / r) A A^T`` with A of size n x r and ``u(t) = min(t / T, 1)``. A rectangular layer takes the
    first rows of an A of the larger size on its shorter side: ``A[:m] A[:n]^T``.

    A starts uniform on ``(-1/sqrt(N), 1/sqrt(N))``, N the larger side: A = 0 is a saddle, so the ramp u alone makes the
    first model that of W0. (The paper says "Kaiming". Read with r in place of N, as torch counts for a tall matrix, the
    ramp adds a random positive matrix that is large enough to do harm.)

    Args:
        rank: r, at least 1.
        alpha: numerator of the scale; None takes r, as the paper does.
        ramp: T as a share of all steps of the run; u is 1 from then on.

    Raises:
        ValueError: rank is not an integer of at least 1, alpha is not finite, or ramp is not in (0, 1].

    Cost:
        r max(m, n) numbers, half of LoRA's for a square layer, and u; O(r (m + n)) time a token.

    Example:
        >>> SingLoRA(rank=4).n_params(768, 768)
        3072

    Source:
        Bensaid et al. (2025), sections 3 and 4. For a square layer the update is symmetric and positive semi-definite:
        there are updates that it can never reach.

    Taught in:
        30_one_matrix
    """

    name = "singlora"
    paper = "Bensaid et al. 2025, arXiv 2507.05566"
    needs = ("total_steps",)
    lr = 3e-3

    rank: int = 8
    alpha: float | None = None
    ramp: float = 0.01

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        if self.alpha is not None:
            check_number(self.name, "alpha", self.alpha)
        check_number(self.name, "ramp", self.ramp)
        if not 0 < self.ramp <= 1:
            raise ValueError(f"ramp of method {self.name!r} is {self.ramp!r}; it must be above 0 and at most 1")

    def n_params(self, m: int, n: int) -> int:
        return self.rank * max(m, n)

    def n_stored(self, m: int, n: int) -> int:
        return self.n_params(m, n) + 1  # and u

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        size = max(weight.shape)
        A = (torch.rand(size, self.rank, generator=generator) * 2 - 1) / sqrt(size)
        return {"A": A, "faded": nn.Buffer(torch.zeros(()))}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        A = tensors["A"]
        scale = (self.rank if self.alpha is None else self.alpha) / self.rank
        return LowRank(tensors["faded"] * scale * A[:m], A[:n].mT)

    def before_step(self, state: Any) -> None:
        # The first step is taken at t = 1: at u = 0 the gradient is exactly zero.
        u = min((state.step + 1) / (self.ramp * state.total_steps), 1.0)
        for adapter in self.layers.values():
            adapter.tensors()["faded"].fill_(u)

    def stir(self, adapter: Adapter, generator: torch.Generator) -> None:
        super().stir(adapter, generator)
        adapter.tensors()["faded"].fill_(1.0)
