"""Circulant, skew-circulant and f-circulant matrices: the powers of one shift."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.arguments import check_number
from surm_lite.matrices.base import Number, check_fields, check_size, gaussian
from surm_lite.matrices.families.toeplitz import ByDiagonals
from surm_lite.matrices.operators import complex_dtype


class FCirculant(ByDiagonals):
    """Powers of the shift with f in its corner.

    ``Z_f(c) = sum_k c[k] Z_f^k``: entry (i, j) is ``c[i-j]`` on and below the diagonal and ``f c[n+i-j]`` above it.
    f = 1 gives the circulants, f = -1 the skew-circulants, f = 0 the lower-triangular Toeplitz matrices.

    Args:
        column: (*batch, n), the first column.
        f: the corner number; a complex f makes the matrix complex.

    Raises:
        TypeError: column is not a floating or complex tensor, or f is not a number.
        ValueError: column is empty, or f is not finite.

    Cost:
        O(n log n) time, O(n) memory, n parameters.

    Example:
        >>> FCirculant(torch.tensor([1.0, 2.0, 3.0]), f=10.0).to_dense()
        tensor([[ 1., 30., 20.],
                [ 2.,  1., 30.],
                [ 3.,  2.,  1.]])

    Source:
        SURM, section 3; Pan, Structured Matrices and Polynomials (2001).

    Taught in:
        06_toeplitz_hankel
    """

    fields = {"column": 1}
    square = True
    formula = "Z_f(c)"
    column: Tensor
    f: Number

    def __init__(self, column: Tensor, f: Number) -> None:
        check_fields(type(self), column=column)
        check_number(f, f"f of {type(self).__name__}", column.dtype)
        if isinstance(f, complex):
            column = column.to(complex_dtype(column.dtype))
        self._set((column.shape[-1], column.shape[-1]), column=column, f=f)

    @property
    def options(self) -> dict[str, Any]:
        return {"f": self.f}

    def diagonals(self) -> Tensor:
        # Above the diagonal stand c[1] ... c[n-1] again, each times f. No root of f is needed: f = 0 is no exception.
        return torch.cat([self.f * self.column[..., 1:], self.column], dim=-1)

    @classmethod
    def random(  # type: ignore[override]
        cls, m: int, n: int | None = None, *, f: Number = 0.5, generator: torch.Generator | None = None, **like: Any
    ) -> FCirculant:
        m, n = check_size(cls, m, n)
        check_number(f, f"f of {cls.__name__}")
        entries = (n + 1) / 2 + abs(f) ** 2 * (n - 1) / 2  # per row, in units of the variance of c
        return cls(gaussian(n, std=1 / sqrt(entries), generator=generator, **like), f)


class _Root(FCirculant):
    """An f-circulant with f fixed at a root of one: its own FFT product, and a transpose in the same family."""

    corner: int
    basis: type[fft.Basis]

    def __init__(self, column: Tensor) -> None:
        super().__init__(column, self.corner)

    def _prepare(self) -> tuple[fft.Basis, Tensor]:
        n, c = self.shape[0], self.column
        if not fft.fast(n):
            return super()._prepare()  # in the corner of a larger one
        F = self.basis(n, c)  # the same for all c
        return F, F.forward(c)

    def _product(self, x: Tensor) -> Tensor:
        F, eigenvalues = self.prepared
        return F.inverse(eigenvalues * F.forward(x), self.shape[0])

    @property
    def costs(self) -> tuple[int, int]:
        n = self.shape[0]
        return self.basis.flops(n, self.dtype.is_complex) if fft.fast(n) else super().costs

    @property
    def options(self) -> dict[str, Any]:
        return {}

    @property
    def T(self) -> _Root:
        c = self.column  # c[0], then f c[n-1], ..., f c[1]
        return type(self)(torch.cat([c[..., :1], self.corner * c[..., 1:].flip(-1)], dim=-1))

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> _Root:  # type: ignore[override]
        m, n = check_size(cls, m, n)
        return cls(gaussian(n, std=1 / sqrt(n), generator=generator, **like))


class Circulant(_Root):
    """Each column is the one before, shifted down by one and wrapped around.

    ``Z_1(c)``: entry (i, j) is ``c[(i-j) mod n]``. The DFT diagonalises all circulants at once, so the product is
    ``ifft(fft(c) * fft(x))``, the singular values are ``|fft(c)|`` and the rank is the number of non-zero ones.

    Args:
        column: (*batch, n), the first **column**, as ``scipy.linalg.circulant``.

    Raises:
        TypeError: column is not a floating or complex tensor.
        ValueError: column is empty.

    Cost:
        O(n log n) time (three real FFTs), O(n) memory, n parameters.

    Example:
        >>> C = Circulant(torch.tensor([1.0, 2.0, 3.0]))
        >>> C.to_dense()
        tensor([[1., 3., 2.],
                [2., 1., 3.],
                [3., 2., 1.]])
        >>> C
        Circulant Z₁(c) ∈ ℝ^(3×3), 3 numbers

    Source:
        SURM, section 3, eq. 3; Davis, Circulant Matrices (1979).

    Taught in:
        04_full_rank_from_n
    """

    formula = "Z₁(c)"
    corner = 1
    basis = fft.Circular

    def adjoint(self, g: Tensor, x: Tensor) -> tuple[Tensor]:
        return (fft.correlation(g, x, self.shape[0]),)


class SkewCirculant(_Root):
    """A circulant whose wrapped-around entries change sign.

    ``Z_-1(c)``: entry (i, j) is ``c[i-j]`` on and below the diagonal and ``-c[n+i-j]`` above it. Multiplying by the
    diagonal ``exp(i pi k / n)`` on one side and by its inverse on the other turns it into a circulant.

    Args:
        column: (*batch, n), the first column.

    Raises:
        TypeError: column is not a floating or complex tensor.
        ValueError: column is empty.

    Cost:
        O(n log n) time (three complex FFTs of length n/2 if the numbers are real), O(n) memory, n parameters.

    Example:
        >>> SkewCirculant(torch.tensor([1.0, 2.0, 3.0])).to_dense()
        tensor([[ 1., -3., -2.],
                [ 2.,  1., -3.],
                [ 3.,  2.,  1.]])

    Source:
        SURM, section 3; Davis, Circulant Matrices (1979), section 3.2.1.

    Taught in:
        07_circulant_skew
    """

    formula = "Z₋₁(c)"
    corner = -1
    basis = fft.Skew
