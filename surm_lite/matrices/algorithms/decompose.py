"""Low-rank, Hadamard, Kronecker and Khatri-Rao decompositions by alternating least squares."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from math import prod

import torch
from torch import Tensor

from surm_lite.matrices.arguments import check_finite, check_number, check_tensor, check_whole
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.compose import Sum
from surm_lite.matrices.families.khatri_rao import KhatriRao, balanced_rows
from surm_lite.matrices.families.kronecker import factor_shapes
from surm_lite.matrices.families.kronecker_sum import KroneckerSum
from surm_lite.matrices.families.low_rank import LowRank
from surm_lite.matrices.scale import exponent, ldexp, rescaled, shifted

KINDS = ("low_rank", "hadamard", "kronecker", "khatri_rao")
SWEEPS, STARTS, TRIAL = 1000, 20, 100
"""At most so many sweeps over the factors. Where they end at local minima, with a mask and for "hadamard", there are so
many starts; after so many sweeps the best of them goes on alone."""
SEED = 20_240_807
"""Of the starts: no number that a matrix in a test is likely to be drawn with."""


@dataclass(frozen=True)
class Decomposition:
    """What ``decompose`` found; it prints as a sentence.

    Example:
        >>> decompose(torch.eye(2), "low_rank", 1)
        LowRank B A ∈ ℝ^(2×2), 4 numbers; relative error 0.71 after 2 sweeps
    """

    matrix: StructuredMatrix
    error: float
    """|A - matrix| / |A| over the entries that were seen; 0 for A = 0."""
    losses: tuple[float, ...]
    """What is minimised, over |A|^2 (if that is not 0), before the first sweep and after each: it only falls."""

    def __repr__(self) -> str:
        return f"{self.matrix}; relative error {self.error:.2g} after {len(self.losses) - 1} sweeps"


def decompose(A: Tensor, kind: str, rank: int, mask: Tensor | None = None, ridge: float = 0.0) -> Decomposition:
    """Factors of a matrix by alternating least squares: each in turn gets its best values, the others held.

    ``min |mask * (A - S)|^2 + ridge (sum of the squared factors)``

    Kinds of S: "low_rank", ``W Z``; "hadamard", ``(W1 Z1) * (W2 Z2)`` entry by entry; "kronecker", a sum of ``B ⊗ C``;
    "khatri_rao", a sum of column-wise Kronecker products ``B ⊙ C``. The last two are low-rank decompositions of A
    rearranged, whole and column by column. No step makes the loss larger. Without mask and ridge all but "hadamard" end
    at the global minimum, that of singular value decompositions; a ridge lowers every singular value by itself. With a
    mask, and for "hadamard", it is the best end of a few starts.

    Args:
        A: (m, n), real.
        kind: one of the four.
        rank: of W Z, or of each of the two; the number of terms of the sums.
        mask: (m, n), bool: the entries that were seen; what A holds elsewhere plays no part. None: all.
        ridge: at least 0; keeps factors small, and rows with little to say near 0.

    Returns:
        A ``Decomposition``: the structured matrix, its relative error on what was seen, and the losses.

    Raises:
        TypeError: A is no real floating tensor, mask is no bool tensor, or ridge is no number.
        ValueError: A is not one matrix, finite where it was seen, kind is unknown, rank is not in range, mask has
            another shape or sees nothing, or ridge is negative.

    Cost:
        O(m n r) a sweep, in float64, and at most 1000 sweeps; with a mask or for "hadamard" O(m n r^2 + (m + n) r^3),
        of which the first 100 are twentyfold.

    Example:
        >>> A = torch.tensor([[1.0, 2.0], [2.0, 5.0]])
        >>> seen = torch.tensor([[True, True], [True, False]])
        >>> decompose(A, "low_rank", 1, mask=seen).matrix.to_dense().round(decimals=3)
        tensor([[1., 2.],
                [2., 4.]])

    Source:
        Lu, Low-rank approximation, adaptation, and other tales (2024), who takes gradient steps for "hadamard"; the
        exact regressions there are this library's.

    Taught in:
        02_alternating_least_squares, 03_product_rules
    """
    check_tensor(A, "A", 2, "decompose")
    if A.ndim != 2 or 0 in A.shape:
        raise ValueError(f"A has shape {tuple(A.shape)}; it must be one matrix, (m, n), not empty")
    if A.is_complex():
        raise TypeError(f"A of decompose has dtype {A.dtype}; it must be real")
    if kind not in KINDS:
        near = get_close_matches(str(kind), KINDS, n=2) or list(KINDS)
        raise ValueError(f"kind is {kind!r}; did you mean {' or '.join(map(repr, near))}?")
    seen = _seen(A, mask)
    A = A.detach().masked_fill(~seen, 0.0)
    check_finite(A=A)
    check_number(ridge, "ridge")
    if isinstance(ridge, complex) or ridge < 0:
        raise ValueError(f"ridge is {ridge}; it must be a real number of at least 0")
    target, seen = _rearranged(A.double(), kind), _rearranged(seen, kind)
    check_whole(rank, "rank", 1, min(target.shape[-2:]))
    # Numbers near one: A / 2^k. Its 2 p factors share that power, and the ridge goes with it.
    p = 2 if kind == "hadamard" else 1
    k = 4 * -(-exponent(target) // 4)
    ridge = min(ldexp(float(ridge), -k * (2 * p - 1) // p), HUGE)
    target = shifted(target, -k)
    size = float(target.norm())
    pairs, losses = _descend(target, None if bool(seen.all()) else seen.double(), rank, ridge, p)
    if losses[-1] >= (1 - 1e-12) * size**2:  # nothing is worth its price: the factors shrink for ever
        pairs, losses = [(0 * W, 0 * Z) for W, Z in pairs], [*losses, size**2]
    error = float((target - seen * _product(pairs)).norm())
    kept = [(rescaled(W, k // (2 * p), "W", A.dtype), rescaled(Z, k // (2 * p), "Z", A.dtype)) for W, Z in pairs]
    relative = tuple(loss / (size**2 or 1.0) for loss in losses)
    return Decomposition(_joined(kept, kind, A.shape), error / (size or 1.0), relative)


HUGE = 2.0**200
"""A ridge that leaves nothing of numbers near one."""

Pairs = list[tuple[Tensor, Tensor]]
"""W (..., m, r) and Z (..., r, n); of several pairs the products are multiplied entry by entry."""


def _seen(A: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones_like(A, dtype=torch.bool)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask is {kind}; it must be a tensor of torch.bool, True where an entry was seen")
    if mask.shape != A.shape or mask.device != A.device:
        raise ValueError(
            f"mask is {tuple(mask.shape)} on {mask.device}; it must be {tuple(A.shape)} on {A.device}, as A is"
        )
    if not bool(mask.any()):
        raise ValueError("mask is False everywhere; some entries must have been seen")
    return mask


def _rearranged(A: Tensor, kind: str) -> Tensor:
    """The matrix whose rank counts: with Kronecker blocks as its rows, or a batch of them, one for each column."""
    m, n = A.shape
    if kind == "kronecker":
        (m1, n1), (m2, n2) = factor_shapes(m, n)
        return A.unflatten(0, (m1, m2)).unflatten(2, (n1, n2)).transpose(1, 2).reshape(m1 * n1, m2 * n2)
    return A.mT.unflatten(-1, (balanced_rows(m), -1)) if kind == "khatri_rao" else A


def _joined(pairs: Pairs, kind: str, shape: torch.Size) -> StructuredMatrix:
    W, Z = pairs[0]
    if kind == "hadamard":  # the product of W1 Z1 and W2 Z2 is that of row-wise and column-wise Kronecker products
        W, Z = (W[:, :, None] * pairs[1][0][:, None]).flatten(1), (Z[:, None] * pairs[1][1]).flatten(0, 1)
    if kind == "kronecker":
        a_shape, b_shape = factor_shapes(*shape)
        return KroneckerSum(W.mT.unflatten(-1, a_shape), Z.unflatten(-1, b_shape))
    if kind == "khatri_rao":
        terms: list[StructuredMatrix] = [KhatriRao(W[:, :, s].mT, Z[:, s].mT) for s in range(Z.shape[1])]
        return reduce(Sum, terms)
    return LowRank(W, Z)


def _product(pairs: Pairs) -> Tensor:
    return prod((W @ Z for W, Z in pairs[1:]), start=pairs[0][0] @ pairs[0][1])


def _descend(target: Tensor, seen: Tensor | None, rank: int, ridge: float, p: int) -> tuple[Pairs, list[float]]:
    """Sweeps until nothing is gained, of several starts side by side: the best pairs, and their losses."""
    starts, least = (STARTS, 1e-8) if p > 1 or seen is not None else (1, 1e-14)
    chance = torch.Generator().manual_seed(SEED)
    *batch, m, n = target.shape

    def drawn(*size: int) -> Tensor:
        return torch.randn(starts, *batch, *size, generator=chance, dtype=target.dtype).to(target.device)

    def loss(pairs: Pairs) -> Tensor:
        product = _product(pairs)
        rest = target - (product if seen is None else seen * product)
        return _squares(rest) + ridge * sum(_squares(t) for pair in pairs for t in pair)

    def best(pairs: Pairs, losses: list[Tensor]) -> tuple[Pairs, list[Tensor]]:
        k = int(losses[-1].argmin())
        return [(W[k : k + 1], Z[k : k + 1]) for W, Z in pairs], [loss[k : k + 1] for loss in losses]

    pairs = [(drawn(m, rank), drawn(rank, n)) for _ in range(p)]
    losses = [loss(pairs)]
    for sweep in range(SWEEPS):
        if sweep == TRIAL:
            pairs, losses = best(pairs, losses)
        pairs = _sweep(target, seen, pairs, ridge)
        losses.append(loss(pairs))
        if bool((losses[-2] - losses[-1] <= least * losses[-2]).all()):
            break
    pairs, losses = best(pairs, losses)
    return [(W[0], Z[0]) for W, Z in pairs], [float(loss) for loss in losses]


def _squares(t: Tensor) -> Tensor:
    return t.square().flatten(1).sum(1)


def _sweep(target: Tensor, seen: Tensor | None, pairs: Pairs, ridge: float) -> Pairs:
    """Each factor once, all others held. Without a price on the factors one of a pair may as well be orthonormal."""
    pairs = list(pairs)
    for k, (W, _) in enumerate(pairs):
        others = pairs[:k] + pairs[k + 1 :]
        weights = seen
        if others:
            weights = _product(others) if seen is None else seen * _product(others)
        W = W if ridge else torch.linalg.qr(W).Q
        Z = _best(target, weights, W, ridge)
        Z = Z if ridge else torch.linalg.qr(Z.mT).Q.mT
        W = _best(target.mT, None if weights is None else weights.mT, Z.mT, ridge).mT
        pairs[k] = (W, Z)
    return pairs


def _best(target: Tensor, weights: Tensor | None, W: Tensor, ridge: float) -> Tensor:
    """The Z that makes ``|target - weights * (W Z)|^2 + ridge |Z|^2`` smallest: least squares, column by column."""
    if weights is None:  # all columns have the same normal equations
        normal, right = W.mT @ W, W.mT @ target
    else:
        squares = (W[..., :, None] * W[..., None, :]).flatten(-2)  # (..., m, r^2)
        normal = (weights.square().mT @ squares).unflatten(-1, (W.shape[-1], -1))  # (..., n, r, r)
        right = ((weights * target).mT @ W)[..., None]
    if ridge:
        normal = normal + ridge * torch.eye(W.shape[-1], dtype=W.dtype, device=W.device)
    # Where the equations are too few, the shortest of their solutions.
    size, V = torch.linalg.eigh(normal)
    least = size[..., -1:] * (size.shape[-1] * torch.finfo(size.dtype).eps)
    inverse = torch.where(size > least.clamp_min(torch.finfo(size.dtype).tiny), 1 / size, 0.0)
    Z = V @ (inverse[..., None] * (V.mT @ right))
    return Z if weights is None else Z.squeeze(-1).mT
