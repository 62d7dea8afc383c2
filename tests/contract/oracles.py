"""Independent definitions of the families, by scipy and numpy: what ``to_dense`` is compared with."""

import numpy as np
import torch
from scipy.linalg import block_diag, circulant, hankel, toeplitz


def shift_powers(column, f):
    """sum_k c[k] Z_f^k, with matrix powers of the shift."""
    n = len(column)
    Z = np.diag(np.ones(n - 1), -1).astype(np.result_type(column, type(f)))
    Z[0, -1] += f
    return sum(c * np.linalg.matrix_power(Z, k) for k, c in enumerate(column))


def stride(rows, columns):
    """The permutation that reads a rows x columns array by its columns."""
    return np.eye(rows * columns)[np.arange(rows * columns).reshape(rows, columns).T.ravel()]


def monarch(L, R, transposed):
    """P L P^T R from its four factors."""
    (q, o, k) = L.shape
    M = stride(q, o) @ block_diag(*L) @ stride(k, q) @ block_diag(*R)
    return M.T if transposed else M


# Name -> function of the defining tensors and, by keyword, of the options.
DEFINITIONS = {
    "circulant": circulant,
    "skew_circulant": lambda c: shift_powers(c, -1),
    "f_circulant": shift_powers,
    "toeplitz": toeplitz,
    "symmetric_toeplitz": lambda c: toeplitz(c, c),
    "hankel": hankel,
    "toeplitz_plus_hankel": lambda c, r, hc, hr: toeplitz(c, r) + hankel(hc, hr),
    "vandermonde": lambda nodes, n: np.vander(nodes, n, increasing=True),
    "cauchy": lambda s, t: 1 / (s[:, None] - t),
    "cauchy_like": lambda s, t, G, H: (G.T @ H) / (s[:, None] - t),
    "kronecker": np.kron,
    "kronecker_sum": lambda A, B: sum(map(np.kron, A, B)),
    "low_rank": np.matmul,
    "ldr": lambda G, H, e, f: sum(shift_powers(g, e) @ shift_powers(h, f) for g, h in zip(G, H)),
    "block_circulant": lambda kernel: np.block([[circulant(k) for k in row] for row in kernel]),
    "monarch": monarch,
}


def oracle(name):
    """The definition as ``check_family`` wants it: operator -> tensor."""
    define = DEFINITIONS[name]
    return lambda A: torch.from_numpy(np.ascontiguousarray(define(*(t.numpy() for t in A.tensors), **A.options)))
