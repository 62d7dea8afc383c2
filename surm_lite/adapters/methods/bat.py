"""Bat: MiSS with the weight as a guide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.methods.circulant import common_block
from surm_lite.adapters.methods.miss import AXES
from surm_lite.adapters.options import check_count, divisors, near
from surm_lite.adapters.rewrite import Rewrite

LARGEST = 16
"""Of the ranks that are chosen by themselves."""


@dataclass
class Bat(Rewrite):
    """Every block of the weight times one small matrix, plus that matrix.

    ``W'_pq = W_pq + W_pq D_p + D_p`` for the r x r blocks of the weight: the rows of blocks have a D each
    (``axis="col"``), or the columns of blocks do (``axis="row"``). With W = 0 it is MiSS; the term with W makes the
    shards of one D differ and the update of full rank.

    D starts at zero, where the first W' is W to the bit. Merging can be undone:
    ``W_pq = (W'_pq - D_p) (I + D_p)^-1``.

    Args:
        rank: r, a divisor of both sides of a layer; None takes the largest up to 16.
        axis: "col" (as peft has it) or "row".

    Raises:
        ValueError: rank does not divide both sides of a layer, or axis is neither "col" nor "row".

    Cost:
        r m numbers ("col") or r n ("row"); W is formed in every forward, O(m n r) beside the product with x.

    Example:
        >>> Bat(rank=16).n_params(768, 3072), Bat(rank=16, axis="row").n_params(768, 3072)
        (12288, 49152)

    Source:
        Kang and Yin (2024), versions 1 to 3 under the name Bone; peft's ``init_weights="bat"``.

    Taught in:
        28_blocks
    """

    name = "bat"
    paper = "Kang and Yin 2024, arXiv 2409.15371"
    lr = 1e-3

    rank: int | None = None
    axis: str = "col"

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_count(self.name, "rank", self.rank)
        if self.axis not in AXES:
            raise ValueError(near(f"axis of method {self.name!r}", str(self.axis), AXES))

    def _rank(self, m: int, n: int) -> int:
        largest = max(r for r in divisors(gcd(m, n)) if r <= LARGEST)
        return common_block(m, n, largest if self.rank is None else self.rank, "rank")

    def n_params(self, m: int, n: int) -> int:
        return self._rank(m, n) * (m if self.axis == "col" else n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rank": r} for r in divisors(gcd(m, n)))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        r = self._rank(m, n)
        return {"D": torch.zeros((m if self.axis == "col" else n) // r, r, r)}

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        D = tensors["D"].unsqueeze(1 if self.axis == "col" else 0)  # (p, 1, r, r) or (1, q, r, r)
        r = D.shape[-1]
        blocks = weight.unflatten(0, (-1, r)).unflatten(2, (-1, r)).transpose(1, 2)  # (p, q, r, r)
        return (blocks + (blocks @ D + D)).transpose(1, 2).flatten(2, 3).flatten(0, 1), bias
