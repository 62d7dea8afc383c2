"""The bug museum: defects found in published code, each rebuilt as a small wrong operator.

An exhibit names where the defect was found, the checks of the contract that must flag it, and those that cannot see it:
no single check suffices. Third-party code is named with the version in which the defect was reproduced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import scipy.linalg
import torch
from torch import Tensor

from surm_lite.matrices import (
    BlockCirculant,
    Circulant,
    FCirculant,
    Kronecker,
    SkewCirculant,
    StructuredMatrix,
    Toeplitz,
)
from surm_lite.matrices.base import check_fields, check_size, gaussian
from surm_lite.matrices.toeplitz import join

SURM = "SURM official code, commit a28432f (2024-11)"


@dataclass(frozen=True)
class Exhibit:
    """A wrong family: where it was found, what must flag it, and what cannot."""

    family: type[StructuredMatrix]
    found: str
    caught_by: tuple[str, ...]
    unseen_by: tuple[str, ...] = ()
    dense: Callable[[StructuredMatrix], Tensor] | None = None


EXHIBITS: list[Exhibit] = []


def exhibit(found: str, caught_by: str, unseen_by: str = "", dense=None):
    """Puts a class into the museum; checks are separated by commas."""

    def show(family: type[StructuredMatrix]) -> type[StructuredMatrix]:
        caught, unseen = (tuple(name.strip() for name in text.split(",") if name) for text in (caught_by, unseen_by))
        EXHIBITS.append(Exhibit(family, found, caught, unseen, dense))
        return family

    return show


# -- values ---------------------------------------------------------------------------------------------------------


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


# -- shapes ---------------------------------------------------------------------------------------------------------


@exhibit("x W^T and W X confused", "A @ X", "even sizes, batches of x")
class RowsForColumns(Circulant):
    """``A @ X`` multiplies the rows of X, as a linear layer does, and not its columns."""

    def __matmul__(self, X):
        return self.apply(X)


@exhibit("CoLA 0.0.7: operators take vectors and matrices only", "batches of x", "even sizes, gradcheck")
class TwoDimensionsOnly(Circulant):
    """No leading batch dimensions."""

    def apply(self, x):
        if x.ndim > 2:
            raise ValueError(f"expected a vector or a matrix, got shape {tuple(x.shape)}, dtype {x.dtype}")
        return super().apply(x)


@exhibit("an early return for an empty batch", "batches of x", "even sizes, gradcheck")
class EmptyBatchDetached(Circulant):
    """The empty result does not depend on the parameters: training on an empty batch raises in backward()."""

    def apply(self, x):
        return super().apply(x) if x.numel() else x.new_zeros(*x.shape[:-1], self.shape[0])


@exhibit("CoLA 0.0.7: no batch of matrices", "batches of matrices", "even sizes, batches of x")
class OneMatrixOnly(Circulant):
    """Takes the first member of a stack for all of them."""

    def _product(self, x):
        c = self.column
        return Circulant(c[(0,) * (c.ndim - 1)])._product(x).expand(torch.broadcast_shapes(c.shape, x.shape))


@exhibit(f"{SURM}, toeplitz_multiplication", "no warnings", "even sizes, batches of x, gradcheck")
class DotT(Toeplitz):
    """``x.T`` on more than two dimensions, deprecated by torch: right numbers, and a warning."""

    def _product(self, x):
        return super()._product(x.T.T)


@exhibit(f"{SURM}: shapes are checked by assert", "errors", "even sizes, rectangular")
class Asserts(Toeplitz):
    """A user's mistake meets an AssertionError without a word, or nothing at all under python -O."""

    def apply(self, x):
        assert x.shape[-1] == self.shape[1]
        return super().apply(x)


# -- gradients ------------------------------------------------------------------------------------------------------


def reversed_index(g: Tensor) -> Tensor:
    """g_0, g_{n-1}, ..., g_1."""
    return g.flip(-1).roll(1, -1)


class ReverseUpstream(torch.autograd.Function):
    """The block-circulant product with C3A's backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(kernel, x):
        return BlockCirculant(kernel).apply(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        kernel, x = ctx.saved_tensors
        b = kernel.shape[-1]
        conjugate = BlockCirculant(kernel.conj()).T  # torch's gradients of complex numbers are conjugate ones
        for_x = conjugate.apply(reversed_index(g.unflatten(-1, (-1, b))).flatten(-2))  # the slip is reversed_index
        blocks = torch.fft.fft(g.unflatten(-1, (-1, 1, b))) * torch.fft.fft(x.unflatten(-1, (1, -1, b))).conj()
        for_kernel = torch.fft.ifft(blocks).flatten(0, -4).sum(0) if blocks.ndim > 3 else torch.fft.ifft(blocks)
        return for_kernel if kernel.is_complex() else for_kernel.real, for_x


@exhibit(
    "HF peft 0.21.2, C3A, backward; the same line stands in the listing of the C3A paper",
    "dot test, gradcheck",
    "even sizes, odd sizes, rectangular, transpose, no warnings, never dense",
)
class C3ABackward(BlockCirculant):
    """The upstream gradient is index-reversed inside each block: layers below learn from a wrong signal."""

    def _product(self, x):
        return ReverseUpstream.apply(self.kernel, x)


class ConvolveForCorrelate(torch.autograd.Function):
    """The circulant product with a convolution for the gradient of its column."""

    @staticmethod
    def forward(c, x):
        return Circulant(c).apply(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):
        c, x = ctx.saved_tensors
        for_c = Circulant(x).apply(g).sum_to_size(c.shape)  # right would be Circulant(x).T
        return for_c, Circulant(c).T.apply(g).sum_to_size(x.shape)


@exhibit("a convolution where the adjoint is a correlation", "gradcheck", "even sizes, odd sizes, dot test")
class WrongColumnGradient(Circulant):
    """The gradient for x is right, so the dot test is content; the one for the column is not."""

    def _product(self, x):
        return ConvolveForCorrelate.apply(self.column, x)


@exhibit("a shortcut for the zero matrix", "vmap, devices", "even sizes, gradcheck")
class BranchesOnData(Circulant):
    """``if`` on the numbers themselves: nothing that traces or maps a program can follow it."""

    def _product(self, x):
        return super()._product(x) if bool(self.column.any()) else torch.zeros_like(x)


# -- dtypes and devices ---------------------------------------------------------------------------------------------


@exhibit("linear_operator 0.6.1, toeplitz_matmul", "complex dtypes", "even sizes, odd sizes, real dtypes, gradcheck")
class DropsImaginary(Toeplitz):
    """Complex input silently gives the real part's product."""

    def _product(self, x):
        real = Toeplitz(self.column.real.contiguous(), self.row.real.contiguous())
        return real._product(x.real.contiguous())


@exhibit("'the transpose has the conjugate spectrum': for real numbers", "complex dtypes", "even sizes, transpose")
class Hermitian(Circulant):
    """``.T`` is the conjugate transpose: the same for real numbers, another matrix for complex ones."""

    @property
    def T(self):
        return Hermitian(super().T.column.conj())


@exhibit("any product written with rfft alone", "half dtypes", "even sizes, odd sizes, gradcheck, real dtypes")
class NoHalf(Circulant):
    """Correct, but no CPU has an FFT for bfloat16 or float16, and nothing is cast."""

    by_fft = False


@exhibit(f"{SURM}: the root is a stored complex64 parameter", "real dtypes, even sizes", "complex dtypes")
class RootInSinglePrecision(SkewCirculant):
    """A root of -1 in single precision, whatever the numbers are."""

    def _product(self, x):
        if x.is_complex():
            return super()._product(x)
        eta = torch.exp(1j * pi / x.shape[-1] * torch.arange(x.shape[-1], dtype=torch.float32))
        return (eta.conj() * torch.fft.ifft(torch.fft.fft(eta * self.column) * torch.fft.fft(eta * x))).real


@exhibit(f"{SURM}: complex parameters 'as a hack for devices'", "devices", "even sizes, gradcheck")
class BuildsOnCpu(Toeplitz):
    """A helper tensor made on the default device, wherever the numbers live."""

    def _product(self, x):
        return super()._product(x) + torch.zeros(self.shape[0], dtype=self.dtype, device="cpu")


# -- manners --------------------------------------------------------------------------------------------------------


@exhibit("microsoft/LoRA loralib and SURM: a call that should only read edits numbers", "immutable", "gradcheck")
class ScalesInPlace(Circulant):
    """Multiplies the caller's own x."""

    def _product(self, x):
        y = super()._product(x)
        if not x.requires_grad and x.is_contiguous():
            x.mul_(0.5)
        return y


@exhibit(f"{SURM}: lambda attributes", "rebuild", "even sizes, gradcheck")
class HoldsLambda(Circulant):
    """Cannot be pickled, hence not sent to another process or saved."""

    def __init__(self, column):
        super().__init__(column)
        self.__dict__["scaling"] = lambda y: y


@exhibit(f"{SURM}, circulant layer: the comment says 0.02, the code draws 1", "random", "even sizes, gradcheck")
class UnscaledStart(Circulant):
    """Standard normal numbers: the matrix multiplies a vector's norm by sqrt(n)."""

    @classmethod
    def random(cls, m, n=None, *, generator=None, **like):
        return cls(gaussian(check_size(cls, m, n)[1], std=1.0, generator=generator, **like))


@exhibit(f"{SURM}, circulant layer with use_prod=False", "random, even sizes")
class SlopeForNormal(Circulant):
    """``normal_(a=sqrt(5))``: the option belongs to kaiming_uniform_, and the call raises."""

    @classmethod
    def random(cls, m, n=None, *, generator=None, **like):
        return cls(torch.nn.init.normal_(torch.empty(m, **like), a=sqrt(5)))


# -- cost -----------------------------------------------------------------------------------------------------------


@exhibit(
    f"{SURM}, Kronecker layer; HF peft 0.21.2, LoKr", "never dense, operations", "even sizes, rectangular, gradcheck"
)
class FormsKronecker(Kronecker):
    """torch.kron: the m x n matrix is formed at every call."""

    def _product(self, x):
        return x @ torch.kron(self.A, self.B).mT


@exhibit("a three-operand einsum, contracted from left to right", "never dense, operations", "even sizes, gradcheck")
class ThreeOperands(Kronecker):
    """``einsum(A, B, X)`` without a contraction planner forms A ⊗ B first."""

    def _product(self, x):
        X = x.unflatten(-1, (self.A.shape[-1], self.B.shape[-1]))
        with torch.backends.opt_einsum.flags(enabled=False):
            return torch.einsum("...ab,...cd,...bd->...ac", self.A, self.B, X).flatten(-2)


@exhibit(f"{SURM}, circulant layer with use_prod=True", "parameters", "even sizes, odd sizes, gradcheck")
class TwoVectors(StructuredMatrix):
    """The circulant of b * a: 2n numbers are counted, and n are free."""

    fields = {"b": 1, "a": 1}
    square = True
    formula = "Z₁(b∘a)"

    def __init__(self, b, a):
        check_fields(type(self), b=b, a=a)
        self._set((a.shape[-1], a.shape[-1]), b=b, a=a)

    def to_dense(self):
        return Circulant(self.b * self.a).to_dense()

    def _product(self, x):
        return Circulant(self.b * self.a)._product(x)

    @property
    def T(self):
        return TwoVectors(reversed_index(self.b), reversed_index(self.a))

    def flops(self, batch=1):
        return Circulant(self.a).flops(batch) + self.shape[0]

    @classmethod
    def random(cls, m, n=None, *, generator=None, **like):
        m, n = check_size(cls, m, n)
        b = gaussian(n, std=1.0, generator=generator, **like)
        return cls(b, gaussian(n, std=1 / sqrt(n), generator=generator, **like))


@exhibit("torch's FlopCounterMode counts an FFT as no operations", "operations", "even sizes, parameters")
class FreeTransforms(Circulant):
    """The cost of the FFTs is left out."""

    def flops(self, batch=1):
        return 6 * (self.shape[0] // 2 + 1) * batch
