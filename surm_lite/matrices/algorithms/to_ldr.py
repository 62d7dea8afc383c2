"""Other families as an LDR: the door to algebra on generators."""

from __future__ import annotations

from functools import singledispatch

import torch

from surm_lite.matrices.arguments import kind_of
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.families.circulant import Circulant, SkewCirculant
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.low_rank import LowRank
from surm_lite.matrices.families.toeplitz import ByDiagonals
from surm_lite.matrices.generator_form import concatenate, side, unit


def as_ldr(M: StructuredMatrix) -> LDR:
    """The same matrix as a sum of circulant times skew-circulant products.

    One term for a circulant or a skew-circulant, two for a Toeplitz matrix (a circulant plus a skew-circulant), 2k for
    a matrix of rank k.

    Args:
        M: square: circulant, skew-circulant, Toeplitz, symmetric Toeplitz, f-circulant, low rank, or LDR.

    Returns:
        An ``LDR`` with corners (1, -1); an LDR comes back as it is.

    Raises:
        TypeError: the family is none of these.
        ValueError: M is not square.

    Cost:
        O(n) time a term.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> T = Toeplitz(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
        >>> as_ldr(T).rank, as_ldr(T).to_dense()
        (2, tensor([[1., 3.],
                [2., 1.]]))

    Source:
        SURM, theorem A.2.

    Taught in:
        10_closure
    """
    return _of_kind(M)


@singledispatch
def _of_kind(M: StructuredMatrix) -> LDR:
    raise TypeError(f"M is {kind_of(M)}, which has no short form as an LDR")


@_of_kind.register
def _ldr(M: LDR) -> LDR:
    return M


@_of_kind.register
def _circulant(M: Circulant) -> LDR:
    return LDR(M.column[..., None, :], unit(M.column, 0)[..., None, :])


@_of_kind.register
def _skew_circulant(M: SkewCirculant) -> LDR:
    return LDR(unit(M.column, 0)[..., None, :], M.column[..., None, :])


@_of_kind.register
def _by_diagonals(M: ByDiagonals) -> LDR:
    n, d = side(M), M.diagonals()
    below, above = d[..., n - 1 :], torch.cat([d[..., n - 1 : n], d[..., : n - 1]], dim=-1)  # t[k], and t[k-n]
    first = unit(below, 0)
    return LDR(torch.stack([(below + above) / 2, first], dim=-2), torch.stack([first, (below - above) / 2], dim=-2))


@_of_kind.register
def _low_rank(M: LowRank) -> LDR:
    side(M)
    b, a = M.B.mT, M.A  # Z_1 (b a^T) - (b a^T) Z_-1
    G, H = concatenate((b.roll(1, -1), a), (-b, torch.cat([a[..., 1:], -a[..., :1]], dim=-1)))
    return LDR.from_generators(G, H, (1, -1))
