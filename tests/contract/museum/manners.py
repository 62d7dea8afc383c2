"""Exhibits that lose a dtype or a device, edit what they should read, or cannot be copied."""

from math import pi, sqrt

import torch

from surm_lite.matrices import Circulant, SkewCirculant, Toeplitz
from surm_lite.matrices.base import check_size, gaussian

from .exhibit import SURM, exhibit


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
