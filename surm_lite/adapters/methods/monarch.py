"""MoRe: a Monarch matrix as the update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.methods.circulant import common_block
from surm_lite.adapters.options import check_count, check_number, divisors
from surm_lite.matrices import Monarch


@dataclass
class MonarchUpdate(Update):
    """Two block-diagonal matrices with a reshuffle between them.

    ``W = W0 + alpha P L P^T R``, R of N blocks of size N x n/N, L of N blocks of size m/N x N: the blocks of MoRe with
    rank N. As many numbers as LoRA of rank N, and rank up to N^2. Up to the order of the outputs it is GraLoRA on an
    N x N grid of blocks of rank one.

    R starts uniform on ``(-1/sqrt(n/N), 1/sqrt(n/N))``; L starts at zero.

    Args:
        nblocks: N, a divisor of both sides of a layer; None takes the largest one up to the paper's 4.
        alpha: scale of the update.

    Raises:
        ValueError: nblocks does not divide both sides of a layer, or an option has the wrong type.

    Cost:
        N (m + n) numbers, as many multiplications a token.

    Example:
        >>> MonarchUpdate(nblocks=4).n_params(768, 768)
        6144

    Source:
        Tan et al., MoRe (2024), section 3; Dao et al., Monarch (2022).

    Taught in:
        28_blocks
    """

    name = "monarch"
    paper = "Tan et al. 2024 (MoRe), arXiv 2408.17383"
    lr = 1e-2

    nblocks: int | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.nblocks is not None:
            check_count(self.name, "nblocks", self.nblocks)
        check_number(self.name, "alpha", self.alpha)

    def _blocks(self, m: int, n: int) -> int:
        largest = max(N for N in (1, 2, 3, 4) if gcd(m, n) % N == 0)
        return common_block(m, n, largest if self.nblocks is None else self.nblocks, "nblocks")

    def n_params(self, m: int, n: int) -> int:
        return self._blocks(m, n) * (m + n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"nblocks": N} for N in divisors(gcd(m, n)))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        N = self._blocks(m, n)
        bound = sqrt(N / n)
        R = torch.rand(N, N, n // N, generator=generator) * (2 * bound) - bound
        return {"R": R, "L": torch.zeros(N, m // N, N)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Monarch:
        return Monarch(self.alpha * tensors["L"], tensors["R"])
