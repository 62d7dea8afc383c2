"""Monarch matrices: two block-diagonal factors with a transposition between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.arguments import check_flag
from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian


class Monarch(StructuredMatrix):
    """Two block-diagonal matrices with a reshuffle between them.

    ``M = P L P^T R``: reading x as a k x i array, R mixes each row, the array is transposed, L mixes each row again.
    Entry ((o, q), (k, i)) is ``L[q, o, k] R[k, q, i]``, so every slice with q and k fixed has rank one. It is full rank
    and fast, and generically not of low displacement rank for shifts.

    Args:
        L: (*batch, q, o, k): q blocks of size o x k.
        R: (*batch, k, q, i): k blocks of size q x i.
        transposed: the transpose ``R^T P L^T P^T`` instead.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the block sizes do not meet, or an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        (o q k + k q i) time and parameters: 2 n sqrt(n) for square blocks.

    Example:
        >>> M = Monarch(torch.ones(2, 2, 2), torch.ones(2, 2, 2))
        >>> M.shape, M.n_params, int(M.to_dense().sum())
        ((4, 4), 16, 16)

    Source:
        Dao et al., Monarch (2022), section 3.

    Taught in:
        04_full_rank_from_n, 13_outside_the_tent
    """

    fields = {"L": 3, "R": 3}
    formula = "P L Pᵀ R"
    by_fft = False
    L: Tensor
    R: Tensor
    transposed: bool

    def __init__(self, L: Tensor, R: Tensor, transposed: bool = False) -> None:
        check_fields(type(self), L=L, R=R)
        check_flag(transposed, "transposed of Monarch")
        (q, o, k), (k2, q2, i) = L.shape[-3:], R.shape[-3:]
        if (q, k) != (q2, k2):
            raise ValueError(f"L is {tuple(L.shape)} and R is {tuple(R.shape)}; they must be (q, o, k) and (k, q, i)")
        shape = (k * i, o * q) if transposed else (o * q, k * i)
        self._set(shape, L=L, R=R, transposed=transposed)

    @property
    def options(self) -> dict[str, Any]:
        return {"transposed": self.transposed}

    @property
    def dof(self) -> int:
        return self.n_params - self.L.shape[-3] * self.L.shape[-1]  # each rank-one slice has one free scale

    def to_dense(self) -> Tensor:
        # (*batch, o, q, k, i)
        slices = self.L.movedim(-3, -2)[..., None] * self.R.transpose(-3, -2)[..., None, :, :, :]
        dense = slices.flatten(-4, -3).flatten(-2, -1)
        return dense.mT if self.transposed else dense

    def _product(self, x: Tensor) -> Tensor:
        (_, o, k), (_, q, i) = self.L.shape[-3:], self.R.shape[-3:]
        if self.transposed:
            y = torch.einsum("...qok,...oq->...kq", self.L, x.unflatten(-1, (o, q)))
            return torch.einsum("...kqi,...kq->...ki", self.R, y).flatten(-2)
        y = torch.einsum("...kqi,...ki->...kq", self.R, x.unflatten(-1, (k, i)))
        return torch.einsum("...qok,...kq->...oq", self.L, y).flatten(-2)

    @property
    def T(self) -> Monarch:
        return Monarch(self.L, self.R, not self.transposed)

    def flops(self, batch: int = 1) -> int:
        return 2 * batch * self.n_params

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        blocks: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> Monarch:
        m, n = check_size(cls, m, n)
        q, k = block_counts(m, n, blocks)
        L = gaussian(q, m // q, k, std=1 / sqrt(k), generator=generator, **like)
        return cls(L, gaussian(k, q, n // k, std=1 / sqrt(n // k), generator=generator, **like))


def block_counts(m: int, n: int, blocks: tuple[int, int] | None = None) -> tuple[int, int]:
    """(q, k): the number of blocks of L and of R; by default the divisors of m and n nearest to their square roots."""
    if blocks is None:
        q, k = (min((d for d in range(1, s + 1) if s % d == 0), key=lambda d: abs(d - isqrt(s))) for s in (m, n))
        return q, k
    if not (isinstance(blocks, Sequence) and len(blocks) == 2):
        raise ValueError(f"blocks is {blocks!r}; it must be a pair (q, k)")
    q, k = blocks
    check_count(q, "blocks[0]", Monarch)
    check_count(k, "blocks[1]", Monarch)
    if m % q or n % k:
        raise ValueError(f"blocks is {blocks}; it must divide ({m}, {n})")
    return q, k
