"""Gaussian elimination on generators: Gohberg, Kailath and Olshevsky's algorithm for Cauchy-like systems."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Inexact
from torch import Tensor


class SingularMatrixError(ValueError):
    """A matrix that has to be inverted is singular, or so to working precision."""


@np.errstate(all="ignore")  # what divides by zero or overflows is no pivot
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
    n, eps = len(s), torch.finfo(s.dtype).eps
    # In NumPy, on the CPU: 2 n small steps follow one another, and its calls cost half of those of torch.
    # Contiguous rows, one for each node; copies, because most of them are overwritten.
    p, q, g, h, x = (v.mT.cpu().resolve_conj().numpy().copy("C") for v in (s[None], t[None], G, H, b))
    p, q = p[:, 0], q[:, 0]  # the nodes of the rows and of the columns
    pivots, largest = np.empty_like(q), 0.0
    for k in range(n):
        column = (g[k:] @ h[k]) / (p[k:] - q[k])
        top = int(np.abs(column).argmax())
        if top:
            for v in (g, p, x):
                v[[k, k + top]] = v[[k + top, k]]
            column[top], column[0] = column[0], column[top]
        pivots[k] = pivot = column[0]
        size = float(abs(pivot))
        largest = max(largest, size)
        if not size > n * eps * largest:
            raise SingularMatrixError(
                f"pivot {k + 1} of {n} is {size:.1e} and the largest one {largest:.1e}: "
                "the matrix is singular to working precision"
            )
        factor, row = column[1:, None] / pivot, (h[k + 1 :] @ g[k]) / (p[k] - q[k + 1 :])
        g[k + 1 :] -= factor * g[k]
        x[k + 1 :] -= factor * x[k]
        h[k + 1 :] -= row[:, None] * (h[k] / pivot)
    for k in range(n - 1, -1, -1):
        row = (h[k + 1 :] @ g[k]) / (q[k] - q[k + 1 :])
        x[k] = (x[k] - row @ x[k + 1 :]) / pivots[k]
        h[k + 1 :] += row[:, None] * (h[k] / pivots[k])
    return torch.from_numpy(x).mT.to(b.device)


def operations(n: int, r: int, k: int = 1) -> int:
    """Real operations of ``eliminate`` for n nodes, r generators and k right-hand sides, to leading order.

    A complex multiplication and addition are eight. With m rows left, a step down forms a column and a row from the
    generators and updates g, h and x: (4 r + k) m of them, and 2 m divisions by differences of nodes (11 each, with
    the difference); a step up forms a row, takes h back and finishes x: (2 r + k) m, and m divisions.
    """
    return (8 * (6 * r + 2 * k) + 33) * n * n // 2
