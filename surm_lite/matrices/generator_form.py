"""What survives sums, products and inverses: matrix algebra on displacement generators."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor

from .base import StructuredMatrix

D = TypeVar("D", bound="GeneratorForm")


class GeneratorForm(StructuredMatrix):
    """A matrix M held by the generators of its displacement ``A M - M B = sum_i g_i h_i^T``.

    ``+``, ``-``, ``@``, ``inverse()`` and ``compress()`` act on G and H alone; no m x n matrix is formed. Ranks add in
    sums and products and stay in inverses, so ``compress`` after a long computation. A family says what its ``pair``
    (A, B) is, how to read generators under a pair, and how to build a member from generators.
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
        return self.from_generators(*concatenate(self.generators(), other.generators(self.pair)), self.pair)

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
        if self.shape[1] != X.shape[0]:
            raise ValueError(f"cannot multiply {self.shape[0]} x {self.shape[1]} by {X.shape[0]} x {X.shape[1]}")
        read, result = self.product_pairs(X)
        (G1, H1), (G2, H2) = self.generators(), X.generators(read)
        return self.from_generators(
            torch.cat([G1, rows(self, G2)], dim=-2), torch.cat([rows(X.T, H1), H2], dim=-2), result
        )

    def inverse(self: D) -> D:
        """The inverse, with the same displacement rank.

        ``nabla_{B,A}(M^-1) = -M^-1 nabla_{A,B}(M) M^-1``: generators ``-M^-1 G`` and ``M^-T H`` under the pair (B, A).

        Returns:
            A matrix of this form, n x n.

        Raises:
            SingularMatrixError: the matrix is singular to working precision; a ValueError.
            ValueError: the matrix is not square.

        Warns:
            ResidualWarning: ``M M^-1 b`` misses b by more than the square root of the precision. The entries of the
                generators grow with the condition number, and so does what cancels between them.

        Cost:
            Two structured solves with r right-hand sides: O(r n^2) time, O(r n) memory.
        """
        from .solve import check_inverse, solve

        G, H = self.generators()
        A, B = self.pair
        R = self.from_generators(-solve(self, G.mT).mT, solve(self.T, H.mT).mT, (B, A))
        check_inverse(self, R, "the matrix is ill-conditioned; solve(M, b) is more accurate than the inverse")
        return R

    def compress(self: D, rank: int | None = None, tol: float | None = None) -> D:
        """The same matrix with the fewest generators, or the nearest displacement of a given rank; see ``compress``."""
        return self.from_generators(*compress(*self.generators(), rank=rank, tol=tol), self.pair)


def rows(M: StructuredMatrix, G: Tensor) -> Tensor:
    """M times each row of G: (*batch, r, n) -> (*batch, r, m)."""
    return (M @ G.mT).mT


def concatenate(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Generators of a sum of displacements."""
    return torch.cat([first[0], second[0]], dim=-2), torch.cat([first[1], second[1]], dim=-2)


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
        ValueError: G and H have different r, or rank is not in 1 .. r.

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
    if G.ndim != 2 or H.ndim != 2 or G.shape[0] != H.shape[0]:
        raise ValueError(f"G is {tuple(G.shape)} and H is {tuple(H.shape)}; they must be (r, m) and (r, n)")
    if rank is not None and not 1 <= rank <= G.shape[0]:
        raise ValueError(f"rank is {rank}; it must be in 1 .. {G.shape[0]}, the number of generators")
    (QG, RG), (QH, RH) = torch.linalg.qr(G.mT), torch.linalg.qr(H.mT)
    U, s, Vh = torch.linalg.svd(RG @ RH.mT)
    if rank is None:
        tol = max(G.shape[1], H.shape[1]) * torch.finfo(s.dtype).eps if tol is None else tol
        rank = max(1, int((s > tol * s[0]).sum()))
    k = min(rank, len(s))
    root = s[:k].sqrt()
    return (QG @ U[:, :k] * root).mT, root[:, None] * (Vh[:k] @ QH.mT)
