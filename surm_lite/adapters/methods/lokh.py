"""LoKH: the Khatri-Rao product of several small factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_number, divisors
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.families.khatri_rao import KhatriRao

MOST = 4
"""Factors, as the paper has it."""


@dataclass
class LoKH(Update):
    """A Khatri-Rao product: each column of the update is a Kronecker product of short vectors.

    ``W = W0 + alpha F_1 ⊙ F_2 ⊙ ... ⊙ F_d`` with F_k of size m_k x n and ``m_1 m_2 ... m_d = m``. Its columns are
    independent almost always: full rank from few numbers, where m has many divisors.

    The last factor starts at zero, all others Gaussian with the standard deviation that gives their product one of
    ``1/sqrt(n)``: the start is the base model, and the last factor moves at once. (The paper says nothing of a start.)

    Args:
        rows: (m_1, ..., m_d), whose product is the number of outputs; None takes the split into at most four with the
            fewest numbers.
        alpha: scale of the update.

    Raises:
        ValueError: rows are not integers of at least 1 whose product is a layer's m, or alpha is not finite.

    Cost:
        (m_1 + ... + m_d) n numbers, 22 n at m = 768; a product costs what a dense one does, O(m n) a token.

    Example:
        >>> LoKH().n_params(768, 768), LoKH(rows=(24, 32)).n_params(768, 768)
        (16896, 43008)

    Source:
        Lu, Low-rank approximation, adaptation, and other tales (2024). KRAdapter (Albert et al., 2025) tests the idea
        with two factors.

    Taught in:
        38_products_that_grow_rank
    """

    name = "lokh"
    paper = "Lu 2024, arXiv 2408.05883"
    lr = 1e-2

    rows: tuple[int, ...] | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha)
        rows = self.rows
        if rows is not None and not (
            isinstance(rows, tuple) and rows and all(type(k) is int and 1 <= k < 2**31 for k in rows)
        ):
            raise ValueError(f"rows of method {self.name!r} is {rows!r}; it must be a tuple of integers of at least 1")

    def _rows(self, m: int) -> tuple[int, ...]:
        rows = min(splits(m), key=sum) if self.rows is None else self.rows
        if prod(rows) != m:
            raise ValueError(f"rows is {rows}; their product must be {m}, the number of outputs of the layer")
        return rows

    def n_params(self, m: int, n: int) -> int:
        return sum(self._rows(m)) * n

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"rows": rows} for rows in splits(m))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        *others, last = self._rows(m)
        std = n ** (-0.5 / max(1, len(others)))
        drawn = [torch.randn(k, n, generator=generator) * std for k in others]
        return {f"F{k}": factor for k, factor in enumerate([*drawn, torch.zeros(last, n)], 1)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        *others, last = (tensors[f"F{k}"] for k in range(1, len(self._rows(m)) + 1))
        first = reduce(lambda A, B: KhatriRao(A, B).to_dense(), others, last.new_ones(1, n))
        return KhatriRao(self.alpha * first, last)


def splits(m: int, most: int = MOST, least: int = 2) -> list[tuple[int, ...]]:
    """Every way to write m as a product of at most ``most`` ascending factors of at least ``least``; (1,) for 1."""
    found: list[tuple[int, ...]] = [(m,)]
    if most > 1:
        found += [(d, *rest) for d in divisors(m) if least <= d and d * d <= m for rest in splits(m // d, most - 1, d)]
    return found
