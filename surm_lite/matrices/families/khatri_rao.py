"""Khatri-Rao products: a Kronecker product for each column."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite import guard
from surm_lite.matrices.arguments import check_flag
from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian


class KhatriRao(StructuredMatrix):
    """The column-wise Kronecker product.

    ``A ⊙ B``: column t is ``a_t ⊗ b_t``, so entry (i m2 + j, t) is ``A[i, t] B[j, t]``. The product with x is
    ``A diag(x) B^T``, read row by row. Products of small factors have full column rank almost always.

    Args:
        A: (*batch, m1, n).
        B: (*batch, m2, n).
        transposed: the transpose instead.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the factors have different numbers of columns, an argument is empty, or dtype, device or batch
            disagree.

    Cost:
        (m1 + m2) n parameters. As much time as a dense product, O(m1 m2 n), and min(m1, m2) n numbers kept for a
        vector; for many vectors the matrix is formed once.

    Example:
        >>> KhatriRao(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 10.0]])).to_dense()
        tensor([[ 1., 20.],
                [ 3., 40.]])

    Source:
        Khatri and Rao (1968).
    """

    fields = {"A": 2, "B": 2}
    formula = "A ⊙ B"
    by_fft = False
    A: Tensor
    B: Tensor
    transposed: bool

    def __init__(self, A: Tensor, B: Tensor, transposed: bool = False) -> None:
        check_fields(type(self), A=A, B=B)
        check_flag(transposed, "transposed of KhatriRao")
        (m1, n), (m2, n2) = A.shape[-2:], B.shape[-2:]
        if n != n2:
            raise ValueError(f"A is {tuple(A.shape)} and B is {tuple(B.shape)}; they must have as many columns")
        self._set((n, m1 * m2) if transposed else (m1 * m2, n), A=A, B=B, transposed=transposed)

    @property
    def options(self) -> dict[str, Any]:
        return {"transposed": self.transposed}

    @property
    def dof(self) -> int:
        return self.n_params - self.A.shape[-1]  # in each column (a, b) and (q a, b / q) give the same

    def to_dense(self) -> Tensor:
        dense = (self.A[..., :, None, :] * self.B[..., None, :, :]).flatten(-3, -2)
        return dense.mT if self.transposed else dense

    def _product(self, x: Tensor) -> Tensor:
        m1, m2 = self.A.shape[-2], self.B.shape[-2]
        exporting = torch.compiler.is_exporting()  # a graph serves any number of vectors
        many = exporting or x.numel() // x.shape[-1] * min(m1, m2) > m1 * m2
        if many and not self.batch_shape and not guard.active():
            return x @ self.to_dense().mT  # fewer numbers than all vectors would keep
        if self.transposed:
            X = x.unflatten(-1, (m1, m2))
            return ((X @ self.B) * self.A).sum(-2) if m1 <= m2 else ((X.mT @ self.A) * self.B).sum(-2)
        x = x[..., None, :]
        return ((self.A * x) @ self.B.mT if m1 <= m2 else self.A @ (self.B * x).mT).flatten(-2)

    @property
    def T(self) -> KhatriRao:
        return KhatriRao(self.A, self.B, not self.transposed)

    def flops(self, batch: int = 1) -> int:
        (m1, n), m2 = self.A.shape[-2:], self.B.shape[-2]
        return batch * n * (2 * m1 * m2 + min(m1, m2))

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        rows: int | None = None,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> KhatriRao:
        m, n = check_size(cls, m, n)
        m1 = balanced_rows(m) if rows is None else rows
        check_count(m1, "rows", cls)
        if m % m1:
            raise ValueError(f"rows is {m1}; it must divide the {m} rows of the product")
        A = gaussian(m1, n, std=n**-0.25, generator=generator, **like)
        return cls(A, gaussian(m // m1, n, std=n**-0.25, generator=generator, **like))


def balanced_rows(m: int) -> int:
    """m1 of the split m = m1 m2 with the fewest rows in all: the largest divisor up to the root of m."""
    return max(d for d in range(1, isqrt(m) + 1) if m % d == 0)
