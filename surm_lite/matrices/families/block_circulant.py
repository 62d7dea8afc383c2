"""Blocks of circulants: the rectangular circulant."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian
from surm_lite.matrices.families.circulant import Circulant
from surm_lite.matrices.operators import BlockShift


class BlockCirculant(StructuredMatrix):
    """p x q blocks, each a b x b circulant.

    Block (p, q) is ``Z_1(k[p, q])``. b = 1 is any dense matrix, one block is a circulant; every b that divides both
    sides gives m n / b numbers.

    Args:
        kernel: (*batch, p, q, b), the first **column** of each block. (peft's C3A takes first rows and divides by n.)

    Raises:
        TypeError: kernel is not a floating or complex tensor.
        ValueError: kernel is empty or has fewer than three dimensions.

    Cost:
        O((p + q) b log b + p q b) time, m n / b parameters.

    Example:
        >>> BlockCirculant(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).to_dense()
        tensor([[1., 2., 3., 4.],
                [2., 1., 4., 3.]])

    Source:
        Chen et al., C3A (2024), section 3.

    Taught in:
        04_full_rank_from_n
    """

    fields = {"kernel": 3}
    formula = "[Z₁(k_pq)]"
    operators = (BlockShift(1), BlockShift(-1))
    kernel: Tensor

    def __init__(self, kernel: Tensor) -> None:
        check_fields(type(self), kernel=kernel)
        p, q, b = kernel.shape[-3:]
        self._set((p * b, q * b), kernel=kernel)

    @property
    def block(self) -> int:
        """b, the side of a block."""
        return self.kernel.shape[-1]

    def to_dense(self) -> Tensor:
        blocks = Circulant(self.kernel).to_dense()  # (*batch, p, q, b, b)
        return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)  # (*batch, p b, q b)

    def _product(self, x: Tensor) -> Tensor:
        b = self.block
        F = fft.Circular(b, x)  # it makes every block diagonal: at each frequency is left a p x q matrix
        y = at_each_frequency(F.forward(self.kernel), F.forward(x.unflatten(-1, (-1, b))))
        return F.inverse(y, b).flatten(-2)

    def adjoint(self, g: Tensor, x: Tensor) -> tuple[Tensor]:
        return (fft.block_correlation(*(v.unflatten(-1, (-1, self.block)) for v in (g, x))),)

    @property
    def T(self) -> BlockCirculant:
        return BlockCirculant(Circulant(self.kernel.transpose(-3, -2)).T.column)

    def flops(self, batch: int = 1) -> int:
        p, q, b = self.kernel.shape[-3:]
        transforms = (p * q + batch * (p + q)) * fft.flops(b, self.dtype.is_complex)
        return transforms + 8 * batch * p * q * (b // 2 + 1)

    @classmethod
    def random(  # type: ignore[override]
        cls,
        m: int,
        n: int | None = None,
        *,
        block: int | None = None,
        generator: torch.Generator | None = None,
        **like: Any,
    ) -> BlockCirculant:
        m, n = check_size(cls, m, n)
        b = block_size(m, n, block)
        return cls(gaussian(m // b, n // b, b, std=1 / sqrt(n), generator=generator, **like))


def at_each_frequency(K: Tensor, X: Tensor) -> Tensor:
    """(..., p, q, f) times (..., q, f) -> (..., p, f). An unbatched K is one batched matmul with f as its batch."""
    if K.ndim == 3 and X.ndim > 2:
        flat = X.flatten(0, -3).permute(2, 1, 0)  # (f, q, vectors)
        Y = K.permute(2, 0, 1) @ flat  # (f, p, vectors)
        return Y.permute(2, 1, 0).unflatten(0, X.shape[:-2])  # (..., p, f)
    return (K * X[..., None, :, :]).sum(-2)


def block_size(m: int, n: int, block: int | None = None) -> int:
    """b, a common divisor of m and n: by default the largest."""
    b = gcd(m, n) if block is None else block
    check_count(b, "block", BlockCirculant)
    if m % b or n % b:
        raise ValueError(f"block is {b}; it must divide both sides of {m} x {n}")
    return b
