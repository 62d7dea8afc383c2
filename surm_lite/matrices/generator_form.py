"""What survives sums and products: matrix algebra on displacement generators, which two families stand on."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor

from surm_lite.matrices.arguments import check_finite, check_tensor, check_tolerance, check_whole, kind_of
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.fft import computing_dtype
from surm_lite.matrices.scale import exponent, shifted

D = TypeVar("D", bound="GeneratorForm")


class GeneratorForm(StructuredMatrix):
    """A matrix M held by the generators of its displacement ``A M - M B = sum_i g_i h_i^T``.

    ``+``, ``-``, ``@`` and ``compress()`` act on G and H alone; no m x n matrix is formed. Ranks add in sums and
    products, so ``compress`` after a long computation. A family says what its ``pair`` (A, B) is, how to read
    generators under a pair, and how to build a member from generators.
    """

    G: Tensor
    H: Tensor

    @property
    @abstractmethod
    def rank(self) -> int:
        """r, the number of generators held: an upper bound on the displacement rank."""

    @property
    @abstractmethod
    def T(self) -> GeneratorForm:
        """The plain transpose, in this form: generators (-H, G) under (B^T, A^T), or what amounts to it."""

    @property
    @abstractmethod
    def pair(self) -> Any:
        """What identifies A and B: corners of shifts, or nodes of diagonals."""

    @abstractmethod
    def generators(self, pair: Any = None) -> tuple[Tensor, Tensor]:
        """G (r, m) and H (r, n) with ``A M - M B = sum_i g_i h_i^T``, by default under M's own pair."""

    @classmethod
    @abstractmethod
    def from_generators(cls: type[D], G: Tensor, H: Tensor, pair: Any) -> D:
        """The matrix with these generators under this pair."""

    @abstractmethod
    def product_pairs(self: D, other: D) -> tuple[Any, Any]:
        """For the product ``self @ other``: (B, C), under which ``other`` is read, and (A, C), of the result."""

    def __add__(self: D, other: D) -> D:
        """The sum: displacement is linear, so generators are concatenated and ranks add."""
        if not isinstance(other, GeneratorForm):
            return NotImplemented
        self._meets(other)
        if self.shape != other.shape:
            raise ValueError(f"cannot add {self.shape[0]} x {self.shape[1]} and {other.shape[0]} x {other.shape[1]}")
        return self.from_generators(*concatenate(self.generators(), other.generators(self.pair)), self.pair)

    def _meets(self, other: GeneratorForm) -> None:
        """Two matrices whose generators can be joined: of one form, dtype and device."""
        if type(self).from_generators.__func__ is not type(other).from_generators.__func__:  # type: ignore[attr-defined]
            raise TypeError(f"other is {kind_of(other)}; generators of {kind_of(self)} join those of its own form only")
        if self.dtype != other.dtype or self.device != other.device:
            mine, theirs = f"{self.dtype} on {self.device}", f"{other.dtype} on {other.device}"
            raise ValueError(f"other is {theirs}, but this matrix is {mine}; they must agree")

    def __neg__(self: D) -> D:
        G, H = self.generators()
        return self.from_generators(-G, H, self.pair)

    def __sub__(self: D, other: D) -> D:
        return self + (-other) if isinstance(other, GeneratorForm) else NotImplemented

    def __matmul__(self, X: Any) -> Any:
        """``W X`` for a tensor, as ``torch.matmul``; for another matrix in this form, the product in this form.

        ``nabla_{A,C}(M N) = nabla_{A,B}(M) N + M nabla_{B,C}(N)``: generators [G1, M G2] and [N^T H1, H2].
        """
        if not isinstance(X, GeneratorForm):
            return super().__matmul__(X)
        self._meets(X)
        if self.shape[1] != X.shape[0]:
            raise ValueError(f"cannot multiply {self.shape[0]} x {self.shape[1]} by {X.shape[0]} x {X.shape[1]}")
        read, result = self.product_pairs(X)
        (G1, H1), (G2, H2) = self.generators(), X.generators(read)
        return self.from_generators(
            torch.cat([G1, rows(self, G2)], dim=-2), torch.cat([rows(X.T, H1), H2], dim=-2), result
        )

    def compress(self: D, rank: int | None = None, tol: float | None = None) -> D:
        """The same matrix with the fewest generators, or the nearest displacement of a given rank; see ``compress``."""
        return self.from_generators(*compress(*self.generators(), rank=rank, tol=tol), self.pair)


def rows(M: StructuredMatrix, G: Tensor) -> Tensor:
    """M times each row of G: (*batch, r, n) -> (*batch, r, m)."""
    return (M @ G.mT).mT


def concatenate(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Generators of a sum of displacements."""
    return torch.cat([first[0], second[0]], dim=-2), torch.cat([first[1], second[1]], dim=-2)


def unit(like: Tensor, k: int) -> Tensor:
    """e_k, 0-based, in the shape of ``like``."""
    e = torch.zeros_like(like)
    e[..., k] = 1
    return e


def side(M: StructuredMatrix) -> int:
    """n, for a square M."""
    if M.shape[0] != M.shape[1]:
        raise ValueError(f"M is {M.shape[0]} x {M.shape[1]}; it must be square")
    return M.shape[0]


def compress(G: Tensor, H: Tensor, *, rank: int | None = None, tol: float | None = None) -> tuple[Tensor, Tensor]:
    """Fewer generators for the same displacement.

    ``sum_i g_i h_i^T = G^T H``. With ``G^T = Q_G R_G`` and ``H^T = Q_H R_H``, an SVD of the small ``R_G R_H^T`` is an
    SVD of the whole: the displacement is never formed.

    Args:
        G: (r, m).
        H: (r, n).
        rank: generators to keep, the closest displacement of that rank; default: all above ``tol``, but at least one.
        tol: relative to the largest singular value; default ``max(m, n) eps``.

    Returns:
        G of shape (k, m) and H of shape (k, n), k <= r, balanced.

    Raises:
        TypeError: G or H is not a floating or complex tensor, or tol is not a number.
        ValueError: G and H have different r, dtype or device, one of them is empty or not finite, rank is not in
            1 .. r, or tol is negative or not finite.

    Cost:
        O((m + n) r^2) time.

    Example:
        >>> G, H = torch.ones(3, 5), torch.ones(3, 5)  # three equal terms
        >>> g, h = compress(G, H)
        >>> g.shape, torch.allclose(g.T @ h, G.T @ H)
        (torch.Size([1, 5]), True)

    Source:
        Pan, Structured Matrices and Polynomials (2001), section 4.6.

    Taught in:
        10_closure
    """
    check_tensor(G, "G", 2, "compress")
    check_tensor(H, "H", 2, "compress")
    if G.ndim != 2 or H.ndim != 2 or G.shape[0] != H.shape[0] or 0 in (*G.shape, *H.shape):
        raise ValueError(f"G is {tuple(G.shape)} and H is {tuple(H.shape)}; they must be (r, m) and (r, n), not empty")
    if G.dtype != H.dtype or G.device != H.device:
        raise ValueError(f"G is {G.dtype} on {G.device} and H is {H.dtype} on {H.device}; they must agree")
    if rank is not None:
        check_whole(rank, "rank", 1, G.shape[0])
    check_tolerance(tol)
    check_finite(G=G, H=H)
    dtype, wide = G.dtype, computing_dtype(G.dtype)
    g, h = exponent(G), exponent(H)
    (QG, RG), (QH, RH) = (torch.linalg.qr(shifted(v.to(wide), -k).mT) for v, k in ((G, g), (H, h)))
    U, s, Vh = torch.linalg.svd(RG @ RH.mT)
    if rank is None:
        tol = max(G.shape[1], H.shape[1]) * torch.finfo(dtype).eps if tol is None else tol
        rank = max(1, int((s > tol * s[0]).sum()))
    k = min(rank, len(s))
    root = shifted(s[:k].sqrt(), (g + h) // 2)
    return (QG @ U[:, :k] * root).mT.to(dtype), (root[:, None] * (Vh[:k] @ QH.mT)).to(dtype)
