"""Recovery from generators for every pair of shifts, the Krylov form, fewer generators for one displacement."""

import pytest
import torch

import surm_lite as sl

N = 9
CORNERS = [(1, -1), (-1, 1), (2, 0.5), (1, 0), (0, -1), (-1.3, 0.4), (0, 0), (1j, 2)]


@pytest.fixture
def randn(rng):
    return lambda *shape, dtype=torch.float64: torch.randn(*shape, dtype=dtype, generator=rng)


def close(a, b, **tol):
    torch.testing.assert_close(a, b.to(a.dtype), **tol)


def F(v, f):
    return sl.FCirculant(v, f).to_dense()


@pytest.mark.parametrize("n", [1, 8, 9])
@pytest.mark.parametrize("left", [False, True], ids=["A", "A^T"])
@pytest.mark.parametrize("right", [False, True], ids=["B", "B^T"])
@pytest.mark.parametrize("kind", ["sylvester", "stein"])
@pytest.mark.parametrize(("e", "f"), CORNERS)
def test_every_pair_of_shifts(e, f, kind, left, right, n, randn):
    """[C2, C5, C8, C9, C10] recover inverts generators wherever the pair determines the matrix; both have a product."""
    A, B = sl.Shift(e, transposed=left), sl.Shift(f, transposed=right)
    G0 = torch.ones(1, n, dtype=torch.float64)
    if (kind == "sylvester" and e == f) or (kind == "stein" and e * f == 1):
        with pytest.raises(sl.SingularPairError, match="corners are e ="):
            sl.recover(G0, G0, A, B, kind=kind)
        return
    M = randn(n, n)
    G, H = sl.generators(M, A, B, kind=kind)
    R = sl.recover(G, H, A, B, kind=kind)
    close(R.to_dense(), M)
    x = randn(3, n)
    close(R.apply(x), x @ M.mT)
    close(R.T.apply(x), x @ M)
    assert R.with_tensors(*R.tensors).shape == R.shape == (n, n)
    assert R.flops(2) > R.flops(1) > 0


def test_c2_formula(randn):
    """[C2] Z_e M - M Z_f = G^T H gives 1/(e-f) sum Z_e(g) Z_f(J h)."""
    G, H = randn(3, N), randn(3, N)
    M = sum(F(g, 2) @ F(h.flip(0), 0.5) for g, h in zip(G, H)) / 1.5
    close(sl.recover(G, H, sl.Shift(2), sl.Shift(0.5)).to_dense(), M)
    close(sl.sylvester(M, sl.Shift(2), sl.Shift(0.5)), G.mT @ H)


def test_c5_to_c8_krylov_matrices_of_shifts(randn):
    """[C5, C6, C7, C8] K(Z_1, g) = Z_1(g), K(Z_-1^T, h)^T = J Z_-1(J h), and the Stein form of the Hankel pair."""
    g, h = randn(N), randn(N)
    close(sl.krylov(sl.shift(N, dtype=torch.float64), g), F(g, 1))
    right = sl.krylov(sl.shift(N, -1, dtype=torch.float64).T, h).T
    close(right, F(h.flip(0), -1).flip(0))
    M = sl.recover(g[None], h[None], sl.Shift(1), sl.Shift(-1), kind="stein")
    close(M.to_dense(), F(g, 1) @ right / 2)


def test_c9_c10_triangular_forms(randn):
    """[C9, C10] Kailath, Kung and Morf: sum L(g) L(h)^T, and the dual sum U(g) U(h)^T. No factor, no reversal."""
    G, H = randn(2, N), randn(2, N)
    low, up = sl.Shift(0), sl.Shift(0, transposed=True)
    close(sl.recover(G, H, low, up, kind="stein").to_dense(), sum(F(g, 0) @ F(h, 0).T for g, h in zip(G, H)))

    def U(v):
        return F(v.flip(0), 0).flip(0, 1)

    close(sl.recover(G, H, up, low, kind="stein").to_dense(), sum(U(g) @ U(h).T for g, h in zip(G, H)))


@pytest.mark.parametrize(("m", "f"), [(6, 1), (9, -1)])
def test_recovered_operators_are_never_dense(m, f, rng):
    """The Krylov product too is n steps with vectors."""
    G = torch.randn(2, 96, generator=rng)
    x = torch.randn(96, generator=rng)
    low, up = sl.Shift(0), sl.Shift(f, transposed=True)
    with sl.no_dense(96):
        sl.recover(G, G, low, up, kind="stein").apply(x)
        sl.recover(G, G, sl.Shift(2), sl.Shift(f, transposed=True)).T.apply(x)
        sl.Krylov(G, G, sl.Circulant(x), sl.Circulant(x)).apply(x)


class TestKrylov:
    @pytest.fixture
    def operators(self, randn):
        """A subdiagonal and a tridiagonal one, the two that Thomas et al. learn."""
        tri = torch.diag(randn(N)) + torch.diag(randn(N - 1), 1) + torch.diag(randn(N - 1), -1)
        return torch.diag(randn(N - 1), -1), tri / torch.linalg.eigvals(tri).abs().max()

    def test_l1_l2_displacement(self, operators, randn):
        """[L1, L2] W - A W B = F - A^n F B^n, of rank at most 2r."""
        A, B = operators
        W = sl.Krylov(randn(2, N), randn(2, N), A, B)
        F0 = W.G.mT @ W.H
        power = torch.linalg.matrix_power
        close(sl.stein(W, A, B), F0 - power(A, N) @ F0 @ power(B, N))
        assert sl.displacement_rank(W, A, B, kind="stein") <= 4

    def test_l3_origin_of_the_half(self, randn):
        """[L3] With (Z_1, Z_-1) the Krylov sum is twice the matrix with that Stein displacement."""
        G, H = randn(2, N), randn(2, N)
        shifts = (sl.shift(N, f, dtype=torch.float64) for f in (1, -1))
        twice = sl.Krylov(G, H, *shifts).to_dense()
        close(twice, 2 * sl.recover(G, H, sl.Shift(1), sl.Shift(-1), kind="stein").to_dense())

    @pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
    def test_product_and_transpose(self, batch, operators, randn):
        W = sl.Krylov(randn(2, N), randn(2, N), *operators)
        x = randn(*batch, N)
        close(W.apply(x), x @ W.to_dense().mT)
        close(W.T.apply(x), x @ W.to_dense())
        close(W.T.to_dense(), W.to_dense().T)

    def test_structured_operators(self, rng, randn):
        C = sl.Circulant.random(N, generator=rng, dtype=torch.float64)
        dense = sl.Krylov(randn(1, N), randn(1, N), C.to_dense(), C.T.to_dense())
        fast = sl.Krylov(*dense.tensors, C, C.T)
        close(fast.apply(torch.ones(N, dtype=torch.float64)), dense.to_dense().sum(1))
        close(fast.to(torch.complex128).to_dense(), dense.to_dense())

    def test_operators_can_be_learned(self, operators, randn):
        inputs = [t.requires_grad_() for t in (randn(1, N), randn(1, N), *operators)]
        assert torch.autograd.gradcheck(lambda *t: sl.Krylov(*t).apply(torch.ones(N, dtype=torch.float64)), inputs)

    def test_sizes(self, own_errors):
        g = torch.ones(1, 3)
        with pytest.raises(ValueError, match=r"A has shape \(4, 4\).*\(3, 3\)"):
            sl.Krylov(g, g, torch.eye(4), torch.eye(3))
        with pytest.raises(ValueError, match=r"A has shape \(2, 2\)"):
            sl.krylov(torch.eye(2), g[0])


class TestCompress:
    def test_d13_true_rank(self, randn):
        """[D13] Five generators, three independent: QR, QR and a small SVD find three."""
        G, H = randn(5, 12), randn(5, 8)
        G[3:] = G[:2]
        g, h = sl.compress(G, H)
        assert g.shape == (3, 12)
        assert h.shape == (3, 8)
        close(g.mT @ h, G.mT @ H)
        close(g @ g.mT, (h @ h.mT))

    @pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
    def test_given_rank_is_the_closest(self, dtype, randn):
        G, H = randn(6, 5, dtype=dtype), randn(6, 9, dtype=dtype)  # more generators than rows
        whole = G.mT @ H
        g, h = sl.compress(G, H, rank=2)
        close((whole - g.mT @ h).norm(), torch.linalg.svdvals(whole)[2:].norm())
        assert sl.compress(G, H)[0].shape == (5, 5)

    def test_zero_keeps_one(self):
        G, _ = sl.compress(torch.zeros(3, 4), torch.zeros(3, 4))
        assert G.shape == (1, 4)
        assert not G.any()

    def test_bad_input(self, own_errors):
        with pytest.raises(ValueError, match=r"G is \(2, 3\) and H is \(3, 3\)"):
            sl.compress(torch.ones(2, 3), torch.ones(3, 3))
        with pytest.raises(ValueError, match=r"rank is 3; it must be in 1 .. 2"):
            sl.compress(torch.ones(2, 3), torch.ones(2, 3), rank=3)


def test_operators_that_are_no_shifts(own_errors):
    g = torch.ones(1, 3)
    with pytest.raises(TypeError, match="A is a Tensor"):
        sl.recover(g, g, torch.eye(3))
    with pytest.raises(sl.SingularPairError, match="must differ"):
        sl.LDR(g, g, e=2, f=2)
    assert issubclass(sl.SingularPairError, ValueError)
