"""Low displacement rank: sums of circulant times skew-circulant products."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.arguments import check_number
from surm_lite.matrices.base import Number, StructuredMatrix, check_count, check_fields, check_size, gaussian
from surm_lite.matrices.families.circulant import Circulant, FCirculant, SkewCirculant
from surm_lite.matrices.generator_form import GeneratorForm, rows
from surm_lite.matrices.operators import Shift, SingularPairError, complex_dtype, subscript

FAMILY: dict[Number, type[Circulant] | type[SkewCirculant]] = {1: Circulant, -1: SkewCirculant}


class LDR(GeneratorForm):
    """A sum of r products, each circulant times skew-circulant.

    ``W(G, H) = sum_i Z_1(g_i) Z_-1(h_i)``. Its displacement ``Z_1 W - W Z_-1`` is ``2 sum_i g_i (J h_i)^T``, of rank r.
    r = 1 holds every circulant and skew-circulant, r = 2 every Toeplitz matrix and its inverse, r = n every matrix.

    Args:
        G: (*batch, r, n), first columns of the left factors.
        H: (*batch, r, n), first columns of the right factors.
        e: corner of the left factors, any number; 1 and -1 have the fastest products.
        f: corner of the right factors, any other number; default -e. The displacement is then taken under (Z_e, Z_f),
            and the transpose has the corners (1/f, 1/e).

    Raises:
        TypeError: G or H is not a floating or complex tensor, or e or f is not a number.
        SingularPairError: e = f; a ValueError.
        ValueError: e or f is not finite, G and H have different r or n, or dtype, device or batch dimensions disagree.

    Cost:
        O(r n log n) time and O(r n) memory a vector; 2 n r parameters, of which 2 n r - r^2 are independent.

    Example:
        >>> e1 = torch.tensor([[1.0, 0.0, 0.0]])
        >>> LDR(torch.tensor([[1.0, 2.0, 3.0]]), e1).to_dense()
        tensor([[1., 3., 2.],
                [2., 1., 3.],
                [3., 2., 1.]])

    Source:
        SURM, eq. 2; Sindhwani, Sainath and Kumar (2015), Theorem 3.1.

    Taught in:
        07_circulant_skew, 07b_equal_cost
    """

    fields = {"G": 2, "H": 2}
    square = True
    costly = True
    G: Tensor
    H: Tensor
    e: Number
    f: Number

    def __init__(self, G: Tensor, H: Tensor, e: Number = 1, f: Number | None = None) -> None:
        check_generators(type(self), G, H)
        check_number(e, "e of LDR", G.dtype)
        f = -e if f is None else f
        check_number(f, "f of LDR", G.dtype)
        if e == f:
            raise SingularPairError(f"the corners are e = {e} and f = {f}; they must differ")
        if isinstance(e, complex) or isinstance(f, complex):
            G, H = G.to(complex_dtype(G.dtype)), H.to(complex_dtype(H.dtype))
        self._set((G.shape[-1], G.shape[-1]), G=G, H=H, e=e, f=f)

    @property
    def options(self) -> dict[str, Any]:
        return {"e": self.e, "f": self.f}

    @property
    def operators(self) -> tuple[Shift, Shift]:  # type: ignore[override]
        return Shift(self.e), Shift(self.f)

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"Σ Z{subscript(self.e)}(gᵢ) Z{subscript(self.f)}(hᵢ)"

    @property
    def rank(self) -> int:
        """r, the number of terms: an upper bound on the displacement rank."""
        return self.G.shape[-2]

    @property
    def dof(self) -> int:
        n, r = self.shape[0], min(self.rank, self.shape[0])
        return 2 * n * r - r * r  # (G, H) and (QG, Q^-T H) give the same matrix, for every invertible r x r Q

    def to_dense(self) -> Tensor:
        return (powers(self.G, self.e).to_dense() @ powers(self.H, self.f).to_dense()).sum(-3)

    def _prepare(self) -> tuple[tuple[fft.Basis, Tensor], tuple[fft.Basis, Tensor]]:
        return powers(self.G, self.e)._prepare(), powers(self.H, self.f)._prepare()

    def _product(self, x: Tensor) -> Tensor:
        (L, g), (R, h) = self.prepared
        n = self.shape[0]
        y = R.inverse(h * R.forward(x[..., None, :]), n)  # Z_f(h_i) x: the transform of x is shared by all terms
        return L.inverse(added(g * L.forward(y)), n)  # so is the last one: terms add up before

    @property
    def width(self) -> int:
        return self.rank * self.shape[0]

    @property
    def T(self) -> LDR:
        # (Z_e(g) Z_f(h))^T = Z_f(h)^T Z_e(g)^T, and Z_f(h)^T is a polynomial in Z_{1/f}. There is none for f = 0.
        e, f = self.pair
        if e == 0 or f == 0:
            return self.under((e or next(c for c in (1, -1) if c != f), f or next(c for c in (-1, 1) if c != e))).T
        return LDR(transposed_column(self.H, f), transposed_column(self.G, e), inverted(f), inverted(e))

    def flops(self, batch: int = 1) -> int:
        r = self.rank
        (left, g), (right, h) = powers(self.G, self.e).costs, powers(self.H, self.f).costs
        return r * (left + right) + batch * ((r + 1) * (left + right) + r * (g + h) + r * g // 3)

    @classmethod
    def random(  # type: ignore[override]
        cls, m: int, n: int | None = None, *, rank: int = 2, generator: torch.Generator | None = None, **like: Any
    ) -> LDR:
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        G = gaussian(rank, n, std=1 / sqrt(n * rank), generator=generator, **like)
        return cls(G, gaussian(rank, n, std=1 / sqrt(n), generator=generator, **like))

    # -- the generator form -------------------------------------------------------------------------------------------

    @property
    def pair(self) -> tuple[Number, Number]:
        return self.e, self.f

    def generators(self, pair: tuple[Number, Number] | None = None) -> tuple[Tensor, Tensor]:
        """G, H of ``Z_e M - M Z_f``; another corner costs one more: ``Z_e - Z_e' = (e - e') e_1 e_n^T``."""
        e, f = self.pair if pair is None else pair
        first = torch.zeros_like(self.H[..., :1, :])
        first[..., 0] = 1  # e_1; and e_n is J e_1
        G, H = [(self.e - self.f) * self.G], [self.H.flip(-1)]
        if e != self.e:
            mirror = LDR(self.H, self.G, self.f, self.e)  # J M^T J, whose first column is the last row of M, reversed
            G.append((e - self.e) * first.expand_as(self.G[..., :1, :]))
            H.append(rows(mirror, first).flip(-1))
        if f != self.f:
            G.append((self.f - f) * rows(self, first))
            H.append(first.flip(-1))
        return torch.cat(G, dim=-2), torch.cat(H, dim=-2)

    @classmethod
    def from_generators(cls, G: Tensor, H: Tensor, pair: tuple[Number, Number]) -> LDR:
        e, f = pair
        if e == f:
            raise SingularPairError(f"the corners are e = {e} and f = {f}; Z_e M - M Z_f determines M only if e != f")
        return cls(G / (e - f), H.flip(-1), e, f)

    def under(self, pair: tuple[Number, Number]) -> LDR:
        """The same matrix with other corners; at most two more terms."""
        return self if pair == self.pair else self.from_generators(*self.generators(pair), pair)

    def product_pairs(self, other: LDR) -> tuple[tuple[Number, Number], tuple[Number, Number]]:
        right = other.f if other.f != self.e else self.f  # (e, e) would not determine the product
        return (self.f, right), (self.e, right)


def check_generators(owner: type[StructuredMatrix], G: Tensor, H: Tensor) -> None:
    """Two tensors of equal shape (*batch, r, n)."""
    check_fields(owner, G=G, H=H)
    if G.shape[-2:] != H.shape[-2:]:
        raise ValueError(f"G is {tuple(G.shape)} and H is {tuple(H.shape)}; both must be (r, n)")


def powers(v: Tensor, f: Number) -> FCirculant:
    """``Z_f(v)``, in the family with the fastest product."""
    return FAMILY[f](v) if f in FAMILY else FCirculant(v, f)


def added(terms: Tensor) -> Tensor:
    """The sum over the terms (..., r, f); of a single one without a copy."""
    return terms.sum(-2) if terms.shape[-2] > 1 else terms.squeeze(-2)


def transposed_column(v: Tensor, f: Number) -> Tensor:
    """First column of ``Z_f(v)^T``: v[0], f v[n-1], ..., f v[1]. For f != 0 it is that of a matrix ``Z_{1/f}``."""
    return torch.cat([v[..., :1], f * v[..., 1:].flip(-1)], dim=-1)


def inverted(f: Number) -> Number:
    """1 / f, with 1 and -1 kept whole numbers."""
    return f if f in FAMILY else 1 / f
