"""Kronecker products, multiplied without ever being formed."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian


class Kronecker(StructuredMatrix):
    """Every entry of A times a copy of B.

    ``A ⊗ B`` with A of size m1 x n1 and B of size m2 x n2 is (m1 m2) x (n1 n2). Reading x as an n1 x n2 matrix X,
    the product is ``A X B^T``: two small matrix products. rank(A ⊗ B) = rank(A) rank(B).

    Args:
        A: (*batch, m1, n1).
        B: (*batch, m2, n2).

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: an argument is empty or not at least 2-D, or dtype, device or batch dimensions disagree.

    Cost:
        O(m1 n1 n2 + m1 n2 m2) time or the same with the roles exchanged, whichever is less; m1 n1 + m2 n2 parameters.

    Example:
        >>> K = Kronecker(torch.tensor([[1.0, 2.0]]), torch.eye(2))
        >>> K.to_dense()
        tensor([[1., 0., 2., 0.],
                [0., 1., 0., 2.]])
        >>> K.apply(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        tensor([ 7., 10.])

    Source:
        SURM, section 3; Van Loan, The ubiquitous Kronecker product (2000).

    Taught in:
        03_product_rules, 04_full_rank_from_n, 13_outside_the_tent
    """

    fields = {"A": 2, "B": 2}
    formula = "A ⊗ B"
    by_fft = False
    A: Tensor
    B: Tensor

    def __init__(self, A: Tensor, B: Tensor) -> None:
        check_fields(type(self), A=A, B=B)
        (m1, n1), (m2, n2) = A.shape[-2:], B.shape[-2:]
        self._set((m1 * m2, n1 * n2), A=A, B=B)

    @property
    def dof(self) -> int:
        return self.n_params - 1  # (A, B) and (q A, B / q) give the same matrix

    def to_dense(self) -> Tensor:
        blocks = self.A[..., :, None, :, None] * self.B[..., None, :, None, :]  # (*batch, m1, m2, n1, n2)
        return blocks.flatten(-4, -3).flatten(-2, -1)

    def _product(self, x: Tensor) -> Tensor:
        A, B = self.A, self.B
        X = x.unflatten(-1, (A.shape[-1], B.shape[-1]))  # (..., n1, n2)
        # Two products, never one three-operand einsum: contracted left to right, that one would form A ⊗ B.
        Y = (A @ X) @ B.mT if self._left_first() else A @ (X @ B.mT)  # (..., m1, m2)
        return Y.flatten(-2)

    def _left_first(self) -> bool:
        (m1, n1), (m2, n2) = self.A.shape[-2:], self.B.shape[-2:]
        return m1 * n2 * (n1 + m2) <= n1 * m2 * (n2 + m1)

    @property
    def T(self) -> Kronecker:
        return Kronecker(self.A.mT, self.B.mT)

    def flops(self, batch: int = 1) -> int:
        (m1, n1), (m2, n2) = self.A.shape[-2:], self.B.shape[-2:]
        return 2 * batch * min(m1 * n2 * (n1 + m2), n1 * m2 * (n2 + m1))

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        a_shape: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> Kronecker:
        m, n = check_size(cls, m, n)
        (m1, n1), (m2, n2) = factor_shapes(m, n, a_shape)
        A = gaussian(m1, n1, std=1 / sqrt(n1), generator=generator, **like)
        return cls(A, gaussian(m2, n2, std=1 / sqrt(n2), generator=generator, **like))


def factor_shapes(m: int, n: int, a_shape: tuple[int, int] | None = None) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of A and B with A ⊗ B of size m x n.

    Args:
        m, n: size of the product.
        a_shape: (m1, n1) of A; by default the split with the fewest parameters, and among those the largest rank.

    Returns:
        (m1, n1), (m2, n2).

    Raises:
        ValueError: a_shape does not divide (m, n).

    Example:
        >>> factor_shapes(768, 768)
        ((24, 32), (32, 24))

    Source:
        SURM, section 5.1: 32 x 24 and 24 x 32 at n = 768, that is 1,536 numbers and rank 576.

    Taught in:
        04_full_rank_from_n
    """
    if a_shape is not None:
        if not (isinstance(a_shape, Sequence) and len(a_shape) == 2):
            raise ValueError(f"a_shape is {a_shape!r}; it must be a pair (m1, n1)")
        m1, n1 = a_shape
        check_count(m1, "a_shape[0]", Kronecker)
        check_count(n1, "a_shape[1]", Kronecker)
        if m % m1 or n % n1:
            raise ValueError(f"a_shape is {a_shape}; it must divide ({m}, {n})")
        return (m1, n1), (m // m1, n // n1)

    def cost(split: tuple[int, int]) -> tuple[int, int, int]:
        m1, n1 = split
        m2, n2 = m // m1, n // n1
        return m1 * n1 + m2 * n2, -min(m1, n1) * min(m2, n2), abs(m1 - n1)

    divisors = [[d for d in range(1, k + 1) if k % d == 0] for k in (m, n)]
    m1, n1 = min(((a, b) for a in divisors[0] for b in divisors[1]), key=cost)
    return (m1, n1), (m // m1, n // n1)
