"""The low-displacement-rank update: sums of circulant times skew-circulant products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import LDR, StructuredMatrix
from surm_lite.matrices.compose import Corner


@dataclass
class LDRUpdate(Update):
    """A low-displacement-rank update.

    ``W = W0 + alpha sum_i Z_1(g_i) Z_-1(h_i)``, i = 1 .. r. A rectangular layer takes the leading m x n corner of the
    square update of size max(m, n).

    G starts at zero. H starts as N(0, 1/(n r)): then ``E|W(G,H) x|^2 = n var(g) |x|^2`` whatever r is. The authors'
    code draws N(0, 0.02^2) at every size and ignores its alpha.

    Args:
        rank: r, the number of terms, which bounds the displacement rank of a square update.
        alpha: scale of the update.

    Raises:
        ValueError: rank is not an integer of at least 1, or alpha is not a finite number.

    Cost:
        2 r max(m, n) numbers, of which 2 r n - r^2 are independent; O(r n log n) time a token.

    Example:
        >>> {k: tuple(t.shape) for k, t in LDRUpdate(rank=3).begin("0", torch.zeros(4, 6), torch.Generator()).items()}
        {'G': (3, 6), 'H': (3, 6)}

    Source:
        SURM, eq. 2; Sindhwani, Sainath and Kumar (2015), Theorem 3.1.

    Taught in:
        21_finetune_vit
    """

    name = "ldr"
    paper = "Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    lr = 1e-3

    rank: int = 1
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)

    def n_params(self, m: int, n: int) -> int:
        return 2 * self.rank * max(m, n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        k = max(m, n)
        H = torch.randn(self.rank, k, generator=generator) / sqrt(k * self.rank)
        return {"G": torch.zeros(self.rank, k), "H": H}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        whole = LDR(self.alpha * tensors["G"], tensors["H"])
        return whole if m == n else Corner(whole, m, n)
