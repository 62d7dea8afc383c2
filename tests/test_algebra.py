"""The algebra of shifts, circulants and Kronecker products, by tag of ``displacement_facts``."""

import pytest
import torch
from theory import J, N, Z, close

import surm_lite as sl
from surm_lite.matrices import factor_shapes


class TestShiftAndCirculantAlgebra:
    @pytest.mark.parametrize("f", [1, -1, 0.37, -2.2, 0, 0.5 - 1j])
    def test_a1_polynomial_in_the_shift(self, f, randn):
        """[A1] Z_f(v) = sum_k v_k Z_f^k."""
        v = randn(N)
        powers = sum(c * torch.linalg.matrix_power(Z(f), k) for k, c in enumerate(v))
        close(sl.FCirculant(v, f).to_dense(), powers)

    @pytest.mark.parametrize("f", [1, -1, 0.37, 0, 1j])
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_a2_nth_power(self, f, n):
        """[A2] Z_f^n = f I, for n = 1 too."""
        close(torch.linalg.matrix_power(Z(f, n), n), f * torch.eye(n, dtype=torch.float64))

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a4_either_root_of_minus_one(self, sign, randn):
        """[A4] The skew product by a twist with exp(i pi / n) or its conjugate."""
        v, x = randn(N), randn(N)
        eta = torch.exp(sign * 1j * torch.pi / N * torch.arange(N, dtype=torch.float64))
        y = eta.conj() * torch.fft.ifft(torch.fft.fft(eta * v) * torch.fft.fft(eta * x))
        close(sl.SkewCirculant(v).apply(x), y.real)

    def test_a5_twist_by_any_root_of_f(self, randn):
        """[A3, A5] Z_f(v) = D^-1 Z_1(D v) D with D = diag(f^(k/n)), for any n-th root of f."""
        v, x, f = randn(N), randn(N), -3.7
        d = (complex(f) ** (1 / N)) ** torch.arange(N, dtype=torch.float64)
        close(sl.FCirculant(v, f).apply(x) + 0j, sl.Circulant(d * v).apply(d * x) / d)

    def test_a6_a7_a8_spectrum(self, randn):
        """[A6, A7, A8] Eigenvalues fft(c), singular values |fft(c)|, rank the number of non-zero ones."""
        c = randn(N)
        spectrum, dense = torch.fft.fft(c), sl.Circulant(c).to_dense()
        close(torch.linalg.det(dense), spectrum.prod().real)
        close(torch.linalg.svdvals(dense), spectrum.abs().sort(descending=True).values)
        kept = [0, 1, 2, 3, N - 1, N - 2, N - 3]
        few = torch.zeros_like(spectrum).index_copy(0, torch.tensor(kept), spectrum[kept])
        assert torch.linalg.matrix_rank(sl.Circulant(torch.fft.ifft(few).real).to_dense()) == len(kept)

    def test_a9_a10_closed_and_commuting(self, randn):
        """[A9, A10] Circulants commute, and are closed under the matrix and the entrywise product."""
        a, b = randn(N), randn(N)
        A, B = sl.Circulant(a).to_dense(), sl.Circulant(b).to_dense()
        close(A @ B, B @ A)
        close(A @ B, sl.Circulant(sl.Circulant(a).apply(b)).to_dense())
        close(A * B, sl.Circulant(a * b).to_dense())

    def test_a11_c8d_transposes(self, randn):
        """[A11, C8d] First columns of the transposes: c_0, f c_{n-1}, ..., f c_1."""
        c = randn(N)
        assert sl.Circulant(c).T.column.tolist() == [c[0], *c[1:].flip(0)]
        assert sl.SkewCirculant(c).T.column.tolist() == [c[0], *(-c[1:].flip(0))]

    def test_a12_gradients_are_correlations(self, randn):
        """[A12] grad_c = corr(x, g) and grad_x = corr(c, g)."""
        c, x, g = randn(N).requires_grad_(), randn(N).requires_grad_(), randn(N)
        sl.Circulant(c).apply(x).backward(g)
        with torch.no_grad():
            close(c.grad, sl.Circulant(x).T.apply(g))
            close(x.grad, sl.Circulant(c).T.apply(g))

    @pytest.mark.parametrize(("m", "n"), [(7, 5), (5, 7), (1, 6), (6, 1)])
    def test_a14_a15_rectangular_toeplitz(self, m, n, randn):
        """[A14, A15] The embedding is exact for a rectangle and for its transpose."""
        T = sl.Toeplitz(randn(m), randn(n))
        x, y = randn(n), randn(m)
        close(T.apply(x), T.to_dense() @ x)
        close(T.T.apply(y), T.to_dense().T @ y)


class TestRandom:
    @pytest.mark.parametrize("k", [1, 3])
    def test_o3_norms_of_random_members(self, k, rng):
        """[O5, O6, O7] random() keeps the norm of a vector on average."""
        x = torch.randn(64, generator=rng)
        draws = [sl.LDR.random(64, rank=k, generator=rng).apply(x).square().sum() for _ in range(200)]
        assert float(torch.stack(draws).mean() / x.square().sum()) == pytest.approx(1, abs=0.15)

    def test_o4_products_of_symmetric_toeplitz(self, draw):
        """[O4] Centrosymmetric, of displacement rank at most 4, neither symmetric nor Toeplitz."""
        W = draw("symmetric_toeplitz").to_dense() @ draw("symmetric_toeplitz").to_dense()
        close(J @ W @ J, W)
        assert sl.displacement_rank(W) <= 4
        assert not torch.allclose(W, W.T)


class TestKronecker:
    def test_k1_k2_product(self, randn):
        """[K1, K2] (A ⊗ B) v = rowvec(A V B^T) = colvec(B V^T A^T)."""
        A, B, v = randn(3, 4), randn(5, 2), randn(8)
        V = v.reshape(4, 2)
        close(sl.Kronecker(A, B).apply(v), (A @ V @ B.T).flatten())
        close(sl.Kronecker(A, B).apply(v), (B @ V.T @ A.T).T.flatten())
        close(sl.Kronecker(A, B).to_dense(), torch.kron(A, B))

    def test_k3_rank(self, draw):
        """[K3] rank(A ⊗ B) = rank A rank B."""
        assert torch.linalg.matrix_rank(draw("kronecker", 24, a_shape=(6, 4)).to_dense()) == 16

    def test_k4_k5_best_factors_of_768(self):
        """[K4, K5] The fewest parameters for 768 x 768 are 1,536, and the largest rank with those is 576."""
        (m1, n1), (m2, n2) = factor_shapes(768, 768)
        assert m1 * n1 + m2 * n2 == 1536
        assert min(m1, n1) * min(m2, n2) == 576
        divisors = [d for d in range(1, 769) if 768 % d == 0]
        every = [
            (a * b + (768 // a) * (768 // b), -min(a, b) * min(768 // a, 768 // b)) for a in divisors for b in divisors
        ]
        assert min(every) == (1536, -576)
