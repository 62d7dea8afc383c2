"""The closest member of a family, in the Frobenius norm: closed forms, and one iterative fit."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from inspect import signature

import torch
from torch import Tensor

from surm_lite.matrices.algorithms.fit import fit_ldr
from surm_lite.matrices.algorithms.normalise import magnified
from surm_lite.matrices.arguments import check_finite, check_tensor, check_whole
from surm_lite.matrices.base import Number, StructuredMatrix
from surm_lite.matrices.families import FAMILIES
from surm_lite.matrices.families.block_circulant import BlockCirculant, block_size
from surm_lite.matrices.families.circulant import Circulant, FCirculant, SkewCirculant
from surm_lite.matrices.families.kronecker import Kronecker, factor_shapes
from surm_lite.matrices.families.kronecker_sum import KroneckerSum
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.low_rank import LowRank
from surm_lite.matrices.families.monarch import Monarch, block_counts
from surm_lite.matrices.families.toeplitz import Hankel, SymmetricToeplitz, Toeplitz
from surm_lite.matrices.families.toeplitz_hankel import ToeplitzPlusHankel
from surm_lite.matrices.fft import computing_dtype
from surm_lite.matrices.scale import exponent, shifted


def nearest(
    W: Tensor, family: str | type[StructuredMatrix], **budget: Number | tuple[int, int] | None
) -> tuple[StructuredMatrix, float]:
    """The member of a family that is closest to a given matrix.

    ``argmin_S |W - S|_F`` over the family. For families that are linear spaces it is an average along the diagonals;
    for low rank, Kronecker and Monarch it is a truncated SVD, once or per block. For LDR there is no closed form: an
    alternating fit finds a local optimum whose error never grows with the rank.

    Args:
        W: (m, n), dense.
        family: a class, or its name: "circulant", "skew_circulant", "f_circulant", "toeplitz", "symmetric_toeplitz",
            "hankel", "toeplitz_plus_hankel", "block_circulant", "kronecker", "kronecker_sum", "monarch", "low_rank",
            "ldr".
        **budget: ``rank`` for low rank and LDR (default 1), ``a_shape`` for Kronecker (default as ``factor_shapes``),
            ``terms`` for sums of them (default 2), ``block`` for block-circulant (default gcd(m, n)), ``blocks`` (q, k)
            for Monarch, ``f`` for f-circulant.

    Returns:
        The operator and the relative error ``|W - S|_F / |W|_F`` (0 for W = 0).

    Raises:
        TypeError: W is not a floating or complex tensor, or a budget is not one of this family's.
        ValueError: W is not one matrix of finite numbers, the family is unknown or has no projection, a budget does not
            fit, or the family is square and W is not.

    Cost:
        O(m n) for the linear families, one SVD for the others.

    Example:
        >>> S, error = nearest(torch.tensor([[1.0, 2.0], [4.0, 3.0]]), "circulant")
        >>> S.to_dense(), round(error, 4)
        (tensor([[2., 3.],
                [3., 2.]]), 0.3651)

    Source:
        SURM, appendix A.6 (there only for symmetric input in the symmetric Toeplitz case); Eckart and Young (1936);
        Van Loan and Pitsianis (1993).

    Taught in:
        02_alternating_least_squares, 04_full_rank_from_n
    """
    cls = find_family(family)
    check_tensor(W, "W", 2, "nearest")
    if W.ndim != 2 or 0 in W.shape:
        raise ValueError(f"W has shape {tuple(W.shape)}; it must be one matrix, (m, n), not empty")
    if cls.square and W.shape[0] != W.shape[1]:
        raise ValueError(f"W has shape {tuple(W.shape)}; a {cls.__name__} is square")
    if cls not in PROJECTIONS:
        known = ", ".join(sorted(c.__name__ for c in PROJECTIONS))
        raise ValueError(f"family {cls.__name__} has no projection; those that do: {known}")
    project = PROJECTIONS[cls]
    allowed = list(signature(project).parameters)[1:]
    for name in budget:
        if name not in allowed:
            raise TypeError(f"nearest({cls.__name__}) has no budget {name!r}; it takes {allowed or 'none'}")
    check_finite(W=W)
    k, wide = exponent(W), W.to(computing_dtype(W.dtype))  # no CPU has an SVD for half precision
    wide = shifted(wide, -k)
    S = project(wide, **budget)
    norm = torch.linalg.matrix_norm(wide.detach())
    error = float(torch.linalg.matrix_norm((wide - S.to_dense()).detach()) / norm) if norm > 0 else 0.0
    dtype = torch.promote_types(W.dtype, S.dtype) if S.dtype.is_complex else W.dtype
    return magnified(S, k, f"the nearest {cls.__name__}", dtype), error


def find_family(family: str | type[StructuredMatrix]) -> type[StructuredMatrix]:
    """The class behind a family's name; a ValueError with the near names if there is none."""
    if isinstance(family, type) and issubclass(family, StructuredMatrix):
        return family
    if not isinstance(family, str):
        raise TypeError(f"family is {family!r}; it must be a subclass of StructuredMatrix or the name of one")
    if family not in FAMILIES:
        near = get_close_matches(family, FAMILIES, n=3) or sorted(FAMILIES)
        raise ValueError(f"family is {family!r}; did you mean {' or '.join(map(repr, near))}?")
    return FAMILIES[family]


def mean_by(W: Tensor, label: Tensor, count: int) -> Tensor:
    """(count,): the mean of the entries of W that carry each label."""
    total = W.new_zeros(count).index_add(0, label.flatten(), W.flatten())
    return total / torch.bincount(label.flatten(), minlength=count)


def diagonal_labels(W: Tensor) -> Tensor:
    """(m, n): i - j + n - 1, the position of each entry's diagonal counted from the top-right corner."""
    i, j = (torch.arange(size, device=W.device) for size in W.shape)
    return i[:, None] - j + W.shape[1] - 1


def _circulant(W: Tensor) -> Circulant:
    n = W.shape[0]
    return Circulant(mean_by(W, (diagonal_labels(W) + 1) % n, n))


def _f_circulant(W: Tensor, f: Number = 0.5) -> FCirculant:
    # Entry (i, j) is a multiple, 1 or f, of one number; least squares for a number x seen as w_k = a_k x.
    n = W.shape[0]
    label = diagonal_labels(W)
    like = FCirculant(W[:, 0], f).column  # W's dtype, or complex for a complex f
    large = max(1.0, abs(f))  # of which the square may be too large
    weight = torch.ones_like(W, dtype=like.dtype).masked_fill(label < n - 1, f)  # above the diagonal: f
    label = (label + 1) % n
    unit = torch.full_like(like, large).index_fill(0, torch.zeros_like(label[0, :1]), 1.0)  # no f on the diagonal
    weight = weight / unit[label]
    seen = mean_by(weight.conj() * W, label, n)
    return FCirculant(seen / mean_by(weight.abs().square(), label, n) / unit, f)


def _skew_circulant(W: Tensor) -> SkewCirculant:
    return SkewCirculant(_f_circulant(W, -1).column)


def _toeplitz(W: Tensor) -> Toeplitz:
    m, n = W.shape
    t = mean_by(W, diagonal_labels(W), m + n - 1)
    return Toeplitz(t[n - 1 :], t[:n].flip(-1))


def _symmetric_toeplitz(W: Tensor) -> SymmetricToeplitz:
    # Both sides of the diagonal: SURM's appendix averages the upper one only, which is right for symmetric W alone.
    return SymmetricToeplitz(mean_by(W, (diagonal_labels(W) - W.shape[0] + 1).abs(), W.shape[0]))


def _hankel(W: Tensor) -> Hankel:
    T = _toeplitz(W.flip(-1))  # a Hankel matrix is a Toeplitz matrix with its columns reversed
    h = T.diagonals()
    return Hankel(h[: W.shape[0]], h[W.shape[0] - 1 :])


def _toeplitz_plus_hankel(W: Tensor) -> ToeplitzPlusHankel:
    # Least squares in both at once. For given antidiagonals h the best diagonals are means; put in, they leave one
    # system for h, with one unknown an antidiagonal. It is singular: both families hold the two checkerboards.
    m, n = W.shape
    t, h = diagonal_labels(W), diagonal_labels(W).flip(-1)
    meet = W.new_zeros(m + n - 1, m + n - 1).index_put((t, h), W.new_ones(()))  # 1 where the two share an entry
    normal = meet.sum(0).diag() - meet.mT @ (meet / meet.sum(1, keepdim=True))
    missed = (W - _toeplitz(W).to_dense()).flatten()
    a = torch.linalg.pinv(normal, hermitian=True) @ W.new_zeros(m + n - 1).index_add(0, h.flatten(), missed)
    H = Hankel(a[:m], a[m - 1 :])
    return ToeplitzPlusHankel(*_toeplitz(W - H.to_dense()).tensors, *H.tensors)


def _block_circulant(W: Tensor, block: int | None = None) -> BlockCirculant:
    m, n = W.shape
    b = block_size(m, n, block)
    p, q = m // b, n // b
    blocks = W.unflatten(0, (p, b)).unflatten(2, (q, b)).transpose(1, 2)  # (p, q, b, b)
    kernel = torch.stack([_circulant(blocks[i, j]).column for i in range(p) for j in range(q)])
    return BlockCirculant(kernel.unflatten(0, (p, q)))


def _kronecker(W: Tensor, a_shape: tuple[int, int] | None = None) -> Kronecker:
    S = _kronecker_sum(W, 1, a_shape)
    return Kronecker(S.A[0], S.B[0])


def _kronecker_sum(W: Tensor, terms: int = 2, a_shape: tuple[int, int] | None = None) -> KroneckerSum:
    m, n = W.shape
    (m1, n1), (m2, n2) = factor_shapes(m, n, a_shape)
    check_whole(terms, "terms", 1, min(m1 * n1, m2 * n2))
    rearranged = W.unflatten(0, (m1, m2)).unflatten(2, (n1, n2)).transpose(1, 2)  # (m1, n1, m2, n2)
    u, v = _leading(rearranged.reshape(m1 * n1, m2 * n2), terms)
    return KroneckerSum(u.mT.unflatten(-1, (m1, n1)), v.unflatten(-1, (m2, n2)))


def _low_rank(W: Tensor, rank: int = 1) -> LowRank:
    _check_rank(W, rank)
    return LowRank(*_leading(W, rank))


def _ldr(W: Tensor, rank: int = 1) -> LDR:
    _check_rank(W, rank)
    return fit_ldr(W, rank)


def _monarch(W: Tensor, blocks: tuple[int, int] | None = None) -> Monarch:
    # Entry ((o, q), (k, i)) of a Monarch matrix is L[q, o, k] R[k, q, i]: each (o, i) slice gets its best rank one.
    m, n = W.shape
    q, k = block_counts(m, n, blocks)
    slices = W.unflatten(0, (-1, q)).unflatten(2, (k, -1)).permute(1, 2, 0, 3)  # (q, k, o, i)
    u, v = _leading(slices, 1)  # (q, k, o, 1), (q, k, 1, i)
    return Monarch(u.squeeze(-1).mT, v.squeeze(-2).transpose(0, 1))


def _check_rank(W: Tensor, rank: int) -> None:
    check_whole(rank, "rank", 1, min(W.shape))


def _leading(W: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Eckart-Young: the best rank-r approximation as (..., m, r) and (..., r, n), singular values shared evenly."""
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    root = s[..., :rank].sqrt()
    return U[..., :rank] * root[..., None, :], root[..., :, None] * Vh[..., :rank, :]


PROJECTIONS: dict[type[StructuredMatrix], Callable[..., StructuredMatrix]] = {
    Circulant: _circulant,
    SkewCirculant: _skew_circulant,
    FCirculant: _f_circulant,
    Toeplitz: _toeplitz,
    SymmetricToeplitz: _symmetric_toeplitz,
    Hankel: _hankel,
    ToeplitzPlusHankel: _toeplitz_plus_hankel,
    BlockCirculant: _block_circulant,
    Kronecker: _kronecker,
    KroneckerSum: _kronecker_sum,
    LowRank: _low_rank,
    LDR: _ldr,
    Monarch: _monarch,
}
