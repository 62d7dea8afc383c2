"""RandLoRA: full rank from a sum of scaled random products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_number, check_seed
from surm_lite.matrices import LowRank


@dataclass
class RandLoRA(Update):
    """A sum of random low-rank products, of which only the scales are trained.

    ``W = W0 + (alpha / r) sum_j B_j diag(l_j) A diag(g_j)``, j = 1, ..., N, with ``N = ceil(min(m, n) / r)``, so that
    the sum can have full rank. Every B_j (m x r) and the one A (r x n) are random, uniform with variance 1, and stay as
    they are; the vectors l_j (r numbers) start at zero and g_j (n numbers) at ``1 / max(N, n)``. On a layer with m < n
    it is the transpose of that, so that the trained vectors lie along the shorter side.

    Args:
        rank: r, at least 1: the larger, the fewer numbers.
        alpha: numerator of the scale; typically 20 r, which is what ``sizes`` takes.
        projection_prng_key: seed of A and the B_j.

    Raises:
        ValueError: rank or projection_prng_key is no integer of the right size, or alpha is not a finite number.

    Cost:
        N (r + min(m, n)) numbers; about m n frozen ones in memory and not in the file; O(min(m, n) (m + n)) time a
        token, which is no less than the frozen layer takes.

    Example:
        >>> RandLoRA(rank=32).n_params(768, 768)
        19200

    Source:
        Albert et al. (2025), section 4; start and scale as peft has them. peft sends row (k, j) of its factor to column
        (j, k) of the other, which permutes columns that are random anyway.

    Taught in:
        39_rotations_spectra_bases
    """

    name = "randlora"
    paper = "Albert et al. 2025, arXiv 2502.00987"
    lr = 3e-4

    rank: int = 32
    alpha: float = 640.0
    projection_prng_key: int = 0

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)
        check_seed(self.name, "projection_prng_key", self.projection_prng_key)

    def _terms(self, m: int, n: int) -> int:
        return ceil(min(m, n) / self.rank)

    def n_params(self, m: int, n: int) -> int:
        return self._terms(m, n) * (self.rank + min(m, n))

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank, "alpha": 20.0 * rank} for rank in range(1, min(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        (short, long), chance = sorted(weight.shape), torch.Generator().manual_seed(self.projection_prng_key)
        N, r, k = self._terms(short, long), self.rank, sqrt(3)
        A = torch.empty(r, short).uniform_(-k, k, generator=chance)
        B = torch.empty(N, long, r).uniform_(-k, k, generator=chance)
        trained = {"l": torch.zeros(N, r), "g": torch.full((N, short), 1 / max(N, short))}
        return {**trained, "A": nn.Buffer(A, persistent=False), "B": nn.Buffer(B, persistent=False)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        scaled = tensors["l"][:, :, None] * tensors["A"] * tensors["g"][:, None]  # (N, r, short)
        right = self.alpha / self.rank * scaled.flatten(0, 1)
        left = tensors["B"].mT.flatten(0, 1).mT  # (long, N r)
        return LowRank(left, right) if m >= n else LowRank(right.mT, left.mT)
