"""The iterative LDR fit, the Monarch projection, and the butterfly factors."""

from itertools import pairwise

import pytest
import torch

import surm_lite as sl
from surm_lite.matrices.algorithms.butterfly import dft_butterflies
from surm_lite.matrices.algorithms.fit import fit_ldr
from surm_lite.matrices.algorithms.nearest import nearest
from surm_lite.matrices.fft import mixed_transform, spectrum


def error(W, S):
    return float(torch.linalg.matrix_norm(W - S.to_dense()) / torch.linalg.matrix_norm(W))


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_mixed_transform_turns_ldr_into_rank_times_kernel(rng, n, dtype):
    """C = F W D* F^-1 is K times sum ghat hhat^T, entry by entry, with the norm of W and |K| as stated."""
    W = sl.LDR.random(n, rank=1, generator=rng, dtype=dtype)
    K = mixed_transform(torch.eye(n, dtype=dtype))
    k = torch.arange(n)
    stated = 1 / (n * torch.sin(torch.pi * (2 * k[:, None] - 2 * k + 1) / (2 * n)).abs())
    torch.testing.assert_close(K.abs(), stated.to(torch.float64))
    C = mixed_transform(W.to_dense())
    torch.testing.assert_close(C, K * torch.outer(spectrum(W.G[0]) + 0j, spectrum(W.H[0], twisted=True)))
    torch.testing.assert_close(torch.linalg.matrix_norm(C), torch.linalg.matrix_norm(W.to_dense()))


@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_ldr_fit_is_monotone_and_exact_at_n(rng, n, dtype):
    W = torch.randn(n, n, generator=rng, dtype=dtype)
    errors = [error(W, fit_ldr(W, r)) for r in range(1, n + 1)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-9
    assert errors[0] < 1


@pytest.mark.parametrize("r", [1, 2, 3])
def test_ldr_fit_finds_a_planted_member(rng, r):
    W = sl.LDR.random(12, rank=r, generator=rng, dtype=torch.float64).to_dense()
    assert error(W, fit_ldr(W, r)) < 1e-12
    assert error(W + 1e-3 * torch.randn(12, 12, generator=rng, dtype=torch.float64), fit_ldr(W, r)) < 1e-2


def test_ldr_fit_is_stationary(rng):
    """No small change of G or H lowers the error: the gradient of the loss at the fit is nearly zero."""
    W = torch.randn(10, 10, generator=rng, dtype=torch.float64)
    S = fit_ldr(W, 2, sweeps=400)
    G, H = (t.clone().requires_grad_() for t in S.tensors)
    loss = (W - sl.LDR(G, H).to_dense()).square().sum()
    loss.backward()
    assert max(float(t.grad.abs().max()) for t in (G, H)) < 1e-3 * float(loss.detach())


def test_ldr_beats_its_own_truncated_generators(rng):
    W = torch.randn(15, 15, generator=rng, dtype=torch.float64)
    for r in (1, 3, 5):
        assert error(W, fit_ldr(W, r)) <= error(W, sl.recover(*sl.generators(W, rank=r))) + 1e-12


@pytest.mark.parametrize(("m", "n"), [(16, 16), (6, 15), (7, 7)])
def test_nearest_monarch_recovers_and_obeys_pythagoras(rng, m, n):
    """[M2, M3] A member is its own projection; the residual of anything else is orthogonal to its projection."""
    W = sl.Monarch.random(m, n, generator=rng, dtype=torch.float64).to_dense()
    assert nearest(W, "monarch")[1] < 1e-12
    X = torch.randn(m, n, generator=rng, dtype=torch.float64)
    S = nearest(X, "monarch")[0].to_dense()
    torch.testing.assert_close(X.square().sum(), S.square().sum() + (X - S).square().sum())


def test_monarch_counts_and_is_not_low_displacement(rng):
    """[M4, M5] 2 n sqrt(n) numbers, and a displacement rank far from 2."""
    M = sl.Monarch.random(16, generator=rng, dtype=torch.float64)
    assert M.n_params == 2 * 16 * 4
    assert sl.displacement_rank(M) > 4


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_butterflies_multiply_to_the_dft(n):
    """[M1] log2 n sparse factors after a reordering, 2 n log2 n non-zeros together."""
    factors, order = dft_butterflies(n)
    F = torch.eye(n, dtype=torch.complex128)[order]
    for B in factors:
        F = B @ F
    torch.testing.assert_close(F, torch.fft.fft(torch.eye(n, dtype=torch.complex128)))
    assert sum(B._nnz() for B in factors) == 2 * n * (n.bit_length() - 1)


@pytest.mark.parametrize("n", [0, 3, 2.0])
def test_butterflies_need_a_power_of_two(own_errors, n):
    with pytest.raises(ValueError, match="power of two"):
        dft_butterflies(n)
