"""What the tests of the theory share: one size, the reversal, shifts, and closeness whatever the dtype."""

import torch

import surm_lite as sl

N = 12
J = torch.eye(N, dtype=torch.float64).flip(0)


def Z(f, n=N):
    dtype = torch.complex128 if isinstance(f, complex) else torch.float64
    return sl.shift(n, f, dtype=dtype)


def close(a, b, **tol):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), check_dtype=False, **tol)
