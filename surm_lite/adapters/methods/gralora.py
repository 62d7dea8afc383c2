"""GraLoRA: a small LoRA for each block of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.methods.lora import LoRA
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.compose import Sum
from surm_lite.matrices.families.block_low_rank import BlockLowRank


@dataclass
class GraLoRA(Update):
    """A low-rank update for each block of a k x k grid.

    ``W = W0 + s [B_pq A_pq] (+ s B A)`` with B_pq of size m/k x r/k, A_pq of size r/k x n/k, ``s = alpha / (r + h)``.
    The last term is the hybrid's, an ordinary LoRA of rank h. As many numbers as LoRA, and rank up to k r: what one
    outlying input does to the gradient reaches the blocks of its own columns only.

    A_pq starts uniform on ``(-1/sqrt(n/k), 1/sqrt(n/k))``, as in the authors' code and in peft; B_pq starts at zero.

    Args:
        rank: r, of the grid alone, as peft counts; the authors' r includes h.
        alpha: numerator of the scale s.
        gralora_k: k, which divides both sides of a layer and r. None takes the paper's 2 where it does, and 1, which is
            LoRA, elsewhere.
        hybrid_r: h, the rank of the LoRA beside the grid; 0 for none.

    Raises:
        ValueError: gralora_k does not divide rank or both sides of a layer, or an option has the wrong type.

    Cost:
        (r + h) (m + n) numbers, for every k; as many multiplications a token.

    Example:
        >>> GraLoRA(rank=8, gralora_k=2).n_params(768, 768), LoRA(rank=8).n_params(768, 768)
        (12288, 12288)

    Source:
        Jung et al. (2025), sections 3 and 4.

    Taught in:
        28_blocks
    """

    name = "gralora"
    paper = "Jung et al. 2025, arXiv 2505.20355"
    lr = 3e-3

    rank: int = 8
    alpha: float = 16.0
    gralora_k: int | None = None
    hybrid_r: int = 0

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)
        if self.gralora_k is not None:
            check_count(self.name, "gralora_k", self.gralora_k)
        check_count(self.name, "hybrid_r", self.hybrid_r, least=0)
        if self.rank % (self.gralora_k or 1):
            raise ValueError(f"gralora_k of method {self.name!r} is {self.gralora_k}; it must divide rank={self.rank}")

    def _grid(self, m: int, n: int) -> int:
        k = (2 if not any(size % 2 for size in (m, n, self.rank)) else 1) if self.gralora_k is None else self.gralora_k
        if m % k or n % k:
            raise ValueError(f"gralora_k is {k}; it must divide both sides of the {m} x {n} layer")
        return k

    def n_params(self, m: int, n: int) -> int:
        self._grid(m, n)
        return (self.rank + self.hybrid_r) * (m + n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        k = self.gralora_k or 1
        yield from ({"rank": rank} for rank in range(k, max(k, min(m, n)) + 1, k))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        k = self._grid(m, n)
        s, bound = self.rank // k, sqrt(k / n)
        A = torch.rand(k, k, s, n // k, generator=generator) * (2 * bound) - bound
        tensors = {"A": A, "B": torch.zeros(k, k, m // k, s)}
        if self.hybrid_r:
            whole = LoRA(self.hybrid_r).begin(name, weight, generator)
            tensors |= {f"{key}_general": tensor for key, tensor in whole.items()}
        return tensors

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        scale = self.alpha / (self.rank + self.hybrid_r)
        grid = BlockLowRank(scale * tensors["B"], tensors["A"])
        if not self.hybrid_r:
            return grid
        whole = {key: tensors[f"{key}_general"] for key in "AB"}
        return Sum(grid, LoRA(self.hybrid_r, scale * self.hybrid_r).operator(m, n, whole))
