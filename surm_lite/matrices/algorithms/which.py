"""Which structure fits? One matrix, every family, the same number of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import gcd
from typing import overload

import torch
from torch import Tensor

from surm_lite.matrices.algorithms.nearest import nearest
from surm_lite.matrices.algorithms.ranking import Fit, LayerRankings, Ranking
from surm_lite.matrices.arguments import check_finite, check_tensor, check_whole
from surm_lite.matrices.families.kronecker import factor_shapes
from surm_lite.matrices.fft import computing_dtype
from surm_lite.matrices.scale import exponent, ldexp, shifted


@overload
def which_structure(W: Tensor, budget: int | None = None) -> Ranking: ...
@overload
def which_structure(W: Mapping[str, Tensor], budget: int | None = None) -> LayerRankings: ...
def which_structure(W: Tensor | Mapping[str, Tensor], budget: int | None = None) -> Ranking | LayerRankings:
    """Projects a matrix, or every layer of an update, on every family at one budget, next to three baselines.

    ``min_S |W - S|_F / |W|_F`` with at most ``budget`` numbers in S. The baselines keep the comparison honest: much of
    what a structure "explains" is often its diagonal, which a multiple of the identity explains with one number.

    Args:
        W: (m, n), a matrix or the trained update of a layer; or a mapping from layer names to such matrices.
        budget: largest number of parameters of one matrix; default m + n, that of LoRA with rank 1.

    Returns:
        A Ranking: prints as a table, iterates over its fits, ``.best`` comes first, ``.plot()`` draws it. For a mapping
        a LayerRankings: a mapping from layer names to rankings that prints and draws in the same way.

    Raises:
        TypeError: W is not a floating or complex tensor.
        ValueError: W is not one matrix of finite numbers, or the budget is below 1, or the mapping is empty.

    Cost:
        Some SVDs of W, and an iterative fit for LDR: about a second for 384 x 384.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> W = Toeplitz.random(12, generator=torch.Generator().manual_seed(0)).to_dense()
        >>> which_structure(W).best.family
        'toeplitz'
        >>> before = {"mix.weight": torch.zeros(12, 12), "mix.bias": torch.zeros(12)}
        >>> after = {"mix.weight": W, "mix.bias": torch.ones(12)}
        >>> layers = which_structure({name: after[name] - W for name, W in before.items() if W.ndim == 2})
        >>> layers["mix.weight"].best.family
        'toeplitz'

    Source:
        SURM, section 4, with closed forms instead of gradient descent.

    Taught in:
        04_full_rank_from_n, 14_which_structure, 23_trained_updates
    """
    if isinstance(W, Mapping):
        if not W:
            raise ValueError("W is an empty mapping; it must hold at least one matrix")
        return LayerRankings({layer: _rank(update, budget, f"W[{layer!r}]") for layer, update in W.items()})
    return _rank(W, budget, "W")


def _rank(W: Tensor, budget: int | None, name: str) -> Ranking:
    check_tensor(W, name, 2, "which_structure")
    if W.ndim != 2 or 0 in W.shape:
        raise ValueError(f"{name} has shape {tuple(W.shape)}; it must be one matrix, (m, n), not empty")
    m, n = W.shape
    budget = m + n if budget is None else budget
    check_whole(budget, "budget")
    check_finite(**{name: W})
    k, dtype = exponent(W), W.dtype
    W = shifted(W.detach().to(computing_dtype(dtype)), -k)
    fits, too_large = [_scaled_identity(W)], []
    if min(m, n) <= budget:
        fits.append(_diagonal(W))
    exact = torch.finfo(dtype).eps ** 0.75  # below this an error is rounding: the smaller structure is the better one
    for family, sizes in SIZES.items():
        fit = _fit(W, family, sizes(m, n, budget), exact)
        if fit is None:
            too_large.append(family)
        else:
            fits.append(fit)
    fits.sort(key=lambda fit: _order(fit, exact))
    return Ranking(tuple(fits), budget, tuple(too_large), (m, n), ldexp(float(torch.linalg.matrix_norm(W)), k))


def _fit(W: Tensor, family: str, sizes: Sequence[Size], exact: float) -> Fit | None:
    """The best of the sizes, and of exact ones the smallest."""
    fits = []
    for size in sizes:
        S, error = nearest(W, family, **size)
        fits.append(Fit(family, S.n_params, error, size))
        if error > exact and family not in NOT_NESTED:
            break  # a smaller size lies inside this one, and cannot be closer
    return min(fits, key=lambda fit: _order(fit, exact), default=None)


def _order(fit: Fit, exact: float) -> tuple[float, int]:
    return (fit.error if fit.error > exact else 0.0, fit.n_params)


Size = dict[str, int | tuple[int, int]]


def _fixed(numbers: Callable[[int, int], int], square: bool = False) -> Callable[[int, int, int], list[Size]]:
    """A family with one size: it fits the budget or it does not."""
    return lambda m, n, budget: [{}] if numbers(m, n) <= budget and (m == n or not square) else []


def _low_rank(m: int, n: int, budget: int) -> list[Size]:
    return [{"rank": r} for r in range(min(budget // (m + n), m, n), 0, -1)]


def _ldr(m: int, n: int, budget: int) -> list[Size]:
    return [{"rank": r} for r in range(min(budget // (2 * n), n), 0, -1) if m == n]


def _block_circulant(m: int, n: int, budget: int) -> list[Size]:
    return [{"block": b} for b in _divisors(gcd(m, n)) if m * n // b <= budget]


def _kronecker(m: int, n: int, budget: int) -> list[Size]:
    (m1, n1), (m2, n2) = factor_shapes(m, n)
    return [{"a_shape": (m1, n1)}] if m1 * n1 + m2 * n2 <= budget else []


def _kronecker_sum(m: int, n: int, budget: int) -> list[Size]:
    (m1, n1), (m2, n2) = factor_shapes(m, n)
    p, q = m1 * n1, m2 * n2
    return [{"terms": k} for k in range(min(budget // (p + q), p, q), 1, -1)]  # one term is `kronecker`


def _monarch(m: int, n: int, budget: int) -> list[Size]:
    counts = [(q, k) for q in _divisors(m) for k in _divisors(n)]
    return [{"blocks": (q, k)} for q, k in counts if q * k > 1 and k * m + q * n <= budget]


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


NOT_NESTED = ("block_circulant", "monarch")
"""Where members with fewer numbers are not members with more, so that all sizes have to be tried."""

SIZES: dict[str, Callable[[int, int, int], list[Size]]] = {
    "circulant": _fixed(lambda m, n: n, square=True),
    "skew_circulant": _fixed(lambda m, n: n, square=True),
    "symmetric_toeplitz": _fixed(lambda m, n: n, square=True),
    "toeplitz": _fixed(lambda m, n: m + n - 1),
    "hankel": _fixed(lambda m, n: m + n - 1),
    "toeplitz_plus_hankel": _fixed(lambda m, n: 2 * (m + n - 1)),
    "block_circulant": _block_circulant,
    "ldr": _ldr,
    "kronecker": _kronecker,
    "kronecker_sum": _kronecker_sum,
    "monarch": _monarch,
    "low_rank": _low_rank,
}
"""The options for ``nearest`` within a budget, most numbers first, per family; none where no member fits."""


def _relative(W: Tensor, S: Tensor) -> float:
    norm = float(torch.linalg.matrix_norm(W))
    return float(torch.linalg.matrix_norm(W - S)) / norm if norm > 0 else 0.0


def _scaled_identity(W: Tensor) -> Fit:
    identity = torch.eye(*W.shape, dtype=W.dtype, device=W.device)
    return Fit("c · identity", 1, _relative(W, W.diagonal().mean() * identity), {})


def _diagonal(W: Tensor) -> Fit:
    identity = torch.eye(*W.shape, dtype=W.dtype, device=W.device)
    return Fit("diagonal", min(W.shape), _relative(W, W * identity), {})
