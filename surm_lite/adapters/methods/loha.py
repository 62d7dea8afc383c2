"""LoHa: the entry-wise product of two low-rank matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import LowRank


@dataclass
class LoHa(Update):
    """The Hadamard product of two low-rank updates.

    ``W = W0 + s (w1_a w1_b) * (w2_a w2_b)`` with ``s = alpha / r``, where * multiplies entry by entry. Its rank reaches
    r^2, for it is itself a product of thin matrices, and is multiplied as one: of the row-wise Kronecker product of
    w1_a and w2_a, m x r^2, and the column-wise one of w1_b and w2_b, r^2 x n.

    w2_b starts at zero; w1_a and w2_a uniform on ``(-1/sqrt(r), 1/sqrt(r))``, w1_b on ``(-1/sqrt(n), 1/sqrt(n))``, as
    in peft.

    Args:
        rank: r, of each of the two.
        alpha: numerator of the scale s.

    Raises:
        ValueError: rank is not an integer of at least 1, or alpha is not finite.

    Cost:
        2 r (m + n) numbers; O(r^2 (m + n)) time a token.

    Example:
        >>> LoHa(rank=4).n_params(768, 768)
        12288

    Source:
        Hyeon-Woo et al., FedPara (2022), section 2; peft's ``LoHaConfig``.

    Taught in:
        38_products_that_grow_rank
    """

    name = "loha"
    paper = "Hyeon-Woo et al. 2022, arXiv 2108.06098"
    lr = 5e-3

    rank: int = 8
    alpha: float = 8.0

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)

    def n_params(self, m: int, n: int) -> int:
        return 2 * self.rank * (m + n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape

        def uniform(rows: int, columns: int) -> Tensor:
            return (torch.rand(rows, columns, generator=generator) * 2 - 1) / sqrt(columns)

        r = self.rank
        return {"w1_a": uniform(m, r), "w1_b": uniform(r, n), "w2_a": uniform(m, r), "w2_b": torch.zeros(r, n)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        w1_a, w1_b, w2_a, w2_b = (tensors[key] for key in ("w1_a", "w1_b", "w2_a", "w2_b"))
        left = (w1_a[:, :, None] * w2_a[:, None, :]).flatten(1)  # (m, r^2)
        right = (w1_b[:, None, :] * w2_b[None, :, :]).flatten(0, 1)  # (r^2, n)
        return LowRank(self.alpha / self.rank * left, right)
