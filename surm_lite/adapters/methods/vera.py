"""VeRA: two trained vectors around two frozen random matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_number, check_seed
from surm_lite.matrices import LowRank


@dataclass
class VeRA(Update):
    """A low-rank update whose factors are random, of which only the scales are trained.

    ``W = W0 + diag(b) B diag(d) A`` with B of size m x r and A of size r x n. Both are random, uniform with variance
    2 / r and 2 / n (Kaiming), and stay as they are; b starts at zero and d at ``d_initial``.

    Layers of one shape have the same A and B, and in a model of one shape they are peft's for the same key. (peft
    draws one pair of the largest size and cuts it for smaller layers.)

    Args:
        rank: r, at least 1; it may exceed min(m, n).
        d_initial: start of d.
        projection_prng_key: seed of A and B.

    Raises:
        ValueError: rank or projection_prng_key is no integer of the right size, or d_initial is not a finite number.

    Cost:
        m + r numbers; r (m + n) frozen ones in memory and not in the file; O(r (m + n)) time a token.

    Example:
        >>> VeRA().n_params(768, 768)
        1024

    Source:
        Kopiczko, Blankevoort and Asano (2023), section 3.

    Taught in:
        39_rotations_spectra_bases
    """

    name = "vera"
    paper = "Kopiczko et al. 2023, arXiv 2310.11454"
    lr = 3e-2

    rank: int = 256
    d_initial: float = 0.1
    projection_prng_key: int = 0

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "d_initial", self.d_initial)
        check_seed(self.name, "projection_prng_key", self.projection_prng_key)

    def n_params(self, m: int, n: int) -> int:
        return m + self.rank

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": rank} for rank in range(1, 4 * max(m, n) + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        (m, n), chance = weight.shape, torch.Generator().manual_seed(self.projection_prng_key)
        A, B = (torch.empty(size).uniform_(-k, k, generator=chance)
                for size, k in (((self.rank, n), sqrt(6 / n)), ((m, self.rank), sqrt(6 / self.rank))))  # fmt: skip
        trained = {"b": torch.zeros(m), "d": torch.full((self.rank,), float(self.d_initial))}
        return {**trained, "A": nn.Buffer(A, persistent=False), "B": nn.Buffer(B, persistent=False)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> LowRank:
        return LowRank(tensors["b"][:, None] * tensors["B"], tensors["d"][:, None] * tensors["A"])
