"""Answers scale with their inputs: from 1e-30 to 1e30 in float32, from 1e-150 to 1e150 in float64, or a refusal."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import surm_lite as sl
from surm_lite.matrices.algorithms.nearest import PROJECTIONS
from surm_lite.matrices.algorithms.normalise import magnified, normalised
from surm_lite.matrices.scale import exponent, exponents, rescaled, shifted

RANGE = {torch.float32: 30, torch.complex64: 30, torch.float64: 150, torch.complex128: 150}


@st.composite
def scales(draw, count=1):
    """A dtype and as many factors as asked for, somewhere in its range."""
    dtype = draw(st.sampled_from(list(RANGE)))
    power = st.floats(-RANGE[dtype], RANGE[dtype])
    return dtype, *(10.0 ** draw(power) for _ in range(count))


seeds = st.integers(0, 2**31)
few = settings(max_examples=25, deadline=None, derandomize=True)


def randn(seed, *shape, dtype):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def toeplitz(seed, n, dtype):
    """A well-conditioned one, its leading blocks too."""
    t = randn(seed, 2 * n - 1, dtype=dtype) / (2 * n)
    t[0] = 2
    return t[:n], torch.cat([t[:1], t[n:]])


def positive(seed, n, dtype):
    c = randn(seed, n, dtype=dtype) / (4 * n)
    c[0] = 1
    return c


def same(got, want, dtype):
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got, want, rtol=1e4 * eps, atol=1e3 * eps * float(want.abs().max()))


class TestProperties:
    @few
    @given(scales(), seeds, st.sampled_from(list(PROJECTIONS)))
    def test_nearest(self, scale, seed, family):
        dtype, c = scale
        W = randn(seed, 6, 6, dtype=dtype)
        (S, error), (scaled, again) = sl.nearest(W, family), sl.nearest(c * W, family)
        assert again == pytest.approx(error, rel=0.05 if family is sl.LDR else 1e-3)
        assert 0 < error < 1
        if family is not sl.LDR:  # whose fit is a local optimum: rounding may lead to another one
            same(scaled.to_dense() / c, S.to_dense(), dtype)

    @settings(max_examples=10, deadline=None, derandomize=True)
    @given(scales(), seeds)
    def test_which_structure(self, scale, seed):
        dtype, c = scale
        W = randn(seed, 4, 4, dtype=dtype)
        one, other = sl.which_structure(W), sl.which_structure(c * W)
        assert other.norm == pytest.approx(c * one.norm, rel=1e-5)
        for fit in one:
            rel = 0.05 if fit.family == "ldr" else 1e-3  # a local optimum, which rounding may lead elsewhere
            assert other[fit.family].error == pytest.approx(fit.error, rel=rel)

    @few
    @given(scales(2), seeds, st.sampled_from(["Toeplitz", "Circulant", "Hankel", "Kronecker", "Cauchy", "CauchyLike"]))
    def test_solve(self, scale, seed, family):
        dtype, c, d = scale
        if d / c > 10 ** RANGE[dtype] or d / c < 10 ** -RANGE[dtype]:
            d = c  # else the solution leaves the dtype
        generator = torch.Generator().manual_seed(seed)
        options = {"a_shape": (2, 2)} if family == "Kronecker" else {}
        M = getattr(sl, family).random(6, dtype=dtype, generator=generator, **options)
        b = randn(seed, 6, 2, dtype=dtype)
        match family:  # c M
            case "Kronecker":
                large = M.with_tensors(c * M.A, M.B)
            case "Cauchy":
                large = M.with_tensors(M.s / c, M.t / c)
            case "CauchyLike":
                large = M.with_tensors(M.s, M.t, M.G, c * M.H)
            case _:
                large = M.with_tensors(*(c * t for t in M.tensors))
        x = sl.solve(M, b)
        condition = float(torch.linalg.cond(M.to_dense()))
        again = sl.solve(large, torch.stack([d * b[:, 0], b[:, 1] * c], 1))  # columns of two sizes
        atol = 1e3 * torch.finfo(dtype).eps * condition * float(x.abs().max())
        torch.testing.assert_close(again[:, 0] / (d / c), x[:, 0], rtol=0, atol=atol)
        torch.testing.assert_close(again[:, 1], x[:, 1], rtol=0, atol=atol)

    @few
    @given(scales(2), seeds, st.sampled_from(["strang", "chan", None]))
    def test_conjugate_gradients(self, scale, seed, preconditioner):
        dtype, c, d = scale
        if not 10 ** -RANGE[dtype] <= d / c <= 10 ** RANGE[dtype]:
            d = c
        column, b = positive(seed, 8, dtype), randn(seed, 8, dtype=dtype)
        options = {"preconditioner": preconditioner, "tol": 1e3 * torch.finfo(dtype).eps}
        one = sl.conjugate_gradients(sl.Toeplitz(column), b, **options)
        other = sl.conjugate_gradients(sl.Toeplitz(c * column), d * b, **options)
        assert one.residual <= 2 * options["tol"]
        assert other.residual <= 2 * options["tol"]
        same(other.x / (d / c), one.x, dtype)

    @few
    @given(scales(), seeds)
    def test_toeplitz_inverse(self, scale, seed):
        dtype, c = scale
        t = toeplitz(seed, 7, dtype)
        want = torch.linalg.inv(sl.Toeplitz(*t).to_dense())
        same(sl.toeplitz_inverse(sl.Toeplitz(*(c * v for v in t))).to_dense() * c, want, dtype)

    @few
    @given(scales(2), seeds)
    def test_levinson(self, scale, seed):
        dtype, c, d = scale
        if not 10 ** -RANGE[dtype] <= d / c <= 10 ** RANGE[dtype]:
            d = c
        t, b = toeplitz(seed, 7, dtype), randn(seed, 7, dtype=dtype)
        want = torch.linalg.solve(sl.Toeplitz(*t).to_dense(), b)
        same(sl.levinson(sl.Toeplitz(*(c * v for v in t)), d * b) / (d / c), want, dtype)

    @few
    @given(scales(2), seeds, st.sampled_from(["sylvester", "stein"]))
    def test_displacement(self, scale, seed, kind):
        dtype, c, d = scale
        T = sl.Toeplitz(*toeplitz(seed, 7, dtype)).to_dense()
        assert sl.displacement_rank(c * T, kind=kind) == sl.displacement_rank(T, kind=kind) == 2
        assert sl.displacement_rank(c * randn(seed, 7, 7, dtype=dtype)) == 7
        G, H = sl.generators(c * T, kind=kind)
        want = (sl.sylvester if kind == "sylvester" else sl.stein)(T)
        assert G.shape == (2, 7)
        same((G / c**0.5).mT @ (H / c**0.5), want, dtype)
        A, B = (sl.shift(7, f, dtype=dtype) for f in (1, -1))
        assert sl.displacement_rank(c * T, d * A, d * B) == 2
        assert sl.displacement_rank(c * T, d * A, B.mT / d, kind="stein") == 2

    @few
    @given(scales(2), seeds)
    def test_compress(self, scale, seed):
        dtype, c, d = scale
        G, H = randn(seed, 2, 5, dtype=dtype), randn(seed, 2, 6, dtype=dtype)
        g, h = sl.compress(c * torch.cat([G, G]), d * torch.cat([H, 2 * H]))
        assert g.shape == (2, 5)
        same((g / (c * d) ** 0.5).mT @ (h / (c * d) ** 0.5), 3 * G.mT @ H, dtype)

    @few
    @given(scales(), seeds)
    def test_parts_and_inverses_of_generators(self, scale, seed):
        dtype, c = scale
        M = sl.LDR(*sl.as_ldr(sl.Toeplitz(*toeplitz(seed, 7, dtype))).tensors)
        W, large = M.to_dense(), sl.LDR(c * M.G, M.H)
        S = W[3:, 3:] - W[3:, :3] @ torch.linalg.inv(W[:3, :3]) @ W[:3, 3:]
        same(sl.schur_complement(large, 3).to_dense() / c, S, dtype)


class TestRefused:
    """Where the answer itself leaves the dtype."""

    T = sl.Toeplitz(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 0.5, 3.0]))
    large = T.with_tensors(1e30 * T.column, 1e30 * T.row)
    small = T.with_tensors(1e-30 * T.column, 1e-30 * T.row)

    @pytest.mark.parametrize("solver", [sl.solve, sl.levinson])
    def test_solutions(self, solver):
        with pytest.raises(ValueError, match=r"the solution holds numbers near 1e\+60, which torch.float32 does not"):
            solver(self.small, torch.full((3,), 1e30))
        with pytest.raises(ValueError, match=r"the solution holds numbers near 1e-60"):
            solver(self.large, torch.full((3,), 1e-30))

    def test_half(self):
        T = sl.SymmetricToeplitz(torch.tensor([1e-3, 0.0])).to(torch.float16)
        with pytest.raises(ValueError, match=r"1e\+7, which torch.float16 does not"):
            sl.solve(T, torch.tensor([1e4, 1e4], dtype=torch.float16))

    def test_conjugate_gradients(self):
        with pytest.raises(ValueError, match=r"the solution holds numbers near 1e\+60"):
            sl.conjugate_gradients(sl.SymmetricToeplitz(torch.tensor([2e-30, 1e-30])), torch.full((2,), 1e30))

    def test_inverse(self):
        T = sl.SymmetricToeplitz(torch.tensor([1e-6, 0.0]).to(torch.float16))
        R = sl.toeplitz_inverse(T)  # 1e6 is too large for half precision, and its square root is not
        assert torch.isfinite(R.G).all()
        assert torch.isfinite(R.H).all()

    def test_nearest(self):
        W = torch.full((2, 2), 6e4, dtype=torch.float16) * torch.tensor([[1, -1], [-1, 1]])
        S, error = sl.nearest(W, "toeplitz")
        assert error == 0
        assert torch.equal(S.to_dense(), W)

    def test_zero_columns_are_no_underflow(self):
        b = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 1e-30]])
        assert not sl.solve(self.T, b)[:, 0].any()

    def test_gradients_are_scaled_too(self):
        c = torch.tensor([2.0, 1.0, 0.5]).requires_grad_()
        (want,) = torch.autograd.grad(sl.solve(sl.SymmetricToeplitz(c), torch.ones(3)).sum(), c)
        (got,) = torch.autograd.grad(sl.solve(sl.SymmetricToeplitz(1e-10 * c), 1e5 * torch.ones(3)).sum(), c)
        torch.testing.assert_close(got * 1e-15, want)


class TestPowersOfTwo:
    @pytest.mark.parametrize("k", [0, 3, -7, 200, -200])
    def test_exact(self, k, rng):
        t = torch.randn(5, generator=rng, dtype=torch.float64)
        assert torch.equal(shifted(t, k), t * 2.0**k)
        assert torch.equal(shifted(shifted(t, k), -k), t)

    def test_reach(self):
        """From the smallest float32 to one: 2^149 is no float32 itself."""
        smallest = torch.tensor([2.0**-149])
        assert exponent(smallest) == -148
        assert shifted(smallest, 148).item() == 0.5
        assert shifted(torch.tensor([2.0**-1074], dtype=torch.float64), 1074).item() == 1.0

    def test_exponents(self):
        assert exponent(torch.zeros(3)) == 0
        assert exponent(torch.tensor([1.0])) == 2
        assert exponent(torch.tensor([0.5]), torch.tensor([-5.0, 1.0])) == 4
        assert exponent(torch.tensor([3e38 + 3e38j])) == 128  # whose absolute value is too large
        assert exponents(torch.tensor([[0.0, 0.0], [1e-3, -5.0]])) == [0, 4]

    def test_rows(self):
        t = torch.ones(2, 3)
        assert shifted(t, [2, -1]).tolist() == [[4.0] * 3, [0.5] * 3]
        with pytest.raises(ValueError, match=r"y holds numbers near 1e\+60"):
            rescaled(t, [0, 200], "y")
        with pytest.raises(ValueError, match=r"y holds numbers near 1e-60"):
            rescaled(t, [0, -200], "y")

    def test_small_numbers_beside_large_ones_may_vanish(self):
        assert rescaled(torch.tensor([1.0, 1e-30]), -80, "y").tolist() == [2.0**-80, 0.0]
        assert rescaled(torch.tensor([1.0, 1e-30]), 0, "y", torch.float16).tolist() == [1.0, 0.0]

    @pytest.mark.parametrize("name", [name for name in sl.FAMILIES if name != "vandermonde"])
    def test_a_normalised_matrix_is_the_same_matrix(self, name, rng):
        A = sl.FAMILIES[name].random(6, generator=rng, dtype=torch.float64)
        A = A.with_tensors(*(1e-9 * t for t in A.tensors))
        B, k = normalised(A)
        assert all(0.2 < float(t.abs().max()) < 1 for t in B.tensors[-1:])
        torch.testing.assert_close(B.to_dense() * 2.0**k, A.to_dense(), rtol=1e-12, atol=0)

    def test_a_vandermonde_matrix_is_taken_as_it_is(self, rng):
        V = sl.Vandermonde.random(4, generator=rng)
        assert normalised(V)[1] == 0

    def test_factors_share(self):
        S = magnified(sl.LowRank(torch.ones(2, 1), torch.ones(1, 2)), 80, "S")
        assert float(S.B[0, 0]) == float(S.A[0, 0]) == 2.0**40
