"""Low displacement rank: sums of circulant times skew-circulant products."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from . import fft
from .base import StructuredMatrix, check_count, check_fields, check_size, gaussian
from .circulant import Circulant, SkewCirculant

FAMILY = {1: Circulant, -1: SkewCirculant}
PRODUCT = {1: fft.circular_product, -1: fft.skew_product}


class LDR(StructuredMatrix):
    """A sum of r products, each circulant times skew-circulant.

    ``W(G, H) = sum_i Z_1(g_i) Z_-1(h_i)``. Its displacement ``Z_1 W - W Z_-1`` is ``2 sum_i g_i (J h_i)^T``, of rank r.
    r = 1 holds every circulant and skew-circulant, r = 2 every Toeplitz matrix and its inverse, r = n every matrix.

    Args:
        G: (*batch, r, n), first columns of the left factors.
        H: (*batch, r, n), first columns of the right factors.
        e: corner of the left factors: 1 (circulant) or -1; the right factors have -e. The transpose of a member with
            e = 1 is a member with e = -1.

    Raises:
        TypeError: G or H is not a floating or complex tensor.
        ValueError: G and H have different r or n, e is not 1 or -1, or dtype, device or batch dimensions disagree.

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
        05_circulant_skew
    """

    fields = {"G": 2, "H": 2}
    square = True
    G: Tensor
    H: Tensor
    e: int

    def __init__(self, G: Tensor, H: Tensor, e: int = 1) -> None:
        check_fields(type(self), G=G, H=H)
        if G.shape[-2:] != H.shape[-2:]:
            raise ValueError(f"G is {tuple(G.shape)} and H is {tuple(H.shape)}; both must be (r, n)")
        if e not in (1, -1):
            raise ValueError(f"e is {e!r}; it must be 1 or -1")
        self._set((G.shape[-1], G.shape[-1]), G=G, H=H, e=e)

    @property
    def options(self) -> dict[str, Any]:
        return {"e": self.e}

    @property
    def formula(self) -> str:  # type: ignore[override]
        return "Σ Z₁(gᵢ) Z₋₁(hᵢ)" if self.e == 1 else "Σ Z₋₁(gᵢ) Z₁(hᵢ)"

    @property
    def rank(self) -> int:
        """r, the number of terms: an upper bound on the displacement rank."""
        return self.G.shape[-2]

    @property
    def dof(self) -> int:
        n, r = self.shape[0], min(self.rank, self.shape[0])
        return 2 * n * r - r * r  # (G, H) and (QG, Q^-T H) give the same matrix, for every invertible r x r Q

    def to_dense(self) -> Tensor:
        return (FAMILY[self.e](self.G).to_dense() @ FAMILY[-self.e](self.H).to_dense()).sum(-3)

    def _product(self, x: Tensor) -> Tensor:
        terms = PRODUCT[-self.e](self.H, x[..., None, :])  # (..., r, n)
        return PRODUCT[self.e](self.G, terms, total=True)  # (..., n)

    @property
    def T(self) -> LDR:
        # (Z_1(g) Z_-1(h))^T = Z_-1(h)^T Z_1(g)^T, and each factor transposes inside its own family.
        return LDR(FAMILY[-self.e](self.H).T.column, FAMILY[self.e](self.G).T.column, e=-self.e)

    def flops(self, batch: int = 1) -> int:
        n, r = self.shape[0], self.rank
        twisted = fft.flops(n, complex_=True) + 6 * n  # one transform of the skew-circulant factor, with its twist
        plain = fft.flops(n, self.dtype.is_complex)
        transforms = r * (twisted + plain) + batch * ((r + 1) * twisted + (r + 1) * plain)
        return transforms + batch * r * (6 * n + 8 * (n // 2 + 1))

    @classmethod
    def random(  # type: ignore[override]
        cls, m: int, n: int | None = None, *, rank: int = 2, generator: torch.Generator | None = None, **like: Any
    ) -> LDR:
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        G = gaussian(rank, n, std=1 / sqrt(n * rank), generator=generator, **like)
        return cls(G, gaussian(rank, n, std=1 / sqrt(n), generator=generator, **like))
