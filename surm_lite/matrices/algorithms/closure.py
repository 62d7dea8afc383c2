"""Parts of a matrix, on its generators: leading blocks and Schur complements."""

from __future__ import annotations

import torch
from torch import Tensor

from surm_lite.matrices.algorithms.solve import solve
from surm_lite.matrices.arguments import check_whole, kind_of
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.families.cauchy import CauchyLike
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.generator_form import GeneratorForm, concatenate, rows, side, unit


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
        torch.stack([e * unit(upper, 0), right - f * left], dim=-2),
        torch.stack([upper - lower, unit(upper, p - 1)], dim=-2),
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
    corner = e * (unit(like, p) - unit(like, 0)), f * unit(like, n - 1) - unit(like, p - 1)
    border = torch.stack([corner[0], -_column(M, p)], dim=-2), torch.stack([_row(M, n - 1), corner[1]], dim=-2)
    G, H = concatenate((G, H), border)
    return LDR.from_generators(_eliminated(M, G, p), _eliminated(M.T, H, p), M.pair)


def _eliminated(M: GeneratorForm, V: Tensor, p: int) -> Tensor:
    """``V_2 - M21 M11^-1 V_1`` for every row of V."""
    head = solve(leading_block(M, p), V[..., :p].mT).mT
    return (V - rows(M, torch.cat([head, torch.zeros_like(V[..., p:])], dim=-1)))[..., p:]


def _column(M: StructuredMatrix, j: int) -> Tensor:
    return M @ unit(M.tensors[-1][..., 0, :], j)


def _row(M: StructuredMatrix, i: int) -> Tensor:
    return M.T @ unit(M.tensors[-1][..., 0, :], i)


def _check_part(M: GeneratorForm, p: int, last: int) -> int:
    if not isinstance(M, LDR | CauchyLike):
        raise TypeError(f"M is {kind_of(M)}; it must be an LDR or a CauchyLike matrix (as_ldr makes one)")
    n = side(M)
    check_whole(p, "p", 1, n - last)
    return n
