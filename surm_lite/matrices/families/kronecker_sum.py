"""Sums of Kronecker products."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian
from surm_lite.matrices.families.kronecker import Kronecker, factor_shapes


class KroneckerSum(StructuredMatrix):
    """Several Kronecker products of one shape, added up.

    ``sum_i A_i ⊗ B_i``. Rearranged so that each block becomes a row, a Kronecker product is a matrix of rank 1 and a
    sum of k of them one of rank k: enough terms give every matrix. (``A ⊗ I + I ⊗ B``, also called the Kronecker sum
    of A and B, is a member with two terms.)

    Args:
        A: (*batch, k, m1, n1), the left factors.
        B: (*batch, k, m2, n2), the right factors.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: A and B hold different numbers of terms, an argument is empty, or dtype, device or batch disagree.

    Cost:
        k times that of ``Kronecker``; k (p + q) parameters with p = m1 n1 and q = m2 n2, of which k (p + q - k) are
        independent.

    Example:
        >>> I, D = torch.eye(2), torch.diag(torch.tensor([1.0, 2.0]))
        >>> KroneckerSum(torch.stack([D, I]), torch.stack([I, D])).to_dense().diag()  # D ⊗ I + I ⊗ D
        tensor([2., 3., 3., 4.])

    Source:
        Van Loan and Pitsianis, Approximation with Kronecker products (1993).

    Taught in:
        03_product_rules
    """

    fields = {"A": 3, "B": 3}
    formula = "Σ Aᵢ ⊗ Bᵢ"
    by_fft = False
    A: Tensor
    B: Tensor

    def __init__(self, A: Tensor, B: Tensor) -> None:
        check_fields(type(self), A=A, B=B)
        (k, m1, n1), (terms, m2, n2) = A.shape[-3:], B.shape[-3:]
        if k != terms:
            raise ValueError(f"A holds {k} terms and B holds {terms}; they must agree")
        self._set((m1 * m2, n1 * n2), A=A, B=B)

    @property
    def terms(self) -> Kronecker:
        """The products, as one Kronecker operator with a batch dimension."""
        return Kronecker(self.A, self.B)

    @property
    def dof(self) -> int:
        p, q = (t.shape[-2:].numel() for t in self.tensors)
        k = min(self.A.shape[-3], p, q)
        return k * (p + q - k)  # the dimension of the p x q matrices of rank k

    def to_dense(self) -> Tensor:
        return self.terms.to_dense().sum(-3)

    def _product(self, x: Tensor) -> Tensor:
        return self.terms.apply(x[..., None, :]).sum(-2)

    @property
    def T(self) -> KroneckerSum:
        return KroneckerSum(self.A.mT, self.B.mT)

    def flops(self, batch: int = 1) -> int:
        k = self.A.shape[-3]
        return k * self.terms.flops(batch) + batch * k * self.shape[0]

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        terms: int = 2,
        a_shape: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> KroneckerSum:
        m, n = check_size(cls, m, n)
        check_count(terms, "terms", cls)
        (m1, n1), (m2, n2) = factor_shapes(m, n, a_shape)
        A = gaussian(terms, m1, n1, std=1 / sqrt(n1 * terms), generator=generator, **like)
        return cls(A, gaussian(terms, m2, n2, std=1 / sqrt(n2), generator=generator, **like))
