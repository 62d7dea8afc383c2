"""Structured matrices brought near one and back: which numbers of a family carry its scale."""

from __future__ import annotations

from functools import singledispatch

import torch

from surm_lite.matrices.base import M, StructuredMatrix
from surm_lite.matrices.families.block_circulant import BlockCirculant
from surm_lite.matrices.families.cauchy import Cauchy, CauchyLike
from surm_lite.matrices.families.circulant import FCirculant
from surm_lite.matrices.families.kronecker import Kronecker
from surm_lite.matrices.families.kronecker_sum import KroneckerSum
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.low_rank import LowRank
from surm_lite.matrices.families.monarch import Monarch
from surm_lite.matrices.families.toeplitz import Hankel, SymmetricToeplitz, Toeplitz
from surm_lite.matrices.families.toeplitz_hankel import ToeplitzPlusHankel
from surm_lite.matrices.scale import check_kept, exponent, shifted

Groups = tuple[tuple[tuple[str, ...], int], ...]


@singledispatch
def groups(M: StructuredMatrix) -> Groups:
    """Tensors that share a scale, and what the matrix is multiplied by if they are doubled: 2 (as 1) or 1/2 (as -1)."""
    return ()  # a Vandermonde matrix, whose entries are powers, or a family from outside: taken as it is


@groups.register(FCirculant)  # circulants and skew-circulants too
@groups.register(Toeplitz)
@groups.register(SymmetricToeplitz)
@groups.register(Hankel)
@groups.register(ToeplitzPlusHankel)
@groups.register(BlockCirculant)
def _linear(M: StructuredMatrix) -> Groups:
    return ((tuple(M.fields), 1),)


@groups.register(LowRank)
@groups.register(Kronecker)
@groups.register(KroneckerSum)
@groups.register(Monarch)
@groups.register(LDR)
def _product(M: StructuredMatrix) -> Groups:
    return tuple(((name,), 1) for name in M.fields)


@groups.register
def _cauchy(M: Cauchy) -> Groups:
    return ((("s", "t"), -1),)


@groups.register
def _cauchy_like(M: CauchyLike) -> Groups:
    return (("s", "t"), -1), (("G",), 1), (("H",), 1)


def normalised(A: M) -> tuple[M, int]:
    """(B, k) with ``A = 2^k B`` and the numbers of B near one; k is even."""
    total, found = 0, dict(zip(A.fields, A.tensors))
    for names, power in groups(A):
        k = exponent(*(found[name] for name in names))
        found |= {name: shifted(found[name], -k) for name in names}
        total += power * k
    return A.with_tensors(*found.values()), total


def magnified(A: M, k: int, name: str, dtype: torch.dtype | None = None) -> M:
    """``2^k A`` for an even k, shared between factors, and cast; a ValueError about ``name`` out of range."""
    parts, found = groups(A), dict(zip(A.fields, A.tensors))
    for names, _ in parts:
        before, share = [found[field] for field in names], k // len(parts)
        after = [shifted(t, share).to(dtype or t.dtype) for t in before]
        old, new = (torch.cat([t.flatten() for t in ts])[None] for ts in (before, after))
        check_kept(old, new, [share], name)
        found |= dict(zip(names, after))
    return A.with_tensors(*found.values())
