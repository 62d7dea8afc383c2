"""Which structure fits? One matrix, every family, the same number of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from .base import check_tensor
from .kronecker import factor_shapes
from .nearest import nearest


@dataclass(frozen=True)
class Fit:
    """How well one family explains a matrix.

    Args:
        family: name of the family or baseline.
        n_params: free numbers of the member used.
        error: relative Frobenius error, 0 .. 1.
        budget: the family's own size option, such as ``{"rank": 2}``.
    """

    family: str
    n_params: int
    error: float
    budget: Mapping[str, int | tuple[int, int]]

    @property
    def explained(self) -> float:
        """Share of the squared norm that the member explains, ``1 - error^2``."""
        return 1.0 - self.error**2


@dataclass(frozen=True)
class Ranking:
    """Every family that the budget allows, best first; exact fits are ordered by their number of parameters."""

    fits: tuple[Fit, ...]
    budget: int
    too_large: tuple[str, ...]

    def __iter__(self) -> Iterator[Fit]:
        return iter(self.fits)

    @property
    def best(self) -> Fit:
        return self.fits[0]

    def __str__(self) -> str:
        lines = [f"{'structure':<20}{'parameters':>11}{'error':>9}{'explained':>11}"]
        lines += [f"{f.family:<20}{f.n_params:>11,}{f.error:>9.4f}{f.explained:>11.1%}" for f in self.fits]
        if self.too_large:
            lines.append(f"not within {self.budget:,} numbers: {', '.join(self.too_large)}")
        return "\n".join(lines)

    __repr__ = __str__


def which_structure(W: Tensor, budget: int | None = None) -> Ranking:
    """Projects a matrix on every family at one budget, next to two baselines.

    ``min_S |W - S|_F / |W|_F`` with at most ``budget`` numbers in S. The baselines keep the comparison honest: much of
    what a structure "explains" is often its diagonal, which a multiple of the identity explains with one number.

    Args:
        W: (m, n), a matrix or the trained update of a layer.
        budget: largest number of parameters; default m + n, that of LoRA with rank 1.

    Returns:
        A Ranking: prints as a table, iterates over its fits, ``.best`` comes first.

    Raises:
        TypeError: W is not a floating or complex tensor.
        ValueError: W is not one matrix, or the budget is below 1.

    Cost:
        Some SVDs of W, and an iterative fit for LDR: about a second for 384 x 384.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> which_structure(Toeplitz.random(12, generator=torch.Generator().manual_seed(0)).to_dense()).best.family
        'toeplitz'

    Source:
        SURM, section 4, with closed forms instead of gradient descent.

    Taught in:
        04_full_rank_from_n
    """
    check_tensor(W, "W", 2, "which_structure")
    if W.ndim != 2 or 0 in W.shape:
        raise ValueError(f"W has shape {tuple(W.shape)}; it must be one matrix, (m, n), not empty")
    budget = sum(W.shape) if budget is None else budget
    if budget < 1:
        raise ValueError(f"budget is {budget}; it must be at least 1")
    fits, too_large = [_scaled_identity(W)], []
    if min(W.shape) <= budget:
        fits.append(_diagonal(W))
    m, n = W.shape
    for family, sizes in SIZES.items():
        size = sizes(m, n, budget)
        if size is None:
            too_large.append(family)
            continue
        S, error = nearest(W, family, **size)
        fits.append(Fit(family, S.n_params, error, size))
    exact = torch.finfo(W.dtype).eps ** 0.75  # below this an error is rounding: the smaller structure is the better one
    fits.sort(key=lambda f: (f.error if f.error > exact else 0.0, f.n_params))
    return Ranking(tuple(fits), budget, tuple(too_large))


Size = dict[str, int | tuple[int, int]]


def _fixed(numbers: Callable[[int, int], int], square: bool = False) -> Callable[[int, int, int], Size | None]:
    """A family with one size: it fits the budget or it does not."""
    return lambda m, n, budget: {} if numbers(m, n) <= budget and (m == n or not square) else None


def _low_rank(m: int, n: int, budget: int) -> Size | None:
    r = min(budget // (m + n), m, n)
    return {"rank": r} if r else None


def _ldr(m: int, n: int, budget: int) -> Size | None:
    r = min(budget // (2 * n), n)
    return {"rank": r} if r and m == n else None


def _block_circulant(m: int, n: int, budget: int) -> Size | None:
    blocks = [b for b in range(1, gcd(m, n) + 1) if gcd(m, n) % b == 0 and m * n // b <= budget]
    return {"block": blocks[0]} if blocks else None  # the smallest block: the most numbers


def _kronecker(m: int, n: int, budget: int) -> Size | None:
    (m1, n1), (m2, n2) = factor_shapes(m, n)
    return {"a_shape": (m1, n1)} if m1 * n1 + m2 * n2 <= budget else None


def _monarch(m: int, n: int, budget: int) -> Size | None:
    counts = [(q, k) for q in _divisors(m) for k in _divisors(n) if q * k > 1 and k * m + q * n <= budget]
    return {"blocks": max(counts, key=lambda c: (min(c), c[1] * m + c[0] * n))} if counts else None


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


SIZES: dict[str, Callable[[int, int, int], Size | None]] = {
    "circulant": _fixed(lambda m, n: n, square=True),
    "skew_circulant": _fixed(lambda m, n: n, square=True),
    "symmetric_toeplitz": _fixed(lambda m, n: n, square=True),
    "toeplitz": _fixed(lambda m, n: m + n - 1),
    "hankel": _fixed(lambda m, n: m + n - 1),
    "block_circulant": _block_circulant,
    "ldr": _ldr,
    "kronecker": _kronecker,
    "monarch": _monarch,
    "low_rank": _low_rank,
}
"""The options for ``nearest`` that spend a budget, per family; None where no member fits the shape and the budget."""


def _relative(W: Tensor, S: Tensor) -> float:
    norm = float(torch.linalg.matrix_norm(W))
    return float(torch.linalg.matrix_norm(W - S)) / norm if norm > 0 else 0.0


def _scaled_identity(W: Tensor) -> Fit:
    identity = torch.eye(*W.shape, dtype=W.dtype, device=W.device)
    return Fit("c · identity", 1, _relative(W, W.diagonal().mean() * identity), {})


def _diagonal(W: Tensor) -> Fit:
    identity = torch.eye(*W.shape, dtype=W.dtype, device=W.device)
    return Fit("diagonal", min(W.shape), _relative(W, W * identity), {})
