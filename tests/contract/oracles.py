"""Independent definitions of the families, by scipy and numpy: what ``to_dense`` is compared with."""

import numpy as np
import scipy.linalg
import torch


def circulant_powers(column, f):
    """sum_k c[k] Z_f^k, with matrix powers of the shift."""
    n = len(column)
    Z = np.diag(np.ones(n - 1), -1).astype(np.result_type(column, type(f)))
    Z[0, -1] += f
    return sum(c * np.linalg.matrix_power(Z, k) for k, c in enumerate(column))


def blocks_of_circulants(kernel):
    return np.block([[scipy.linalg.circulant(k) for k in row] for row in kernel])


NUMPY = {
    "circulant": scipy.linalg.circulant,
    "skew_circulant": lambda c: circulant_powers(c, -1),
    "f_circulant": lambda c: circulant_powers(c, 0.5),
    "toeplitz": scipy.linalg.toeplitz,
    "symmetric_toeplitz": lambda c: scipy.linalg.toeplitz(c, c),
    "hankel": scipy.linalg.hankel,
    "kronecker": np.kron,
    "low_rank": np.matmul,
    "ldr": lambda G, H: sum(circulant_powers(g, 1) @ circulant_powers(h, -1) for g, h in zip(G, H)),
    "block_circulant": blocks_of_circulants,
}


def oracle(name):
    """The definition as ``check_family`` wants it: operator -> tensor."""
    return lambda A: torch.from_numpy(np.ascontiguousarray(NUMPY[name](*(t.numpy() for t in A.tensors))))
