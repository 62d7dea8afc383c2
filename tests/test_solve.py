"""Structured solvers against dense ones, against scipy's Levinson recursion, and where they must refuse or warn."""

import numpy as np
import pytest
import scipy.linalg
import torch

import surm_lite as sl
from surm_lite.matrices.algorithms.conjugate_gradients import chan, strang

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


@pytest.fixture
def randn(rng):
    return lambda *shape, dtype=torch.float64: torch.randn(*shape, dtype=dtype, generator=rng)


def residual(M, x, b):
    return float((M.to_dense() @ x - b).norm() / b.norm())


def unit_circle(n, rng):
    """Nodes near the n-th roots of one: the well-conditioned Vandermonde matrices."""
    k = torch.arange(n) + 0.3 * torch.rand(n, generator=rng, dtype=torch.float64)
    return torch.exp(2j * torch.pi * k / n)


def system(kind, n, rng):
    """A random n x n system of one kind, of whatever condition comes."""
    like = {"dtype": torch.float64, "generator": rng}
    decay = 0.9 ** torch.arange(n, dtype=torch.float64)
    match kind:
        case "toeplitz":
            return sl.Toeplitz.random(n, **like)
        case "decaying toeplitz":
            T = sl.Toeplitz.random(n, **like)
            return sl.Toeplitz(T.column * decay, T.row * decay)
        case "symmetric toeplitz":
            return sl.SymmetricToeplitz.random(n, **like)
        case "gaussian kernel":
            c = torch.exp(-(torch.arange(n, dtype=torch.float64) ** 2) / 8)
            c[0] += 1e-3
            return sl.SymmetricToeplitz(c)
        case "hankel":
            return sl.Hankel.random(n, **like)
        case "vandermonde":
            return sl.Vandermonde(unit_circle(n, rng))
        case "transposed vandermonde":
            return sl.Vandermonde(unit_circle(n, rng)).T
        case "chebyshev vandermonde":
            return sl.Vandermonde(torch.cos(torch.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n))
        case "cauchy":
            return sl.Cauchy.random(n, **like)
        case "cauchy-like":
            return sl.CauchyLike.random(n, rank=3, **like)
        case "ldr":
            return sl.LDR.random(n, rank=4, **like)
        case "complex toeplitz":
            return sl.Toeplitz.random(n, dtype=torch.complex128, generator=rng)
        case "complex ldr":
            return sl.LDR(*sl.LDR.random(n, dtype=torch.complex128, generator=rng).tensors, 0.5j, 2)


KINDS = [
    *("toeplitz", "decaying toeplitz", "symmetric toeplitz", "gaussian kernel", "hankel", "ldr", "complex toeplitz"),
    *("vandermonde", "transposed vandermonde", "chebyshev vandermonde", "cauchy", "cauchy-like", "complex ldr"),
]


def test_200_random_systems(own_errors):
    """[G1] Relative residual at most 1e-10 in float64 wherever cond <= 1e6, with one and with several right sides."""
    tried, skipped, worst = 0, [], 0.0
    for seed in range(400):
        rng = torch.Generator().manual_seed(seed)
        kind = KINDS[seed % len(KINDS)]
        n = int(torch.randint(1, 97, (), generator=rng))
        M = system(kind, n, rng)
        W = M.to_dense()
        condition = float(torch.linalg.cond(W))
        if condition > 1e6:
            skipped.append(kind)
            continue
        b = torch.randn(n, 1 + seed % 3, dtype=M.dtype, generator=rng)
        x = sl.solve(M, b)
        exact = torch.linalg.solve(W, b)
        assert (x - exact).norm() <= 1e-12 * condition * exact.norm(), (kind, n)
        worst = max(worst, residual(M, x, b))
        tried += 1
        if tried == 200:
            break
    assert tried == 200
    assert set(skipped) <= {"decaying toeplitz", "chebyshev vandermonde", "cauchy-like", "ldr", "toeplitz", "hankel"}
    assert worst <= 1e-10


class TestLevinsonBreaks:
    @pytest.fixture
    def T(self):
        random = np.random.default_rng(0)
        column, row = random.standard_normal(32), random.standard_normal(32)
        return column, row, random.standard_normal(32)

    def test_g2_zero_corner(self, T):
        """[G2] t_0 = 0: scipy and our Levinson stop, GKO solves."""
        column, row, b = T
        column[0] = row[0] = 0
        with pytest.raises(np.linalg.LinAlgError):
            scipy.linalg.solve_toeplitz((column, row), b)
        M, b = sl.Toeplitz(torch.from_numpy(column), torch.from_numpy(row)), torch.from_numpy(b)
        with pytest.raises(sl.SingularMatrixError, match="leading 1 x 1 block"):
            sl.levinson(M, b)
        assert residual(M, sl.solve(M, b), b) < 1e-12

    def test_g3_tiny_corner(self, T):
        """[G3] t_0 = 1e-12, condition about 30: Levinson loses most digits, scipy's and ours; GKO none."""
        column, row, b = T
        column[0] = row[0] = 1e-12
        M, y = sl.Toeplitz(torch.from_numpy(column), torch.from_numpy(row)), torch.from_numpy(b)
        assert torch.linalg.cond(M.to_dense()) < 1000
        for x in (torch.from_numpy(scipy.linalg.solve_toeplitz((column, row), b)), sl.levinson(M, y)):
            assert residual(M, x, y) > 1e-7
        assert residual(M, sl.solve(M, y), y) < 1e-12

    def test_later_block(self):
        """The leading 2 x 2 block of ones is singular, the matrix is not."""
        T = sl.SymmetricToeplitz(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
        with pytest.raises(sl.SingularMatrixError, match="leading 2 x 2 block"):
            sl.levinson(T, torch.ones(3, dtype=torch.float64))
        assert torch.allclose(T @ sl.solve(T, torch.ones(3, dtype=torch.float64)), torch.ones(3, dtype=torch.float64))

    @pytest.mark.parametrize("n", [1, 2, 33])
    def test_where_it_works_it_is_scipys(self, n, randn):
        T, b = sl.Toeplitz(randn(n) + 3 * torch.eye(n)[0], randn(n)), randn(n)
        want = scipy.linalg.solve_toeplitz((T.column.numpy(), T.row.numpy()), b.numpy())
        for x in (sl.levinson(T, b), sl.solve(T, b)):
            np.testing.assert_allclose(x.numpy(), want, rtol=1e-6, atol=1e-9)


class TestCauchyForm:
    """[E9, E10, E11] The Fourier transforms that turn a Toeplitz-like matrix into a Cauchy-like one."""

    N = 11

    def test_diagonalised_shifts(self):
        k = torch.arange(self.N, dtype=torch.float64)
        F = torch.fft.fft(torch.eye(self.N, dtype=torch.complex128), norm="ortho")
        D = torch.exp(1j * torch.pi * k / self.N).diag()
        d1 = torch.exp(-2j * torch.pi * k / self.N)
        dm = torch.exp(1j * torch.pi / torch.tensor(self.N)) * d1
        shift = [sl.shift(self.N, f, dtype=torch.complex128) for f in (1, -1)]
        torch.testing.assert_close(F.mH @ d1.diag() @ F, shift[0])
        torch.testing.assert_close(D.mH @ F.mH @ dm.diag() @ F @ D, shift[1])

    def test_e11_elimination_sees_the_right_matrix(self, rng, monkeypatch):
        from surm_lite.matrices.algorithms import solve as module

        seen = {}
        real = module.eliminate
        monkeypatch.setattr(module, "eliminate", lambda *args: seen.setdefault("args", args) and real(*args))
        T = sl.Toeplitz.random(self.N, dtype=torch.float64, generator=rng)
        sl.solve(T, torch.ones(self.N, dtype=torch.float64))
        C = sl.CauchyLike(*seen["args"][:4]).to_dense()
        F = torch.fft.fft(torch.eye(self.N, dtype=torch.complex128), dim=0)
        D = torch.exp(1j * torch.pi * torch.arange(self.N) / self.N).to(C.dtype).diag()
        torch.testing.assert_close(C, F @ T.to_dense().to(C.dtype) @ torch.linalg.inv(F @ D))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 9, 10])
@pytest.mark.parametrize(
    "family",
    ["Circulant", "SkewCirculant", "FCirculant", "Toeplitz", "Hankel", "Cauchy", "CauchyLike", "LDR", "Kronecker"],
)
def test_shapes_and_dtypes(family, n, dtype, rng, randn):
    M = getattr(sl, family).random(
        n, n, dtype=dtype, generator=rng, **({"a_shape": (1, 1)} if family == "Kronecker" else {})
    )
    tol = 1e3 * torch.finfo(dtype).eps * float(torch.linalg.cond(M.to_dense()))
    for shape in ((n,), (n, 1), (n, 3), (n, 0)):
        b = randn(*shape, dtype=dtype)
        x = sl.solve(M, b)
        assert (x.shape, x.dtype) == (b.shape, dtype)
        torch.testing.assert_close(M.to_dense() @ x, b, atol=tol, rtol=tol)
    wide = sl.solve(M, randn(n, dtype=torch.complex128))
    assert wide.dtype == torch.complex128


def test_half_precision_and_zero(rng):
    T = sl.SymmetricToeplitz(torch.tensor([4.0, 1.0, 0.5, 0.25])).to(torch.bfloat16)
    x = sl.solve(T, torch.ones(4, dtype=torch.bfloat16))
    assert x.dtype == torch.bfloat16
    assert torch.allclose(T.to_dense().float() @ x.float(), torch.ones(4), atol=0.05)
    assert not sl.solve(T, torch.zeros(4, 2, dtype=torch.bfloat16)).any()


def test_vandermonde_meets_no_fixed_shift():
    """Nodes at the 4n-th roots of one: for f = 1, -1 or i, some node is an n-th root of f, and another f is needed."""
    n = 16
    k = torch.arange(n) * 4 + torch.arange(n) % 4
    V = sl.Vandermonde(torch.exp(2j * torch.pi * k.double() / (4 * n)))
    b = torch.ones(n, dtype=torch.complex128)
    assert residual(V, sl.solve(V, b), b) < 1e-12
    assert residual(V.T, sl.solve(V.T, b), b) < 1e-12


@pytest.mark.parametrize("free", [0, 17, 31])
def test_vandermonde_takes_the_shift_that_no_node_meets(free):
    """31 nodes, each an n-th root of one of the 32 shifts that are tried: with any but the free one it divides by 0."""
    n = 31
    k = torch.arange(n, dtype=torch.float64)
    taken = (free + 31 - k) % 32 + 0.5  # of 32 parts of the circle; falling, so that the nodes keep their distance
    V = sl.Vandermonde(torch.exp(2j * torch.pi * (k + taken / 32) / n))
    b = torch.ones(n, dtype=torch.complex128)
    assert residual(V, sl.solve(V, b), b) < 1e-12
    assert residual(V.T, sl.solve(V.T, b), b) < 1e-12


def test_memory_is_linear(rng):
    n = 64
    b = torch.randn(n, 2, dtype=torch.float64, generator=rng)
    M = [sl.Toeplitz.random(n, dtype=torch.float64, generator=rng), sl.Vandermonde(unit_circle(n, rng))]
    with sl.no_dense(n):
        sl.solve(M[0], b)
        sl.toeplitz_inverse(M[0])
        sl.levinson(M[0], b[:, 0])
    with sl.no_dense(n):
        sl.solve(M[1], b + 0j)


class TestGohbergSemencul:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
    @pytest.mark.parametrize("n", [1, 2, 9, 64])
    def test_f1_f2_f3_f5(self, n, dtype, rng):
        """[F1, F2, F3, F5] The inverse in both forms, x_1 = y_n, and persymmetry."""
        T = sl.Toeplitz.random(n, dtype=dtype, generator=rng)
        inverse = torch.linalg.inv(T.to_dense())
        R = sl.toeplitz_inverse(T)
        assert R.rank == 2
        tol = 1e-12 * float(inverse.abs().max()) * float(torch.linalg.cond(T.to_dense()))
        torch.testing.assert_close(R.to_dense(), inverse, atol=tol, rtol=0)
        x, y = inverse[:, 0], inverse[:, -1]
        torch.testing.assert_close(x[0], y[-1], atol=tol, rtol=0)

        def L(v):
            return sl.FCirculant(v, 0).to_dense()

        def down(v):
            return torch.cat([v[:1] * 0, v[:-1]])

        triangular = (L(x) @ L(y.flip(0)).mT - L(down(y)) @ L(down(x.flip(0))).mT) / x[0]
        torch.testing.assert_close(triangular, inverse, atol=100 * tol, rtol=0)
        torch.testing.assert_close(R.to_dense().flip(0, 1), R.to_dense().mT, atol=100 * tol, rtol=0)

    def test_f4_symmetric_needs_one_solve(self, rng, monkeypatch):
        """[F4] y = J x."""
        from surm_lite.matrices.algorithms import toeplitz_inverse as module

        columns = []
        real = module.solve
        monkeypatch.setattr(module, "solve", lambda T, b: columns.append(b.ndim) or real(T, b))
        T = sl.SymmetricToeplitz.random(13, dtype=torch.float64, generator=rng)
        torch.testing.assert_close(sl.toeplitz_inverse(T).to_dense(), torch.linalg.inv(T.to_dense()))
        assert columns == [1]

    def test_zero_first_entry(self):
        """x_1 = 0: the formula fails, the inverse exists, and the message says how to get it."""
        T = sl.Toeplitz(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
        with pytest.raises(sl.SingularMatrixError, match=r"x_1 is .* inverse\(as_ldr\(T\)\)"):
            sl.toeplitz_inverse(T)
        assert torch.allclose(sl.inverse(sl.as_ldr(T)).to_dense(), T.to_dense(), atol=1e-6)

    def test_first_entry_near_zero(self):
        """T is well conditioned, its leading block is not: the formula loses all digits, and says so."""
        T = sl.SymmetricToeplitz(torch.tensor([1e-12, 1.0], dtype=torch.float64))
        assert torch.linalg.cond(T.to_dense()) < 2
        with pytest.warns(sl.ResidualWarning, match=r"\|M R b - b\| .* x_1 is .* inverse\(as_ldr\(T\)\)"):
            sl.toeplitz_inverse(T)
        torch.testing.assert_close(sl.inverse(sl.as_ldr(T)).to_dense(), torch.linalg.inv(T.to_dense()))

    def test_other_families(self, rng, own_errors):
        with pytest.raises(TypeError, match="T is a Hankel"):
            sl.toeplitz_inverse(sl.Hankel.random(4, generator=rng))
        with pytest.raises(ValueError, match="3 x 4"):
            sl.toeplitz_inverse(sl.Toeplitz.random(3, 4, generator=rng))


class TestRefusals:
    ONES = torch.ones(6, dtype=torch.float64)

    @pytest.mark.parametrize(
        "M",
        [
            sl.Toeplitz(ONES, ONES),
            sl.Toeplitz(0 * ONES, 0 * ONES),
            sl.Hankel(ONES, ONES),
            sl.Circulant(ONES),
            sl.Vandermonde(ONES),
            sl.as_ldr(sl.LowRank(ONES[:, None], ONES[None])),
            sl.Kronecker(torch.ones(2, 2).double(), torch.eye(3).double()),
            sl.Kronecker(torch.ones(2, 3).double(), torch.ones(3, 2).double()),
        ],
        ids=lambda M: f"{type(M).__name__}",
    )
    def test_singular(self, M):
        with pytest.raises(sl.SingularMatrixError, match="singular"):
            sl.solve(M, self.ONES)

    @pytest.mark.parametrize(
        "family",
        [
            "circulant",
            "skew_circulant",
            "f_circulant",
            "symmetric_toeplitz",
            "hankel",
            "kronecker",
            "cauchy_like",
            "ldr",
        ],
    )
    def test_zero(self, family, draw):
        """Every guard that is relative to the largest pivot or eigenvalue meets a largest of zero."""
        A = draw(family, 6)
        zero = A.with_tensors(*(t if name in ("s", "t") else 0 * t for name, t in zip(A.fields, A.tensors)))
        with pytest.raises(sl.SingularMatrixError, match="singular"):
            sl.solve(zero, self.ONES)

    def test_nearly_singular_states_the_residual(self):
        M = sl.Vandermonde(torch.cos(torch.pi * (torch.arange(40, dtype=torch.float64) + 0.5) / 40))
        with pytest.warns(
            sl.ResidualWarning, match=r"\|Mx - b\| / \|b\| is \d\.\de-\d\d: the matrix is close to singular"
        ):
            sl.solve(M, torch.arange(40, dtype=torch.float64) % 3)

    @pytest.mark.parametrize(
        ("M", "b", "error", "words"),
        [
            (sl.Toeplitz(ONES[:3], ONES), ONES, ValueError, "operator is 3 x 6"),
            (sl.Circulant(torch.ones(2, 6)), ONES, ValueError, r"batch \(2,\)"),
            (sl.Circulant(ONES), ONES[:5], ValueError, r"b has shape \(5,\); for a 6 x 6 system"),
            (sl.Circulant(ONES), torch.ones(2, 6, 1), ValueError, r"b has shape \(2, 6, 1\)"),
            (sl.Circulant(ONES), torch.ones(6, dtype=torch.int64), TypeError, "torch.int64"),
            (sl.Circulant(ONES * float("nan")), ONES, ValueError, "NaN or infinite"),
            (sl.LowRank(torch.ones(6, 1), torch.ones(1, 6)), torch.ones(6), TypeError, "LowRank.*torch.linalg.solve"),
        ],
    )
    def test_bad_input(self, M, b, error, words, own_errors):
        with pytest.raises(error, match=words):
            sl.solve(M, b)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [(f, torch.float64) for f in ("Hankel", "LDR", "CauchyLike", "Circulant")] + [("Toeplitz", torch.complex128)],
    ids=str,
)
def test_gradients(family, dtype, rng, randn):
    M = getattr(sl, family).random(3, 3, dtype=dtype, generator=rng)
    inputs = [t.clone().requires_grad_() for t in (randn(3, dtype=dtype), *M.tensors)]
    assert torch.autograd.gradcheck(lambda b, *t: sl.solve(M.with_tensors(*t), b), inputs)


class TestConjugateGradients:
    @pytest.fixture
    def T(self):
        return sl.SymmetricToeplitz((1 + torch.arange(2000, dtype=torch.float64)) ** -1.1)

    @pytest.mark.parametrize("preconditioner", ["strang", "chan", None])
    def test_solution(self, preconditioner, T, randn):
        b = randn(2000)
        x, iterations, error = sl.conjugate_gradients(T, b, preconditioner=preconditioner, tol=1e-10)
        assert residual(T, x, b) == pytest.approx(error, rel=1e-3)
        assert error < 2e-10
        assert iterations < (80 if preconditioner is None else 15)
        torch.testing.assert_close(x, sl.solve(T, b), atol=1e-7, rtol=1e-7)

    def test_a_circulant_helps(self, T, randn):
        b = randn(2000)
        counts = {
            p: sl.conjugate_gradients(T, b, preconditioner=p, tol=1e-8).iterations for p in ("strang", "chan", None)
        }
        assert counts[None] > 2 * max(counts["strang"], counts["chan"])

    def test_hermitian(self, randn):
        c = randn(64, dtype=torch.complex128) * 0.5 ** torch.arange(64)
        c[0] = 4
        T = sl.Toeplitz(c)  # the row is the conjugate of the column
        b = randn(64, dtype=torch.complex128)
        x, _, _ = sl.conjugate_gradients(T, b, tol=1e-12)
        assert residual(T, x, b) < 1e-11

    def test_preconditioners(self, rng):
        T = sl.Toeplitz.random(7, dtype=torch.float64, generator=rng)
        torch.testing.assert_close(chan(T).column, sl.nearest(T.to_dense(), "circulant")[0].column)
        t = T.diagonals()  # t[k] at k + 6
        torch.testing.assert_close(strang(T).column, t[[6, 7, 8, 9, 3, 4, 5]])

    def test_refusals(self, own_errors):
        swap = sl.SymmetricToeplitz(torch.tensor([0.0, 1.0]))
        with pytest.raises(ValueError, match="operator is not positive definite"):
            sl.conjugate_gradients(swap, torch.tensor([1.0, -2.0]), preconditioner=None)
        with pytest.raises(ValueError, match="the preconditioner is not positive definite"):
            sl.conjugate_gradients(swap, torch.tensor([1.0, -2.0]))
        with pytest.raises(TypeError, match="operator is a Kronecker"):
            sl.conjugate_gradients(sl.Kronecker(torch.eye(2), torch.eye(2)), torch.ones(4))
        with pytest.raises(ValueError, match="preconditioner is 'stang'"):
            sl.conjugate_gradients(swap, torch.ones(2), preconditioner="stang")
        with pytest.raises(ValueError, match=r"b has shape \(3,\)"):
            sl.conjugate_gradients(swap, torch.ones(3))

    def test_too_few_iterations_warn(self, T):
        with pytest.warns(sl.ResidualWarning, match="after 2 iterations"):
            sl.conjugate_gradients(T, torch.ones(2000, dtype=torch.float64), max_iterations=2, preconditioner=None)

    def test_zero_right_side(self, T):
        assert sl.conjugate_gradients(T, torch.zeros(2000, dtype=torch.float64))[1:] == (0, 0.0)
