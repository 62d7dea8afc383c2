"""Gaussian elimination on generators: Gohberg, Kailath and Olshevsky's algorithm for Cauchy-like systems."""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor


class SingularMatrixError(ValueError):
    """A matrix that has to be inverted is singular, or so to working precision."""


def eliminate(
    s: Inexact[Tensor, " n"],
    t: Inexact[Tensor, " n"],
    G: Inexact[Tensor, "r n"],
    H: Inexact[Tensor, "r n"],
    b: Inexact[Tensor, "k n"],
) -> Inexact[Tensor, "k n"]:
    """Solves ``C x = b`` for every row of b, with ``C[i, j] = g_i . h_j / (s_i - t_j)``.

    A Schur complement of a Cauchy-like matrix is Cauchy-like with the same rank, so elimination with partial pivoting
    updates 2 n r numbers and not n^2: ``g_i -= (c_ik / c_kk) g_k``, ``h_j -= (c_kj / c_kk) h_k``. Neither L nor U is
    kept. Downwards, L acts on b at once. Upwards, row k of U is computed again from the generators that belong to it,
    while the update of h is taken back: with ``h'`` after step k, ``c_kj (t_k - t_j) = g_k . h'_j``.

    Raises:
        SingularMatrixError: a pivot is n eps times the largest one or less.
    """
    n = len(s)
    # Contiguous rows, one for each node; copies, because all of them are overwritten.
    g, h, s, x = (v.clone(memory_format=torch.contiguous_format) for v in (G.mT, H.mT, s, b.mT))
    pivots = torch.zeros_like(s)
    largest, eps = 0.0, torch.finfo(s.dtype).eps
    for k in range(n):
        column = (g[k:] @ h[k]) / (s[k:] - t[k])
        top = int(column.abs().argmax())
        if top:
            for v in (g, s, x):
                v[[k, k + top]] = v[[k + top, k]]
            column[[0, top]] = column[[top, 0]]
        pivots[k] = pivot = column[0]
        size = float(pivot.abs())
        largest = max(largest, size)
        if not size > n * eps * largest:
            raise SingularMatrixError(
                f"pivot {k + 1} of {n} is {size:.1e} and the largest one {largest:.1e}: "
                "the matrix is singular to working precision"
            )
        factor, row = column[1:, None] / pivot, (h[k + 1 :] @ g[k]) / (s[k] - t[k + 1 :])
        g[k + 1 :] -= factor * g[k]
        x[k + 1 :] -= factor * x[k]
        h[k + 1 :] -= (row / pivot)[:, None] * h[k]
    for k in range(n - 1, -1, -1):
        row = (h[k + 1 :] @ g[k]) / (t[k] - t[k + 1 :])
        x[k] = (x[k] - row @ x[k + 1 :]) / pivots[k]
        h[k + 1 :] += (row / pivots[k])[:, None] * h[k]
    return x.mT
