"""Exhibits that multiply by the wrong matrix."""

from math import pi

import scipy.linalg
import torch

from surm_lite.matrices import Circulant, FCirculant, SkewCirculant, Toeplitz
from surm_lite.matrices.families.toeplitz import join

from .exhibit import SURM, exhibit


@exhibit(f"{SURM}, circulant_multiply", "odd sizes, half dtypes", "even sizes, gradcheck")
class InverseWithoutLength(Circulant):
    """irfft without n=: an odd number of samples comes back one short. And no FFT for half precision."""

    by_fft = False

    def _product(self, x):
        if x.is_complex():
            return super()._product(x)
        return torch.fft.irfft(torch.fft.rfft(self.column) * torch.fft.rfft(x))


@exhibit(f"{SURM}, docstring of circulant_multiply", "even sizes, odd sizes", "dot test, gradcheck")
class DocstringMatrix(Circulant):
    """The documented matrix is the anti-circulant c[i+j], a Hankel matrix; the product is that of c[i-j]."""

    def to_dense(self):
        i = torch.arange(self.shape[0])
        return self.column[..., (i[:, None] + i) % self.shape[0]]


@exhibit(f"{SURM}, skew_mult", "even sizes, odd sizes", "dot test, gradcheck")
class FirstRowOrColumn(SkewCirculant):
    """Documented for the first row, computed for the first column: the transpose of its own dense matrix."""

    def to_dense(self):
        return super().to_dense().mT


@exhibit(f"{SURM}, MixedLinear asks compute_root(n + 1)", "even sizes, odd sizes", "dot test, gradcheck")
class RootOfTheNextPower(SkewCirculant):
    """A root of x^(n+1) + 1 where one of x^n + 1 is needed."""

    def _product(self, x):
        n = x.shape[-1]
        eta = torch.exp(1j * pi / (n + 1) * torch.arange(n, dtype=x.real.dtype))
        y = eta.conj() * torch.fft.ifft(torch.fft.fft(eta * self.column) * torch.fft.fft(eta * x))
        return y if x.is_complex() else y.real


@exhibit(f"{SURM}, general LDR layer without a passed root", "even sizes, odd sizes, gradcheck")
class EmptyRoot(SkewCirculant):
    """nn.Parameter(None) is an empty tensor and not None, so the default root is empty and the product raises."""

    def _product(self, x):
        eta = torch.nn.Parameter(None)
        return torch.fft.ifft(torch.fft.fft(eta * self.column) * torch.fft.fft(eta * x)).real


@exhibit(
    "structured-nets (2022), toeplitz_krylov_multiply, branch f = -1", "even sizes, odd sizes, dot test", "gradcheck"
)
class MinusForTimes(SkewCirculant):
    """The real part of a product of complex numbers as a.real * s.real - a.imag - s.imag: affine, not linear."""

    def _product(self, x):
        s = torch.exp(1j * pi / x.shape[-1] * torch.arange(x.shape[-1], dtype=x.real.dtype))
        a = torch.fft.ifft(torch.fft.fft(s * self.column) * torch.fft.fft(s * x))
        s = s.conj()
        return a * s if x.is_complex() else a.real * s.real - a.imag - s.imag


@exhibit(f"{SURM}, toeplitz_multiplication", "rectangular, errors", "even sizes, odd sizes")
class WrongAxis(Toeplitz):
    """Asks for inputs of m instead of n numbers: the legal rectangular product raises, an illegal one is computed."""

    def apply(self, x):
        (m, n), length = self.shape, 2 * sum(self.shape)
        if m != n and x.shape[-1] != m:
            raise ValueError(f"x has {x.shape[-1]} columns, expected {m}")
        gap = torch.zeros(length - m - n + 1, dtype=self.dtype)
        circle = torch.cat([self.column, gap, self.row[1:].flip(-1)])
        return torch.fft.ifft(torch.fft.fft(circle) * torch.fft.fft(x, n=length)).real[..., :m]


@exhibit(f"{SURM}: circulant, Toeplitz and LDR layers assert in_features == out_features", "rectangular", "even sizes")
class SquareOnly(Toeplitz):
    """A family of rectangular matrices that accepts square ones only."""

    def __init__(self, column, row):
        assert column.shape[-1] == row.shape[-1], "square only"
        super().__init__(column, row)


@exhibit(f"{SURM}, ToeplitzLayer", "even sizes, odd sizes, rectangular", "dot test")
class RowIgnored(Toeplitz):
    """One vector as both column and row: every Toeplitz factor is symmetric."""

    def diagonals(self):
        return join(self.row[..., 1:].flip(-1), self.column)

    def _product(self, x):
        return Toeplitz(self.column, self.column)._product(x)


@exhibit(
    f"{SURM}, ToeplitzLayer; linear_operator 0.6.1, ToeplitzLinearOperator",
    "parameters, definition",
    "even sizes, odd sizes, dot test",
    dense=lambda A: torch.from_numpy(scipy.linalg.toeplitz(A.column.numpy(), A.row.numpy())),
)
class SymmetricThroughout(Toeplitz):
    """The same, in the product and in the dense matrix: 2n - 1 numbers are counted, and n of them act."""

    def diagonals(self):
        n = self.shape[1]
        column = torch.cat([self.column, self.row], -1)[..., : max(self.shape)]
        return join(column[..., 1:n].flip(-1), self.column)


@exhibit("the rule for f = 1 and f = -1 taken for any f", "transpose", "even sizes, odd sizes")
class TransposeOfAnyF(FCirculant):
    """The transpose of an f-circulant as another f-circulant: right for f = 1 and f = -1 only."""

    @property
    def T(self):
        c = self.column
        return TransposeOfAnyF(torch.cat([c[..., :1], self.f * c[..., 1:].flip(-1)], -1), self.f)
