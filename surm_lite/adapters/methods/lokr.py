"""LoKr: a Kronecker product whose factors may be of low rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_flag, check_number, divisors
from surm_lite.matrices import Kronecker


@dataclass
class LoKr(Update):
    """A Kronecker-product update, its larger factor of low rank.

    ``W = W0 + s w1 ⊗ w2`` with ``s = alpha / r``; w2 is ``w2_a w2_b`` of rank r, or whole where r is half of its longer
    side or more. ``kronecker`` is the same product with whole factors of any shape.

    w1 (or the w1_a of ``decompose_both``) starts at zero, all other factors uniform on ``(-1/sqrt(k), 1/sqrt(k))``, k
    their width, as in peft.

    Args:
        rank: r, of the second factor.
        alpha: numerator of the scale s.
        decompose_both: w1 too is of rank r, by the same rule.
        decompose_factor: rows and columns of w1: itself where it divides a side of the layer, elsewhere the largest
            divisor below it that is not above the root of that side. -1 for the divisors nearest to the roots.

    Raises:
        ValueError: an option of the wrong type or out of range.

    Cost:
        at 768 x 768 with rank 8, 24 x 24 + 8 (32 + 32) = 1,088 numbers; O(m1 n1 n2 + m1 n2 m2) time a token.

    Example:
        >>> LoKr(rank=8).n_params(768, 768)
        1088

    Source:
        Yeh et al., LyCORIS (2024); peft's ``LoKrConfig``.

    Taught in:
        38_products_that_grow_rank
    """

    name = "lokr"
    paper = "Yeh et al. 2024 (LyCORIS), arXiv 2309.14859"
    lr = 1e-2

    rank: int = 8
    alpha: float = 8.0
    decompose_both: bool = False
    decompose_factor: int = -1

    def __post_init__(self) -> None:
        check_count(self.name, "rank", self.rank)
        check_number(self.name, "alpha", self.alpha)
        check_flag(self.name, "decompose_both", self.decompose_both)
        if type(self.decompose_factor) is not int or (self.decompose_factor < 1 and self.decompose_factor != -1):
            said = f"decompose_factor of method {self.name!r} is {self.decompose_factor!r}"
            raise ValueError(f"{said}; it must be -1 or an integer of at least 1")

    def _shapes(self, m: int, n: int) -> dict[str, tuple[int, int]]:
        """The trained factors by name, the first of them the one that starts at zero."""
        (m1, m2), (n1, n2) = (_split(size, self.decompose_factor) for size in (m, n))
        r = self.rank
        found: dict[str, tuple[int, int]] = {}
        for key, rows, columns, may in (("w1", m1, n1, self.decompose_both), ("w2", m2, n2, True)):
            thin = may and 2 * r < max(rows, columns)
            found |= {f"{key}_a": (rows, r), f"{key}_b": (r, columns)} if thin else {key: (rows, columns)}
        return found

    def n_params(self, m: int, n: int) -> int:
        return sum(rows * columns for rows, columns in self._shapes(m, n).values())

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        for factor in [d for d in divisors(m) if n % d == 0] + [-1]:
            longer = max(_split(m, factor)[1], _split(n, factor)[1])
            yield from ({"rank": r, "decompose_factor": factor} for r in range(1, (longer + 1) // 2 + 1))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        zero, *others = self._shapes(m, n).items()
        drawn = {key: (torch.rand(shape, generator=generator) * 2 - 1) / sqrt(shape[1]) for key, shape in others}
        return {zero[0]: torch.zeros(zero[1]), **drawn}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Kronecker:
        return Kronecker(self.alpha / self.rank * _factor("w1", tensors), _factor("w2", tensors))


def _factor(key: str, tensors: Mapping[str, Tensor]) -> Tensor:
    if key in tensors:
        return tensors[key]
    thin = tensors[f"{key}_a"]
    return (thin @ tensors[f"{key}_b"]).to(thin.dtype)  # autocast multiplies in half precision, and leaves it there


def _split(size: int, factor: int) -> tuple[int, int]:
    """peft's rule: (factor, size / factor) where it divides, else by the largest divisor up to it and the root."""
    first = factor
    if factor < 0 or size % factor:
        most = isqrt(size) if factor < 0 else min(factor, isqrt(size))
        first = max(d for d in range(1, most + 1) if size % d == 0)
    return first, size // first
