"""Vandermonde matrices: polynomials evaluated at given nodes."""

from __future__ import annotations

from math import ceil, isqrt
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Inexact
from torch import Tensor

from surm_lite.matrices.arguments import check_draw
from surm_lite.matrices.base import StructuredMatrix, check_fields, check_size
from surm_lite.matrices.operators import Nodes, Shift


class _Powers(StructuredMatrix):
    """Nodes and a number of powers: what a Vandermonde matrix and its transpose share."""

    fields = {"nodes": 1}
    # Powers lose digits fast: half precision is computed in float32, as for the FFT families.
    by_fft = True
    nodes: Tensor
    powers: int

    @property
    def options(self) -> dict[str, Any]:
        return {"n": self.powers}

    @property
    def dof(self) -> int:
        return self.n_params if self.powers > 1 else 0  # a single column of ones depends on nothing

    def flops(self, batch: int = 1) -> int:
        m, n, step = self.nodes.shape[-1], self.powers, baby_steps(self.powers)
        return 2 * batch * m * (n + ceil(n / step))


class Vandermonde(_Powers):
    """Row i holds the powers of node i: multiplying by it evaluates a polynomial at every node.

    ``V[i, j] = s_i^j``, j = 0 .. n-1. The product writes ``j = a b + c`` with b near sqrt(n): a matrix product with b
    powers, then a sum against the powers of s^b. So no m x n matrix is formed, and nothing loops over n.

    Args:
        nodes: (*batch, m), the nodes s.
        n: number of powers; default m.

    Raises:
        TypeError: nodes is not a floating or complex tensor.
        ValueError: nodes is empty, or n is not an integer of at least 1.

    Cost:
        O(m n) time, O(m sqrt(n)) memory a vector, m parameters.

    Example:
        >>> Vandermonde(torch.tensor([2.0, 3.0]), n=4).to_dense()
        tensor([[ 1.,  2.,  4.,  8.],
                [ 1.,  3.,  9., 27.]])

    Source:
        Pan, Structured Matrices and Polynomials (2001), chapters 2 and 3.

    Taught in:
        08_four_families
    """

    formula = "sᵢʲ"
    operators = (Nodes("nodes", "s"), Shift(1))

    def __init__(self, nodes: Tensor, n: int | None = None) -> None:
        check_fields(type(self), nodes=nodes)
        m, n = check_size(type(self), nodes.shape[-1], nodes.shape[-1] if n is None else n)
        self._set((m, n), nodes=nodes, powers=n)

    def to_dense(self) -> Tensor:
        return powers(self.nodes, self.powers)

    def _product(self, x: Tensor) -> Tensor:
        step, small, large = self._steps()
        X = pad(x, step).unflatten(-1, (-1, step))  # (..., n/b, b)
        return ((small @ X.mT) * large).sum(-1)  # (..., m, n/b) -> (..., m)

    def _steps(self) -> tuple[int, Tensor, Tensor]:
        """b, the powers 0 .. b-1 of every node, and the multiples of b."""
        step = baby_steps(self.powers)
        small = powers(self.nodes, step)  # (*batch, m, b)
        large = powers(small[..., -1] * self.nodes, ceil(self.powers / step))
        return step, small, large

    @property
    def T(self) -> TransposedVandermonde:
        return TransposedVandermonde(self.nodes, self.powers)

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> Vandermonde:
        """Nodes uniform in (-1/2, 1/2): |W|_F^2 is 1.1 m, near m as for every family; column 0 alone gives m."""
        m, n = check_size(cls, m, n)
        return cls(uniform(m, generator=generator, **like), n)


class TransposedVandermonde(_Powers):
    """Column i holds the powers of node i: the moments of weights that sit at the nodes.

    ``V^T[j, i] = s_i^j``, j = 0 .. n-1.

    Args:
        nodes: (*batch, m), the nodes s.
        n: number of powers, the rows of the matrix.

    Raises:
        TypeError: nodes is not a floating or complex tensor.
        ValueError: nodes is empty, or n is not an integer of at least 1.

    Cost:
        As ``Vandermonde``.

    Example:
        >>> TransposedVandermonde(torch.tensor([2.0, 3.0]), 3).to_dense()
        tensor([[1., 1.],
                [2., 3.],
                [4., 9.]])

    Source:
        Pan, Structured Matrices and Polynomials (2001), chapters 2 and 3.
    """

    formula = "sⱼⁱ"
    operators = (Shift(1, transposed=True), Nodes("nodes", "s"))

    def __init__(self, nodes: Tensor, n: int) -> None:
        straight = Vandermonde(nodes, n)
        self._set((straight.shape[1], straight.shape[0]), nodes=nodes, powers=n)

    def to_dense(self) -> Tensor:
        return self.T.to_dense().mT

    def _product(self, x: Tensor) -> Tensor:
        _, small, large = self.T._steps()
        Y = (large * x[..., None]).mT @ small  # (..., n/b, b): power a b + c at (a, c)
        return Y.flatten(-2)[..., : self.powers]

    @property
    def T(self) -> Vandermonde:
        return Vandermonde(self.nodes, self.powers)

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> TransposedVandermonde:
        m, n = check_size(cls, m, n)
        return cls(uniform(n, generator=generator, **like), m)


def powers(s: Inexact[Tensor, "*batch m"], n: int) -> Inexact[Tensor, "*batch m n"]:
    """``s^0 ... s^(n-1)`` along a new last axis. (``torch.linalg.vander`` refuses n = 1.)"""
    ones = torch.ones_like(s)[..., None]
    return torch.cat([ones, s[..., None].expand(*s.shape, n - 1).cumprod(-1)], dim=-1)


def baby_steps(n: int) -> int:
    """About sqrt(n): how many powers go into the matrix product."""
    return max(1, isqrt(n))


def pad(x: Inexact[Tensor, "*batch n"], step: int) -> Inexact[Tensor, "*batch padded"]:
    """Zeros up to the next multiple of ``step``."""
    return F.pad(x, (0, -x.shape[-1] % step))


def uniform(
    size: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """(size,) independent numbers, uniform in (-1/2, 1/2), in each of both parts if complex."""
    check_draw(dtype, device, generator)
    where = generator.device if generator is not None else device
    u = torch.rand(size, generator=generator, dtype=dtype, device=where)
    return (u - (0.5 + 0.5j if u.is_complex() else 0.5)).to(device)
