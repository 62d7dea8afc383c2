"""Exhibits that form the matrix, or count wrongly."""

from math import sqrt

import torch

from surm_lite.matrices import Circulant, Kronecker, StructuredMatrix, fft
from surm_lite.matrices.base import check_fields, check_size, gaussian

from .exhibit import SURM, exhibit
from .gradients import reversed_index


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


@exhibit("multiplications and additions counted apart, and added up", "operations", "even sizes, parameters")
class HalfAsMuchAgain(Circulant):
    """Half as much again as is done: a band from .3 to 3 would let it pass."""

    def flops(self, batch=1):
        return super().flops(batch) * 3 // 2


@exhibit("the transforms of x are counted, that of the parameters is not", "operations", "even sizes, parameters")
class TwoThirds(Circulant):
    """Two thirds of what is done."""

    def flops(self, batch=1):
        return 2 * batch * fft.flops(self.shape[0])
