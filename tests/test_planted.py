"""One-line mistakes of the algebra that other tests let pass: each of these fails with one of them."""

from math import cos

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import surm_lite as sl
from surm_lite.matrices import fft
from surm_lite.matrices.algorithms import solve as solving


@pytest.mark.parametrize("f", [3.0, -3.0, 2 + 2j])
def test_f_circulants_are_scaled_by_the_square_of_the_corner(f):
    """E|W|_F^2 = n; by |f| in place of |f|^2 it would be more than twice that."""
    generator = torch.Generator().manual_seed(0)
    draws = [sl.FCirculant.random(8, f=f, generator=generator, dtype=torch.float64).to_dense() for _ in range(400)]
    assert float(torch.stack(draws).abs().square().sum((-2, -1)).mean() / 8) == pytest.approx(1, abs=0.1)


def test_a_node_may_repeat_within_one_side():
    """Only a node that s and t share divides by zero."""
    C = sl.Cauchy(torch.tensor([1.0, 1.0, 3.0]), torch.tensor([0.0, 2.0, 2.0]))
    assert torch.equal(C.to_dense()[0], torch.tensor([1.0, -1.0, -1.0]))
    assert torch.equal(C.to_dense()[0], C.to_dense()[1])


@pytest.mark.parametrize("kind", ["sylvester", "stein"])
def test_generators_of_a_zero_matrix_are_one_pair_of_zeros(kind):
    G, H = sl.generators(torch.zeros(3, 3), kind=kind)
    assert G.shape == H.shape == (1, 3)
    assert not G.any()
    assert not H.any()
    assert not sl.recover(G, H, kind=kind).to_dense().any()


def test_noise_of_1e_6_is_not_exact(rng):
    """A Toeplitz matrix fits a noisy circulant better, and comes before it; of exact fits the smallest would."""
    W = sl.Circulant.random(8, generator=rng, dtype=torch.float64).to_dense()
    assert sl.which_structure(W).best.family == "circulant"
    noisy = sl.which_structure(W + 1e-6 * torch.randn(8, 8, generator=rng, dtype=torch.float64))
    errors = [fit.error for fit in noisy]
    assert errors == sorted(errors)
    assert 1e-8 < noisy["toeplitz"].error < noisy["circulant"].error < 1e-5


@pytest.mark.parametrize("candidate", [0, 5, 31])
def test_a_vandermonde_system_keeps_away_from_its_nodes(candidate):
    """All nodes solve s^n = f for one of the candidates f: with that one, the Cauchy-like matrix is zero."""
    n = 8
    angle = 2 * torch.pi * ((candidate + 0.5) / 32 + torch.arange(n, dtype=torch.float64)) / n
    V = sl.Vandermonde(torch.exp(1j * angle))
    b = torch.arange(1.0, n + 1, dtype=torch.float64) + 0j
    torch.testing.assert_close(V.to_dense() @ sl.solve(V, b), b)


def kernel(n, width, dtype):
    """A Gaussian kernel, a little lifted: the generators grow in elimination."""
    c = torch.exp(-(torch.arange(n, dtype=torch.float64) ** 2) / width)
    c[0] += 1e-5
    return sl.SymmetricToeplitz(c.to(dtype))


def test_a_system_that_needs_refinement(rng, monkeypatch):
    """The first solution misses b by more than a hundred roundings; one correction brings it down."""
    T = kernel(32, 32, torch.float64)
    b = torch.randn(32, generator=rng, dtype=torch.float64)
    calls, real = [], solving.eliminate
    monkeypatch.setattr(solving, "eliminate", lambda *args: calls.append(len(args)) or real(*args))
    x = sl.solve(T, b)
    refined = float((T.apply(x) - b).norm() / b.norm())
    calls.clear()
    once = solving.solver(T)(b[None])[0]
    first = float((T.apply(once) - b).norm() / b.norm())
    assert len(calls) == 1
    assert refined < 1e-10 < 1e-9 < first


@pytest.mark.parametrize("n", [5, 8, 24])
def test_a_singular_system_is_refused_though_no_pivot_is_zero(n):
    """cos((i - j) / 3) has rank 2; rounding leaves pivots near 1e-16."""
    T = sl.SymmetricToeplitz(torch.tensor([cos(k / 3) for k in range(n)], dtype=torch.float64))
    with pytest.raises(sl.SingularMatrixError, match="singular to working precision"):
        sl.solve(T, torch.ones(n, dtype=torch.float64))


@pytest.mark.parametrize("cached", [1, 40, 200])
def test_sums_over_chunks(cached, rng, monkeypatch):
    """However the rows are cut, every chunk counts."""
    g, x = (torch.randn(23, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    whole = fft.correlation(g, x, 12)
    blocks = fft.block_correlation(g[:, None], x.unflatten(1, (2, 3)).flatten(1)[:, None])
    monkeypatch.setattr(fft, "CACHED", cached)
    torch.testing.assert_close(fft.correlation(g, x, 12), whole)
    torch.testing.assert_close(fft.block_correlation(g[:, None], x[:, None]), blocks)
    direct = torch.stack([sum(g[r, i] * x[r, i - k] for r in range(23) for i in range(k, 6)) for k in range(6)])
    torch.testing.assert_close(whole[:6], direct)


@pytest.mark.parametrize("sizes", [(2, 7, 5, 3), (7, 2, 3, 5), (1, 6, 6, 1), (6, 1, 1, 6), (2, 3, 9, 9)])
def test_a_kronecker_product_takes_the_cheaper_order(sizes):
    m1, n1, m2, n2 = sizes
    K = sl.Kronecker(torch.randn(m1, n1), torch.randn(m2, n2))
    with FlopCounterMode(display=False) as counted:
        K.apply(torch.randn(4, n1 * n2))
    assert counted.get_total_flops() == K.flops(4) == 8 * min(m1 * n2 * (n1 + m2), n1 * m2 * (n2 + m1))


@pytest.mark.parametrize("part", [float("nan"), float("inf")])
@pytest.mark.parametrize("turn", [1, 1j])
def test_either_part_of_a_complex_corner_must_be_finite(part, turn):
    f = complex(part, 1.0) if turn == 1 else complex(1.0, part)
    with pytest.raises(ValueError, match=r"f is \(?.*(nan|inf).*; it must be finite"):
        sl.shift(4, f)
    too_large = 1e39 * turn + (1j if turn == 1 else 1)
    with pytest.raises(ValueError, match=r"must be finite in torch\.complex64"):
        sl.shift(4, too_large, dtype=torch.complex64)
