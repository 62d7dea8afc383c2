"""LoRA: the low-rank update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_flag, check_number
from surm_lite.matrices import LowRank


@dataclass
class LoRA(Update):
    """A low-rank update.

    ``W = W0 + s B A`` with B of size m x r, A of size r x n and ``s = alpha / r``.

    A starts uniform on ``(-1/sqrt(n), 1/sqrt(n))``, as in the authors' code and in peft (the paper says Gaussian); B
    starts at zero, so A has no gradient in the very first step.

    Args:
        rank: r, at least 1.
        alpha: numerator of the scale s. With a fixed alpha a learning rate found at one rank serves at another.
        rslora: divide alpha by sqrt(r) instead of r, which keeps large ranks from learning too slowly.

    Raises:
        ValueError: rank is not an integer of at least 1, alpha is not finite, or rslora is not a bool.

    Cost:
        r (m + n) numbers; O(r (m + n)) time a token.

    Example:
        >>> LoRA(rank=4)
        LoRA(rank=4, alpha=8.0, rslora=False)

    Source:
        Hu et al., LoRA (2021), section 4.1; Kalajdzievski, rsLoRA (2023).

    Taught in:
        18_lora_adapters, 21_finetune_vit
    """

    name = "lora"
    paper = "Hu et al. 2021, arXiv 2106.09685"
    lr = 1e-3

    rank: int = 8
    alpha: float = 8.0
    rslora: bool = False

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)
        check_flag(self.name, "rslora", self.rslora)

    def n_params(self, m: int, n: int) -> int:
        return self.rank * (m + n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        bound = 1 / sqrt(n)
        A = torch.rand(self.rank, n, generator=generator) * (2 * bound) - bound
        return {"A": A, "B": torch.zeros(m, self.rank)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        scale = self.alpha / (sqrt(self.rank) if self.rslora else self.rank)
        return LowRank(scale * tensors["B"], tensors["A"])
