"""Checkers for exercises on displacement and on the nearest member of a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from surm_lite.checks.attempt import Attempt, at, chosen
from surm_lite.checks.diagnose import compare, not_real
from surm_lite.checks.subject import Sizes, Subject
from surm_lite.data.arguments import check_seed
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.algorithms.displacement import displacement_rank, shift, sylvester
from surm_lite.matrices.algorithms.nearest import find_family, nearest


def check_displacement_rank(yours: Callable[[Tensor, Tensor, Tensor], int], *, hint: str = "", seed: int = 0) -> None:
    """Tries your displacement rank on matrices whose rank theory gives, at several scales and in float32.

    Args:
        yours: called as ``yours(M, A, B)``; returns the numerical rank of ``A M - M B``.
        hint: added to the message of a failure.
        seed: of the random matrices.

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: with the matrix, its rank and what came.

    Cost:
        36 calls with matrices of size 12.

    Example:
        >>> from surm_lite import displacement_rank
        >>> check_displacement_rank(displacement_rank)
        displacement_rank is right on 9 kinds of matrices, large, small and in float32.
    """
    mine = Attempt(yours, hint)
    check_seed("seed", seed)
    g, n = torch.Generator().manual_seed(seed), 12

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def draw(name: str) -> Tensor:
        return find_family(name).random(n, n, generator=g, dtype=torch.float64).to_dense()

    T = draw("toeplitz")
    cases = [
        ("a zero matrix", torch.zeros(n, n, dtype=torch.float64), 0, -1),
        ("the identity", torch.eye(n, dtype=torch.float64), 1, -1),
        ("a circulant", draw("circulant"), 1, -1),
        ("a circulant with rounding errors, under its own shift", draw("circulant") @ draw("circulant"), 0, 1),
        ("a Toeplitz matrix", T, 2, -1),
        ("the inverse of a Toeplitz matrix", torch.linalg.inv(T + 4 * torch.eye(n, dtype=T.dtype)), 2, -1),
        ("a product of two Toeplitz matrices", T @ draw("toeplitz"), 4, -1),
        ("a matrix of rank 3", random(n, 3) @ random(3, n), 6, -1),
        ("a dense 9 x 12 matrix", random(9, n), 9, -1),
    ]
    for what, M, rank, f in cases:
        for scaled, note in (
            (M, ""),
            (1e9 * M, ", times 10^9"),
            (1e-9 * M, ", times 10^-9"),
            (M.float(), ", in float32"),
        ):
            A, B = (shift(size, corner, dtype=scaled.dtype) for size, corner in zip(M.shape, (1, f)))
            mine.compare([scaled, A, B], rank, f"on {what}{note}, with A = Z_1 and B = Z_{f}")
    mine.passed(f"is right on {len(cases)} kinds of matrices, large, small and in float32")


def check_generators(yours: Callable[[Tensor], tuple[Tensor, Tensor]], *, hint: str = "", seed: int = 0) -> None:
    """Checks that your function turns a matrix into the generators of its displacement, as few as possible.

    Args:
        yours: called as ``yours(M)``; returns G of shape (r, m) and H of shape (r, n) with
            ``Z_1 M - M Z_-1 = sum_i g_i h_i^T`` and r the displacement rank.
        hint: added to the message of a failure.
        seed: of the random matrices.

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: with the matrix and what is wrong with its generators.

    Cost:
        Eight calls with matrices of size 9 or less.

    Example:
        >>> from surm_lite import generators
        >>> check_generators(generators)
        generators is right on circulant, Toeplitz and low-rank matrices.
    """
    mine = Attempt(yours, hint)
    check_seed("seed", seed)
    for name, budget in (("circulant", {}), ("toeplitz", {}), ("low_rank", {"rank": 2})):
        for m, n in ((8, 8), (7, 7)) if name == "circulant" else ((8, 8), (7, 7), (9, 6)):
            M = Subject(find_family(name), seed=seed, budget=budget).member(m, n).to_dense()
            where = f"on a {name} matrix of size {m}x{n}"
            got = mine.call([M], where)
            if not (isinstance(got, tuple) and len(got) == 2 and all(isinstance(t, Tensor) for t in got)):
                raise mine.failed(where, "expected a pair of tensors (G, H)")
            G, H = got
            r = displacement_rank(M)
            said = compare(tuple(G.shape), (r, m)) or compare(tuple(H.shape), (r, n)) or not_real(G) or not_real(H)
            said = said or compare(G.to(M.dtype).mT @ H.to(M.dtype), sylvester(M), 1e-9)
            if said:
                raise mine.failed(where, said)
    mine.passed("is right on circulant, Toeplitz and low-rank matrices")


def check_nearest(
    yours: Callable[[Tensor], Tensor | StructuredMatrix],
    family: str | type[StructuredMatrix],
    *,
    sizes: Sizes | None = None,
    hint: str = "",
    seed: int = 0,
    **budget: Any,
) -> None:
    """Checks that your function gives a member of the family, and the closest one.

    Args:
        yours: called as ``yours(W)``; returns the closest member, dense or as an operator.
        family: one that ``nearest`` knows.
        sizes: (m, n) pairs.
        hint: added to the message of a failure.
        seed: of the random targets.
        **budget: as for ``nearest``: ``rank``, ``block``, ``f``, ``a_shape``.

    Returns:
        None; one line is printed.

    Raises:
        CheckFailed: the result is no member, or another member is closer.

    Cost:
        One call a size.

    Example:
        >>> from surm_lite import nearest
        >>> check_nearest(lambda W: nearest(W, "hankel")[0], "hankel", sizes=((3, 3), (4, 2)))
        your function is right at 3x3, 4x2.
    """
    cls, mine = find_family(family), Attempt(yours, hint)
    check_seed("seed", seed)
    sizes = chosen(sizes, square=cls.square)
    for m, n in sizes:
        W = torch.randn(m, n, generator=torch.Generator().manual_seed(seed + 1009 * m + n), dtype=torch.float64)
        where = at((m, n), square=cls.square)
        S = mine.call([W], where)
        said = compare(tuple(S.shape), (m, n)) if isinstance(S, Tensor) else f"expected a matrix, got {S!r}"
        said = said or not_real(S)
        if said:
            raise mine.failed(where, said)
        S = S.detach().to(W.dtype)
        if nearest(S, cls, **budget)[1] > 1e-6:
            raise mine.failed(where, f"the result is not a {cls.__name__}")
        error, best = (float((W - M).norm() / W.norm()) for M in (S, nearest(W, cls, **budget)[0].to_dense()))
        if error > best + 1e-6:
            raise mine.failed(where, f"a {cls.__name__} with error {error:.4f}, but {best:.4f} is possible")
    mine.passed(f"is right {at(*sizes, square=cls.square)}")
