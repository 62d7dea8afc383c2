"""A grid of low-rank blocks."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian


class BlockLowRank(StructuredMatrix):
    """A grid of blocks, each of low rank.

    Block (p, q) is ``B[p, q] A[p, q]``. On a k x k grid of blocks of rank s the whole has rank up to k^2 s, and as many
    numbers as a matrix of rank k s.

    Args:
        B: (*batch, p, q, o, s), the tall factors.
        A: (*batch, p, q, s, i), the wide ones.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the grids or the inner sizes differ, or an argument is empty, or dtype, device or batch disagree.

    Cost:
        p q s (o + i) time and parameters.

    Example:
        >>> BlockLowRank(torch.tensor([[[[1.0]], [[2.0]]]]), torch.ones(1, 2, 1, 2)).to_dense()
        tensor([[1., 1., 2., 2.]])

    Source:
        Jung et al., GraLoRA (2025), section 3.
    """

    fields = {"B": 4, "A": 4}
    formula = "[B_pq A_pq]"
    by_fft = False
    B: Tensor
    A: Tensor

    def __init__(self, B: Tensor, A: Tensor) -> None:
        check_fields(type(self), B=B, A=A)
        (p, q, o, s), (*grid, s2, i) = B.shape[-4:], A.shape[-4:]
        if (p, q, s) != (*grid, s2):
            raise ValueError(
                f"B is {tuple(B.shape)} and A is {tuple(A.shape)}; they must be (p, q, o, s), (p, q, s, i)"
            )
        self._set((p * o, q * i), B=B, A=A)

    @property
    def dof(self) -> int:
        p, q, o, s = self.B.shape[-4:]
        i = self.A.shape[-1]
        r = min(s, o, i)
        return p * q * r * (o + i - r)

    def to_dense(self) -> Tensor:
        return (self.B @ self.A).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)  # (*batch, p o, q i)

    def _product(self, x: Tensor) -> Tensor:
        z = torch.einsum("...pqsi,...qi->...pqs", self.A, x.unflatten(-1, (-1, self.A.shape[-1])))
        return torch.einsum("...pqos,...pqs->...po", self.B, z).flatten(-2)

    @property
    def T(self) -> BlockLowRank:
        return BlockLowRank(self.A.mT.transpose(-4, -3), self.B.mT.transpose(-4, -3))

    def flops(self, batch: int = 1) -> int:
        return 2 * batch * self.n_params

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        grid: int | None = None,
        rank: int = 1,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> BlockLowRank:
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        smallest = next((d for d in range(2, m + 1) if gcd(m, n) % d == 0), 1)
        k = smallest if grid is None else grid
        check_count(k, "grid", cls)
        if m % k or n % k:
            raise ValueError(f"grid is {k}; it must divide both sides of {m} x {n}")
        B = gaussian(k, k, m // k, rank, std=1 / sqrt(rank), generator=generator, **like)
        return cls(B, gaussian(k, k, rank, n // k, std=1 / sqrt(n), generator=generator, **like))
