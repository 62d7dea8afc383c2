"""Parts of a matrix, on its generators: leading blocks, Schur complements, and other families as an LDR."""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from .base import StructuredMatrix
from .cauchy import CauchyLike
from .circulant import Circulant, SkewCirculant
from .generator_form import GeneratorForm, concatenate, rows
from .ldr import LDR
from .lowrank import LowRank
from .toeplitz import ByDiagonals


@singledispatch
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
    raise TypeError(f"M is a {type(M).__name__}, which has no short form as an LDR")


@as_ldr.register
def _ldr(M: LDR) -> LDR:
    return M


@as_ldr.register
def _circulant(M: Circulant) -> LDR:
    return LDR(M.column[..., None, :], _unit(M.column, 0)[..., None, :])


@as_ldr.register
def _skew_circulant(M: SkewCirculant) -> LDR:
    return LDR(_unit(M.column, 0)[..., None, :], M.column[..., None, :])


@as_ldr.register
def _by_diagonals(M: ByDiagonals) -> LDR:
    n, d = _side(M), M.diagonals()
    below, above = d[..., n - 1 :], torch.cat([d[..., n - 1 : n], d[..., : n - 1]], dim=-1)  # t[k], and t[k-n]
    first = _unit(below, 0)
    return LDR(torch.stack([(below + above) / 2, first], dim=-2), torch.stack([first, (below - above) / 2], dim=-2))


@as_ldr.register
def _low_rank(M: LowRank) -> LDR:
    _side(M)
    b, a = M.B.mT, M.A  # Z_1 (b a^T) - (b a^T) Z_-1
    G, H = concatenate((b.roll(1, -1), a), (-b, torch.cat([a[..., 1:], -a[..., :1]], dim=-1)))
    return LDR.from_generators(G, H, (1, -1))


def leading_block(M: GeneratorForm, p: int) -> GeneratorForm:
    """The leading p x p block, in the same form.

    ``nabla(M11) = F11 - A12 M21 + M12 B21``: the rank stays for diagonal operators and grows by at most 2 for shifts.

    Args:
        M: (n, n), LDR or Cauchy-like.
        p: 1 .. n.

    Returns:
        p x p; an LDR keeps its corners.

    Raises:
        TypeError: M is not held by generators (see ``as_ldr``).
        ValueError: p is not in 1 .. n.

    Cost:
        O(r n log n) for LDR, O(r p) for Cauchy-like.

    Example:
        >>> M = LDR.random(6, rank=2, generator=torch.Generator().manual_seed(0))
        >>> B = leading_block(M, 4)
        >>> B.rank, torch.allclose(B.to_dense(), M.to_dense()[:4, :4], atol=1e-5)
        (4, True)

    Source:
        Pan, Structured Matrices and Polynomials (2001), section 1.5.

    Taught in:
        10_closure
    """
    n = _check_part(M, p, last=0)
    if p == n:
        return M
    if isinstance(M, CauchyLike):
        return M.with_tensors(*(v[..., :p] for v in M.tensors))
    e, f = M.pair
    G, H = M.generators()
    upper, lower = (_row(M, i)[..., :p] for i in (p - 1, n - 1))
    right, left = (_column(M, j)[..., :p] for j in (p, 0))
    border = (
        torch.stack([e * _unit(upper, 0), right - f * left], dim=-2),
        torch.stack([upper - lower, _unit(upper, p - 1)], dim=-2),
    )
    return LDR.from_generators(*concatenate((G[..., :p], H[..., :p]), border), M.pair)


def schur_complement(M: GeneratorForm, p: int) -> GeneratorForm:
    """What elimination of the first p unknowns leaves, in the same form.

    ``S = M22 - M21 M11^-1 M12`` with M11 of size p. With ``X = [-M21 M11^-1, I]`` and ``Y = [-M11^-1 M12; I]`` its
    generators are ``X G`` and ``Y^T H``: the rank stays if A is block lower and B block upper triangular, as diagonals
    are. Shifts are so but for one corner entry each, and the rank grows by at most 2.

    Args:
        M: (n, n), LDR or Cauchy-like.
        p: 1 .. n - 1.

    Returns:
        (n - p) x (n - p); an LDR keeps its corners.

    Raises:
        TypeError: M is not held by generators (see ``as_ldr``).
        SingularMatrixError: the leading block is singular; a ValueError.
        ValueError: p is not in 1 .. n - 1.

    Cost:
        Two structured solves of size p with r + 2 right-hand sides, O(r^2 p^2), and r + 2 products.

    Example:
        >>> M = LDR.random(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> W = M.to_dense()
        >>> S = W[2:, 2:] - W[2:, :2] @ W[:2, :2].inverse() @ W[:2, 2:]
        >>> torch.allclose(schur_complement(M, 2).to_dense(), S)
        True

    Source:
        Gohberg, Kailath and Olshevsky (1995), lemma 1.1, for triangular operators.

    Taught in:
        10_closure
    """
    n = _check_part(M, p, last=1)
    G, H = M.generators()
    if isinstance(M, CauchyLike):
        return M.with_tensors(M.s[..., p:], M.t[..., p:], _eliminated(M, G, p), _eliminated(M.T, H, p))
    e, f = M.pair
    like = G[..., 0, :]
    corner = e * (_unit(like, p) - _unit(like, 0)), f * _unit(like, n - 1) - _unit(like, p - 1)
    border = torch.stack([corner[0], -_column(M, p)], dim=-2), torch.stack([_row(M, n - 1), corner[1]], dim=-2)
    G, H = concatenate((G, H), border)
    return LDR.from_generators(_eliminated(M, G, p), _eliminated(M.T, H, p), M.pair)


def _eliminated(M: GeneratorForm, V: Tensor, p: int) -> Tensor:
    """``V_2 - M21 M11^-1 V_1`` for every row of V."""
    from .solve import solve

    head = solve(leading_block(M, p), V[..., :p].mT).mT
    return (V - rows(M, torch.cat([head, torch.zeros_like(V[..., p:])], dim=-1)))[..., p:]


def _column(M: StructuredMatrix, j: int) -> Tensor:
    return M @ _unit(M.tensors[-1][..., 0, :], j)


def _row(M: StructuredMatrix, i: int) -> Tensor:
    return M.T @ _unit(M.tensors[-1][..., 0, :], i)


def _unit(like: Tensor, k: int) -> Tensor:
    """e_k, 0-based, in the shape of ``like``."""
    e = torch.zeros_like(like)
    e[..., k] = 1
    return e


def _side(M: StructuredMatrix) -> int:
    if M.shape[0] != M.shape[1]:
        raise ValueError(f"M is {M.shape[0]} x {M.shape[1]}; it must be square")
    return M.shape[0]


def _check_part(M: GeneratorForm, p: int, last: int) -> int:
    if not isinstance(M, LDR | CauchyLike):
        raise TypeError(f"M is a {type(M).__name__}; it must be an LDR or a CauchyLike matrix (as_ldr makes one)")
    n = _side(M)
    if p not in range(1, n + 1 - last):
        raise ValueError(f"p is {p}; it must be in 1 .. {n - last}")
    return n
