"""Toeplitz and Hankel matrices: constant along diagonals, constant along antidiagonals."""

from __future__ import annotations

from abc import abstractmethod
from math import sqrt
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor
from torch.nn.functional import pad

from surm_lite.matrices import fft
from surm_lite.matrices.arguments import broadcast
from surm_lite.matrices.base import StructuredMatrix, check_fields, check_size, gaussian
from surm_lite.matrices.operators import Shift


def from_diagonals(t: Inexact[Tensor, "*batch d"], m: int, n: int) -> Inexact[Tensor, "*batch m n"]:
    """The m x n matrix with entry (i, j) equal to ``t[i - j + n - 1]``; d = m + n - 1."""
    return t.unfold(-1, n, 1).flip(-1)  # window i of the diagonals, read backwards, is row i


def embedded(t: Inexact[Tensor, "*batch d"], m: int) -> tuple[fft.Basis, Tensor]:
    """The basis and the eigenvalues of a larger matrix, in whose leading corner the Toeplitz matrix of t stands.

    t holds the d = m + n - 1 diagonals from the top-right corner to the bottom-left one. The first column of the larger
    matrix is t[0], t[1], ..., zeros, and t[-n+1], ..., t[-1] at its end, where they wrap around. Any size >= d keeps
    what wraps around away from the first m samples, so one with small prime factors is taken.
    """
    above = t.shape[-1] - m
    F = around(t.is_complex())(fft.good_length(t.shape[-1]), t)
    front = pad(t[..., above:], (0, F.length - t.shape[-1]))
    return F, F.forward(torch.cat([front, F.corner * t[..., :above]], dim=-1))


def around(complex_: bool) -> type[fft.Basis]:
    """What a Toeplitz matrix stands in: what wraps around is cut off, so it may as well change its sign."""
    return fft.Circular if complex_ else fft.Skew  # real: shorter transforms


class ByDiagonals(StructuredMatrix):
    """A matrix that is constant along its diagonals; a family only says what those m + n - 1 numbers are."""

    @abstractmethod
    def diagonals(self) -> Tensor:
        """(*batch, m + n - 1): one number a diagonal, from the top-right corner to the bottom-left one."""

    def to_dense(self) -> Tensor:
        return from_diagonals(self.diagonals(), *self.shape)

    def _prepare(self) -> tuple[fft.Basis, Tensor]:
        return embedded(self.diagonals(), self.shape[0])

    def _product(self, x: Tensor) -> Tensor:
        F, eigenvalues = self.prepared  # of the larger matrix, and its first m samples are ours
        return F.inverse(eigenvalues * F.forward(x), self.shape[0])

    @property
    def width(self) -> int:
        return fft.good_length(sum(self.shape) - 1)

    @property
    def T(self) -> StructuredMatrix:
        t, n = self.diagonals().flip(-1), self.shape[0]  # the transpose reads the diagonals backwards
        return Toeplitz(t[..., n - 1 :], t[..., :n].flip(-1))

    @property
    def costs(self) -> tuple[int, int]:
        """Real operations of one transform, and of one product of spectra."""
        complex_ = self.dtype.is_complex
        return around(complex_).flops(self.width, complex_)

    def flops(self, batch: int = 1) -> int:
        transform, product = self.costs
        return (1 + 2 * batch) * transform + batch * product


class Toeplitz(ByDiagonals):
    """Constant along every diagonal: entry (i, j) is t[i-j].

    Rectangular m x n, m + n - 1 numbers. The product embeds the matrix in a circulant of any length >= m + n - 1.

    Args:
        column: (*batch, m), the first column.
        row: (*batch, n), the first row; ``row[0]`` is ignored, as in scipy. Default: ``column.conj()``, as in scipy.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        O((m + n) log(m + n)) time, O(m + n) memory, m + n - 1 parameters.

    Example:
        >>> Toeplitz(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0, 6.0])).to_dense()
        tensor([[1., 5., 6.],
                [2., 1., 5.]])

    Source:
        SURM, section 3; the embedding is classical (Golub and Van Loan, section 4.8).

    Taught in:
        06_toeplitz_hankel, 15_toeplitz_products
    """

    fields = {"column": 1, "row": 1}
    formula = "t[i−j]"
    column: Tensor
    row: Tensor

    def __init__(self, column: Tensor, row: Tensor | None = None) -> None:
        row = column.conj() if row is None and isinstance(column, Tensor) else row
        check_fields(type(self), column=column, row=row)  # type: ignore[arg-type]
        self._set((column.shape[-1], row.shape[-1]), column=column, row=row)  # type: ignore[union-attr]

    @property
    def n_params(self) -> int:
        return sum(self.shape) - 1

    def diagonals(self) -> Tensor:
        return join(self.row[..., 1:].flip(-1), self.column)

    def adjoint(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        m, n = self.shape
        R = fft.correlation(g, x, fft.good_length(m + n - 1))
        # Diagonals from the main one down stand at the front, those above it, nearest first, at the back.
        above = R[R.shape[0] - n + 1 :].flip(0)
        return R[:m], torch.cat([torch.zeros_like(R[:1]), above])  # row[0] is not used

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Toeplitz:
        m, n = check_size(cls, m, n)
        t = gaussian(m + n - 1, std=1 / sqrt(n), generator=generator, **like)
        return cls(t[:m], torch.cat([t[:1], t[m:]]))


class SymmetricToeplitz(ByDiagonals):
    """Toeplitz with t[-k] = t[k]: entry (i, j) is c[|i-j|].

    Symmetric, not Hermitian, for complex numbers too. This is the Toeplitz matrix that the SURM paper trains.

    Args:
        column: (*batch, n), the first column, which is also the first row.

    Raises:
        TypeError: column is not a floating or complex tensor.
        ValueError: column is empty.

    Cost:
        O(n log n) time, O(n) memory, n parameters.

    Example:
        >>> SymmetricToeplitz(torch.tensor([1.0, 2.0, 3.0])).to_dense()
        tensor([[1., 2., 3.],
                [2., 1., 2.],
                [3., 2., 1.]])

    Source:
        SURM, section 5.1 and appendix A.6.

    Taught in:
        06_toeplitz_hankel, 15_toeplitz_products
    """

    fields = {"column": 1}
    square = True
    formula = "c[|i−j|]"
    column: Tensor

    def __init__(self, column: Tensor) -> None:
        check_fields(type(self), column=column)
        self._set((column.shape[-1], column.shape[-1]), column=column)

    def diagonals(self) -> Tensor:
        return torch.cat([self.column[..., 1:].flip(-1), self.column], dim=-1)

    @property
    def T(self) -> SymmetricToeplitz:
        return self

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> SymmetricToeplitz:
        m, n = check_size(cls, m, n)
        return cls(gaussian(n, std=1 / sqrt(n), generator=generator, **like))


class Hankel(StructuredMatrix):
    """Constant along every antidiagonal: entry (i, j) is h[i+j].

    A Toeplitz matrix read with its columns reversed, so the product flips x and reuses the Toeplitz one.

    Args:
        column: (*batch, m), the first column.
        row: (*batch, n), the **last** row; ``row[0]`` is ignored, as in scipy.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        O((m + n) log(m + n)) time, O(m + n) memory, m + n - 1 parameters.

    Example:
        >>> Hankel(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 5.0, 6.0])).to_dense()
        tensor([[1., 2., 5.],
                [2., 5., 6.]])

    Source:
        Pan, Structured Matrices and Polynomials (2001).

    Taught in:
        06_toeplitz_hankel
    """

    fields = {"column": 1, "row": 1}
    formula = "h[i+j]"
    operators = (Shift(1), Shift(-1, transposed=True))
    column: Tensor
    row: Tensor

    def __init__(self, column: Tensor, row: Tensor) -> None:
        check_fields(type(self), column=column, row=row)
        self._set((column.shape[-1], row.shape[-1]), column=column, row=row)

    @property
    def n_params(self) -> int:
        return sum(self.shape) - 1

    def antidiagonals(self) -> Tensor:
        """(*batch, m + n - 1): h, from the top-left corner to the bottom-right one."""
        return join(self.column, self.row[..., 1:])

    def to_dense(self) -> Tensor:
        (m, n), h = self.shape, self.antidiagonals()
        i, j = torch.arange(m, device=h.device), torch.arange(n, device=h.device)
        return h[..., i[:, None] + j]

    def _prepare(self) -> tuple[fft.Basis, Tensor]:
        return embedded(self.antidiagonals(), self.shape[0])

    def _product(self, x: Tensor) -> Tensor:
        F, eigenvalues = self.prepared
        return F.inverse(eigenvalues * F.forward(x.flip(-1)), self.shape[0])

    @property
    def width(self) -> int:
        return fft.good_length(sum(self.shape) - 1)

    @property
    def T(self) -> Hankel:
        h, n = self.antidiagonals(), self.shape[1]
        return Hankel(h[..., :n], h[..., n - 1 :])

    def flops(self, batch: int = 1) -> int:
        return Toeplitz(self.column, self.row).flops(batch)

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Hankel:
        m, n = check_size(cls, m, n)
        h = gaussian(m + n - 1, std=1 / sqrt(n), generator=generator, **like)
        return cls(h[:m], h[m - 1 :])


def join(a: Tensor, b: Tensor) -> Tensor:
    """``torch.cat`` along the last axis of two vectors whose batch dimensions broadcast."""
    batch = broadcast("column", a.shape[:-1], "row", b.shape[:-1])
    return torch.cat([a.expand(*batch, -1), b.expand(*batch, -1)], dim=-1)
