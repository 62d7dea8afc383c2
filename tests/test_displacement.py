"""Displacement: the facts of the theory, by tag of ``displacement_facts``, as assertions on the library's own calls."""

import numpy as np
import pytest
import torch
from theory import J, N, Z, close

import surm_lite as sl
from surm_lite.checks import check_displacement_rank, check_generators


def rank(M, A=None, B=None, kind="sylvester"):
    return sl.displacement_rank(M, A, B, kind=kind)


class TestRanks:
    def test_b1_b3_shifts_and_identity(self):
        """[B1, B3] Z_1 - Z_-1 = 2 e_1 e_n^T, so the identity has displacement rank 1."""
        corner = torch.zeros(N, N)
        corner[0, -1] = 2
        close(Z(1) - Z(-1), corner)
        close(sl.sylvester(torch.eye(N, dtype=torch.float64)), corner)
        assert rank(torch.eye(N)) == 1

    def test_b2_b4_b10_ranks_of_the_families(self, draw, randn):
        """[B2, B4, B10] Circulant and skew 1, Toeplitz and its inverse 2, a dense matrix n."""
        T = draw("toeplitz")
        assert [rank(draw("circulant")), rank(draw("skew_circulant"))] == [1, 1]
        assert [rank(T), rank(torch.linalg.inv(T.to_dense())), rank(randn(N, N))] == [2, 2, N]

    def test_b5_kernel(self, draw):
        """[B5] Under (Z_1, Z_1) a circulant leaves nothing but rounding noise, and noise counts as rank 0."""
        C = draw("circulant").to_dense() @ draw("circulant").to_dense()  # a circulant up to rounding
        noise = sl.sylvester(C, Z(1), Z(1))
        assert 0 < noise.abs().max() < 1e-13
        assert rank(C, Z(1), Z(1)) == 0
        assert torch.linalg.matrix_rank(noise) > 4  # judged by its own size, noise has a rank

    def test_b6_the_operator_is_normal(self):
        """[B6] Singular values of the Toeplitz pair: from 2 sin(pi / 2n) to 2 cos(pi / 2n)."""
        eye = torch.eye(N, dtype=torch.float64)
        operator = torch.kron(Z(1), eye) - torch.kron(eye, Z(-1).mT.contiguous())
        values = torch.linalg.svdvals(operator)
        close(values[-1], 2 * np.sin(np.pi / (2 * N)))
        close(values[0], 2 * np.cos(np.pi / (2 * N)))

    @pytest.mark.parametrize("t", [1, 2, 3, 4])
    def test_b7_products_of_toeplitz(self, t, draw):
        """[B7] A product of t Toeplitz matrices has displacement rank 2 t."""
        P = torch.eye(N, dtype=torch.float64)
        for _ in range(t):
            P = P @ draw("toeplitz").to_dense()
        assert rank(P) == 2 * t

    @pytest.mark.parametrize("k", [1, 2, 3, 5])
    def test_b8_low_rank_costs_twice(self, k, draw):
        """[B8] A matrix of rank k has displacement rank 2 k."""
        assert rank(draw("low_rank", rank=k)) == 2 * k

    def test_b9_exception(self, randn):
        """[B9] u v^T has displacement rank 1 where u is an eigenvector of Z_1."""
        u = torch.exp(2j * torch.pi / N * torch.arange(N, dtype=torch.float64))
        assert rank(torch.outer(u, randn(N) + 0j)) == 1

    def test_b11_kronecker_is_not_low(self, draw):
        """[B11] A Kronecker product is not of low displacement rank for shifts."""
        assert rank(draw("kronecker", a_shape=(3, 4))) > 4

    def test_b12_b13_nilpotent_pair(self, draw):
        """[B12, B13] Kailath, Kung and Morf: T - Z_0 T Z_0^T and T^-1 - Z_0^T T^-1 Z_0 have rank 2."""
        T = draw("toeplitz").to_dense()
        assert rank(T, Z(0), Z(0).T, "stein") == 2
        assert rank(torch.linalg.inv(T), Z(0).T, Z(0), "stein") == 2

    def test_b14_stein_rank_of_the_inverse(self, randn):
        """[B14] rank(M - A M B) = rank(M^-1 - B M^-1 A)."""
        A, B = (X / (1.3 * torch.linalg.matrix_norm(X, 2)) for X in (randn(N, N), randn(N, N)))
        system = torch.eye(N * N, dtype=torch.float64) - torch.kron(A, B.T.contiguous())
        M = torch.linalg.solve(system, (randn(N, 3) @ randn(3, N)).flatten()).reshape(N, N)
        inverse = torch.linalg.inv(M)
        assert sl.displacement_rank(M, A, B, kind="stein") == 3
        assert sl.displacement_rank(inverse, B, A, kind="stein", tol=1e-8 * float(inverse.norm())) == 3

    def test_b15_b16_sylvester_and_stein(self, randn):
        """[B15, B16] One from the other; the shifts are orthogonal, so both Toeplitz pairs give the same rank."""
        A, B, M = randn(N, N), randn(N, N), randn(N, N)
        close(sl.sylvester(M, A, B), A @ sl.stein(M, torch.linalg.inv(A), B))
        close(sl.stein(M), -sl.sylvester(M) @ Z(-1).T)

    def test_b17_scalar_operators(self, draw):
        """[B17] With (x I, y I) displacement rank is ordinary rank: low rank is the degenerate case."""
        eye = torch.eye(N, dtype=torch.float64)
        assert rank(draw("low_rank", rank=3), 2 * eye, 5 * eye) == 3

    def test_b18_b19_rectangular(self, draw, randn):
        """[B18, B19] A 7 x 5 Toeplitz matrix has rank 2, a dense 8 x 5 one rank 5."""
        assert rank(draw("toeplitz", 7, 5)) == 2
        assert rank(randn(8, 5)) == 5

    def test_c8b_e2_hankel_pairs(self, draw):
        """[C8b, E2] (Z_1, Z_-1^T) is the Toeplitz pair in Stein form and the Hankel pair in Sylvester form."""
        T, H = draw("toeplitz"), draw("hankel")
        assert rank(T, kind="stein") == 2
        assert rank(H, Z(1), Z(-1), "stein") == 2
        assert rank(H, Z(1), Z(-1).T) == 2
        assert rank(T, Z(1), Z(-1), "stein") > 4

    @pytest.mark.parametrize(("e", "f"), [(1, -1), (-1, -1), (1, 1), (0, 0.3), (2, -0.7)])
    def test_e1_d6_any_corners(self, e, f, draw):
        """[E1, D6] A Toeplitz matrix has rank at most 2 for every pair of shifts."""
        assert rank(draw("toeplitz"), Z(e), Z(f)) <= 2

    def test_tolerance_is_that_of_the_matrix(self, rng):
        """An inverse held in float32 and judged with operators in float64: still 2, not 64."""
        T = sl.Toeplitz.random(64, generator=rng).to_dense() + 8 * torch.eye(64)
        M = torch.linalg.inv(T)
        double = sl.shift(64, dtype=torch.float64), sl.shift(64, -1, dtype=torch.float64)
        assert rank(M) == rank(M, *double) == 2
        assert rank(M.double(), *double) > 2

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
    def test_half_precision(self, dtype, rng):
        """Judged in float32, with the roundings that the matrix has."""
        T = sl.Toeplitz.random(6, dtype=dtype, generator=rng)
        assert rank(T) == 2
        G, H = sl.generators(T)
        close(sl.recover(G, H).to_dense(), T.to_dense().float(), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("scale", [1e-12, 1e12])
    def test_scale_plays_no_part(self, scale, draw):
        assert rank(scale * draw("toeplitz").to_dense()) == 2

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_smallest_sizes(self, n, draw):
        assert rank(draw("circulant", n)) == 1
        assert rank(draw("toeplitz", n)) == min(2, n)
        assert rank(torch.zeros(n, n)) == 0


class TestRecovery:
    @pytest.mark.parametrize("kind", ["sylvester", "stein"])
    @pytest.mark.parametrize("what", ["toeplitz", "inverse", "dense", "product", "complex"])
    def test_c1_c8c_recover_inverts_generators(self, what, kind, draw, randn):
        """[C1, C8c] M = 1/2 sum Z_1(g) Z_-1(J h), and 1/2 sum Z_1(g) Z_-1(h)^T in the Stein form."""
        T = draw("toeplitz").to_dense()
        M, r = {
            "toeplitz": (T, 2),
            "inverse": (torch.linalg.inv(T), 2),
            "dense": (randn(N, N), N),
            "product": (T @ draw("toeplitz").to_dense(), 4),
            "complex": (torch.complex(T, draw("toeplitz").to_dense()), 2),
        }[what]
        G, H = sl.generators(M, kind=kind)
        assert G.shape == H.shape == (r, N)
        displacement = sl.sylvester(M) if kind == "sylvester" else sl.stein(M)
        close(G.mT @ H, displacement)
        close(sl.recover(G, H, kind=kind).to_dense(), M)

    def test_c3_c4_displacement_of_a_member(self, draw):
        """[C3, C4] The displacement of W(G, H) is 2 G^T (H J), of rank r: not G^T H, as the paper has it."""
        W = draw("ldr", rank=3)
        close(sl.sylvester(W), 2 * W.G.mT @ (W.H @ J))
        assert rank(W) == W.rank == 3

    def test_c11_c12_toeplitz_in_two_terms(self, draw):
        """[C11, C12] Every Toeplitz matrix is a circulant plus a skew-circulant, so an LDR member with r = 2."""
        T = draw("toeplitz")
        below, above = T.column, torch.cat([T.column[:1] * 0, T.row[1:].flip(0)])  # t_k and t_{k-n}
        u, v = (below + above) / 2, (below - above) / 2
        u[0] = v[0] = T.column[0] / 2
        close(sl.Circulant(u).to_dense() + sl.SkewCirculant(v).to_dense(), T.to_dense())
        e1 = torch.eye(N, dtype=torch.float64)[0]
        W = sl.LDR(torch.stack([u, e1]), torch.stack([e1, v]))
        close(W.to_dense(), T.to_dense())

    def test_c13_any_first_column(self, randn):
        """[C13] The first column of Z_1(g) Z_-1(e_1) is g."""
        g, e1 = randn(N), torch.eye(N, dtype=torch.float64)[0]
        close(sl.LDR(g[None], e1[None]).to_dense()[:, 0], g)

    @pytest.mark.parametrize("r", [1, 2, 3, 7, 9])
    def test_c14_degrees_of_freedom(self, r, draw):
        """[C14] 2 n r numbers, 2 n r - r^2 of them independent (all n^2 from r = n on)."""
        W = draw("ldr", 7, rank=r)
        jacobian = torch.autograd.functional.jacobian(
            lambda G, H: W.with_tensors(G, H).to_dense().flatten(), (W.G, W.H)
        )
        assert torch.linalg.matrix_rank(torch.cat([j.flatten(1) for j in jacobian], 1)) == W.dof
        assert W.dof == (14 * r - r * r if r <= 7 else 49)
        assert W.n_params == 14 * r

    def test_c15_gauge(self, draw, randn):
        """[C15] (Q G, Q^-T H) is the same matrix."""
        W, Q = draw("ldr", rank=3), randn(3, 3)
        close(sl.LDR(Q.mT @ W.G, torch.linalg.inv(Q) @ W.H).to_dense(), W.to_dense())

    def test_generators_of_a_given_rank_are_the_best(self, randn):
        """Fewer terms give the closest displacement of that rank."""
        M = randn(8, 6)
        G, H = sl.generators(M, rank=2)
        displacement = sl.sylvester(M)
        close((displacement - G.mT @ H).norm(), torch.linalg.svdvals(displacement)[2:].norm())

    def test_generators_are_balanced(self, draw):
        G, H = sl.generators(draw("toeplitz", 9, 5))
        close(G @ G.mT, H @ H.mT)


def test_the_librarys_own_functions_pass_the_exercise_checkers(capsys):
    check_displacement_rank(sl.displacement_rank)
    check_generators(sl.generators)
    assert capsys.readouterr().out.count("\n") == 2


def test_gradients_flow_through_displacement(randn):
    M = randn(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(sl.sylvester, M)
    assert torch.autograd.gradcheck(sl.stein, M)
    assert sl.displacement_rank(M) == 3


M44 = torch.eye(4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sl.shift(0), ValueError, ["n is 0", "at least 1"]),
        (lambda: sl.shift(2.0), ValueError, ["n is 2.0", "integer"]),
        (lambda: sl.shift(3, "1"), TypeError, ["f is a str", "number"]),
        (lambda: sl.shift(3, 1j, dtype=torch.float32), ValueError, ["f is 1j", "torch.float32"]),
        (lambda: sl.sylvester([[1.0]]), TypeError, ["M", "list", "torch.Tensor"]),
        (lambda: sl.sylvester(torch.ones(3)), ValueError, ["M", "(3,)"]),
        (lambda: sl.sylvester(torch.ones(2, 3, 3)), ValueError, ["M", "(2, 3, 3)", "(m, n)"]),
        (lambda: sl.sylvester(sl.Circulant(torch.ones(2, 3))), ValueError, ["M", "(2, 3, 3)", "(m, n)"]),
        (lambda: sl.sylvester(torch.ones(0, 3)), ValueError, ["M", "(0, 3)", "not empty"]),
        (lambda: sl.sylvester(torch.ones(4, 4, dtype=torch.int32)), TypeError, ["M", "torch.int32"]),
        (lambda: sl.sylvester(M44, A=torch.eye(3)), ValueError, ["A", "(3, 3)", "(4, 4)"]),
        (lambda: sl.stein(M44, B=torch.ones(4)), ValueError, ["B", "(4,)"]),
        (lambda: sl.stein(M44, B=torch.ones(4, 3)), ValueError, ["B", "(4, 3)", "(4, 4)"]),
        (lambda: sl.stein(M44, A=sl.Circulant(torch.ones(4))), TypeError, ["A", "Circulant", "torch.Tensor"]),
        (lambda: sl.sylvester(M44.to("meta"), A=torch.eye(4)), ValueError, ["A is on cpu", "meta"]),
        (lambda: sl.displacement_rank(M44, kind="sylvestre"), ValueError, ["kind", "'sylvestre'", "'stein'"]),
        (lambda: sl.displacement_rank(M44 * float("inf")), ValueError, ["M", "NaN or infinite"]),
        (lambda: sl.generators(M44 * float("nan"), rank=1), ValueError, ["M", "NaN or infinite"]),
        (lambda: sl.generators(M44, rank=0), ValueError, ["rank is 0", "1 .. 4"]),
        (lambda: sl.generators(M44, rank=1.5), ValueError, ["rank is 1.5", "1 .. 4"]),
        (lambda: sl.recover(torch.ones(2, 4), torch.ones(3, 4)), ValueError, ["G", "(2, 4)", "H", "(3, 4)"]),
        (lambda: sl.recover(torch.ones(4), torch.ones(4)), ValueError, ["G", "(4,)"]),
        (lambda: sl.recover([1.0], torch.ones(1, 1)), TypeError, ["G", "list"]),
        (lambda: sl.recover(torch.ones(1, 2), torch.ones(1, 2), kind="both"), ValueError, ["kind", "'both'"]),
    ],
)
def test_bad_input(call, error, words, own_errors):
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
