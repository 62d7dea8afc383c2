"""The Kronecker update: two small matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_number, divisors
from surm_lite.matrices import Kronecker, factor_shapes


@dataclass
class KroneckerUpdate(Update):
    """A Kronecker-product update.

    ``W = W0 + alpha A ⊗ B`` with A of size m1 x n1 and B of size (m / m1) x (n / n1).

    A starts at zero. B starts as N(0, 1/n2) with n2 its width, so that it keeps the norm of a row on average; the
    authors' code draws Kaiming-uniform, which is a third of that variance, and divides alpha by a rank.

    Args:
        a_shape: (m1, n1) of A; None takes the split with the fewest numbers and, among those, the highest rank: near
            2 sqrt(m n) numbers, at 768 x 768 that is 1,536 numbers and rank 576.
        alpha: scale of the update.

    Raises:
        ValueError: a_shape does not divide a layer's (m, n), or alpha is not a finite number.

    Cost:
        m1 n1 + m n / (m1 n1) numbers; O(m1 n1 n2 + m1 n2 m2) time a token.

    Example:
        >>> start = KroneckerUpdate().begin("0", torch.zeros(768, 768), torch.Generator())
        >>> {k: tuple(t.shape) for k, t in start.items()}
        {'A': (24, 32), 'B': (32, 24)}

    Source:
        SURM, section 5.1.

    Taught in:
        21_finetune_vit
    """

    name = "kronecker"
    paper = "Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    lr = 3e-3

    a_shape: tuple[int, int] | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha)
        shape = self.a_shape
        if shape is not None and not (
            isinstance(shape, tuple) and len(shape) == 2 and all(type(k) is int and k > 0 for k in shape)
        ):
            raise ValueError(f"a_shape of method {self.name!r} is {shape!r}; it must be two integers of at least 1")

    def n_params(self, m: int, n: int) -> int:
        (m1, n1), (m2, n2) = factor_shapes(m, n, self.a_shape)
        return m1 * n1 + m2 * n2

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        """Shapes of A; those with equally many numbers in the order of the rank that A ⊗ B can have."""
        shapes = [(m1, n1) for m1 in divisors(m) for n1 in divisors(n)]
        ranks = {shape: min(shape) * min(m // shape[0], n // shape[1]) for shape in shapes}
        yield from ({"a_shape": shape} for shape in sorted(shapes, key=ranks.__getitem__))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        a_shape, b_shape = factor_shapes(m, n, self.a_shape)
        return {"A": torch.zeros(a_shape), "B": torch.randn(b_shape, generator=generator) / sqrt(b_shape[1])}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Kronecker:
        return Kronecker(self.alpha * tensors["A"], tensors["B"])
