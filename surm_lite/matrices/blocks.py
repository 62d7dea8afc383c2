"""Blocks of circulants: the rectangular circulant."""

from __future__ import annotations

from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor

from . import fft
from .base import StructuredMatrix, check_count, check_fields, check_size, gaussian
from .circulant import Circulant
from .operators import BlockShift


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
        q, b = self.kernel.shape[-2:]
        return fft.block_circular_product(self.kernel, x.unflatten(-1, (q, b))).flatten(-2)

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


def block_size(m: int, n: int, block: int | None = None) -> int:
    """b, a common divisor of m and n: by default the largest."""
    b = gcd(m, n) if block is None else block
    check_count(b, "block", BlockCirculant)
    if m % b or n % b:
        raise ValueError(f"block is {b}; it must divide both sides of {m} x {n}")
    return b
