"""Special numbers and special arguments of the algebra: the right value comes out, or a sentence that names them."""

import numpy as np
import pytest
import torch

import surm_lite as sl
from surm_lite.matrices.algorithms.conjugate_gradients import strang

nan, inf = float("nan"), float("inf")
e3, one3 = torch.eye(3), torch.ones(3)
L = sl.LDR(torch.tensor([[2.0, 1.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.3]]))
T3 = sl.SymmetricToeplitz(torch.tensor([2.0, 1.0, 0.5]))

REFUSED = {
    # name: (call, error, what its message says)
    "f is nan": (lambda: sl.FCirculant(one3, nan), ValueError, "f of FCirculant is nan; it must be finite"),
    "f is inf": (lambda: sl.FCirculant(one3, inf), ValueError, "f of FCirculant is inf"),
    "f is a complex nan": (lambda: sl.FCirculant(one3, complex(0, nan)), ValueError, "f of FCirculant is nanj"),
    "f is too large": (lambda: sl.FCirculant(one3, 1e60), ValueError, "1e[+]60; it must be finite in torch.float32"),
    "f is a huge int": (lambda: sl.FCirculant(one3, 10**400), ValueError, "f of FCirculant is 1000"),
    "f of random": (lambda: sl.FCirculant.random(3, f=nan), ValueError, "f of FCirculant is nan"),
    "f of nearest": (lambda: sl.nearest(e3, "f_circulant", f=nan), ValueError, "f of FCirculant is nan"),
    "a corner of LDR": (lambda: sl.LDR(L.G, L.H, nan), ValueError, "e of LDR is nan"),
    "another corner of LDR": (lambda: sl.LDR(L.G, L.H, 1, inf), ValueError, "f of LDR is inf"),
    "a corner that is text": (lambda: sl.LDR(L.G, L.H, "1"), TypeError, "e of LDR is a str; it must be a number"),
    "a corner that is a bool": (lambda: sl.LDR(L.G, L.H, True), TypeError, "e of LDR is a bool"),
    "Shift(nan)": (lambda: sl.Shift(nan), ValueError, "f of Shift is nan"),
    "Shift(True)": (lambda: sl.Shift(True), TypeError, "f of Shift is a bool"),
    "shift of nan": (lambda: sl.shift(3, nan), ValueError, "f is nan"),
    "shift of size True": (lambda: sl.shift(True), ValueError, "n is True; it must be an integer of at least 1"),
    "shift of booleans": (lambda: sl.shift(3, dtype=torch.bool), TypeError, "dtype is torch.bool"),
    "tol is nan": (lambda: sl.displacement_rank(e3, tol=nan), ValueError, "tol is nan"),
    "tol is negative": (lambda: sl.displacement_rank(e3, tol=-1e-9), ValueError, "tol is -1e-09; .* at least 0"),
    "tol is text": (lambda: sl.displacement_rank(e3, tol="0"), TypeError, "tol is a str"),
    "tol of generators": (lambda: sl.generators(e3, tol=nan), ValueError, "tol is nan"),
    "tol of compress": (lambda: sl.compress(e3, e3, tol=nan), ValueError, "tol is nan"),
    "tol of the method": (lambda: L.compress(tol=nan), ValueError, "tol is nan"),
    "tol of conjugate gradients": (lambda: sl.conjugate_gradients(T3, one3, tol=nan), ValueError, "tol is nan"),
    "leading_block": (lambda: sl.leading_block(L, True), ValueError, "p is True; it must be in 1 .. 3, an integer"),
    "schur_complement": (lambda: sl.schur_complement(L, True), ValueError, "p is True; .* 1 .. 2, an integer"),
    "rank of generators": (lambda: sl.generators(e3, rank=True), ValueError, "rank is True"),
    "rank 1.0 of generators": (lambda: sl.generators(e3, rank=1.0), ValueError, "rank is 1.0"),
    "rank of compress": (lambda: sl.compress(e3, e3, rank=True), ValueError, "rank is True"),
    "rank of nearest": (lambda: sl.nearest(e3, "low_rank", rank=True), ValueError, "rank is True"),
    "rank of the nearest LDR": (lambda: sl.nearest(e3, "ldr", rank=1.0), ValueError, "rank is 1.0"),
    "terms of nearest": (lambda: sl.nearest(torch.eye(4), "kronecker_sum", terms=True), ValueError, "terms is True"),
    "budget": (lambda: sl.which_structure(e3, True), ValueError, "budget is True"),
    "budget 2.5": (lambda: sl.which_structure(e3, 2.5), ValueError, "budget is 2.5; it must be an integer"),
    "max_iterations": (lambda: sl.conjugate_gradients(T3, one3, max_iterations=True), ValueError, "max_iterations is"),
    "families": (lambda: sl.families(True), ValueError, "n is True"),
    "seed of families": (lambda: sl.families(4, seed=2**70), ValueError, "seed is 118"),
    "butterflies": (lambda: sl.dft_butterflies(True), ValueError, "n is True"),
    "real butterflies": (lambda: sl.dft_butterflies(4, dtype=torch.float32), TypeError, "dtype is torch.float32"),
    "no_dense": (lambda: sl.no_dense(True).__enter__(), ValueError, "m, n are True, True"),
    "blocks": (lambda: sl.Monarch.random(4, blocks=(True, 2)), ValueError, r"blocks\[0\] of Monarch is True"),
    "blocks=2": (lambda: sl.Monarch.random(4, blocks=2), ValueError, r"blocks is 2; it must be a pair \(q, k\)"),
    "blocks of nearest": (lambda: sl.nearest(e3, "monarch", blocks=2), ValueError, "blocks is 2"),
    "rank=0": (lambda: sl.CauchyLike.random(4, rank=0), ValueError, "rank of CauchyLike is 0"),
    "terms=0": (lambda: sl.KroneckerSum.random(4, terms=0), ValueError, "terms of KroneckerSum is 0"),
    "rank of Krylov": (lambda: sl.Krylov.random(3, A=e3, B=e3, rank=0), ValueError, "rank of Krylov is 0"),
    "solve of a tensor": (lambda: sl.solve(e3, one3), TypeError, "operator is a Tensor; .* structured matrix"),
    "solve of an array": (lambda: sl.solve(np.eye(3), one3), TypeError, "operator is a numpy array"),
    "CG of a tensor": (lambda: sl.conjugate_gradients(e3, one3), TypeError, "operator is a Tensor"),
    "levinson of a tensor": (lambda: sl.levinson(e3, one3), TypeError, "T is a Tensor"),
    "as_ldr of a tensor": (lambda: sl.as_ldr(e3), TypeError, "M is a Tensor"),
    "sparse": (lambda: sl.Circulant(one3.to_sparse()), TypeError, "column of Circulant is torch.sparse_coo"),
    "sparse x": (lambda: T3.apply(e3.to_sparse()), TypeError, "x of SymmetricToeplitz is torch.sparse_coo"),
    "sparse W": (lambda: sl.nearest(e3.to_sparse(), "toeplitz"), TypeError, "W of nearest is torch.sparse_coo"),
    "an array": (lambda: sl.Circulant(np.ones(3)), TypeError, "column of Circulant is a numpy array"),
    "nan in A": (lambda: sl.displacement_rank(e3, A=nan * e3), ValueError, "A holds NaN"),
    "nan in B": (lambda: sl.generators(e3, B=nan * e3), ValueError, "B holds NaN"),
    "nan in M": (lambda: sl.displacement_rank(nan * e3), ValueError, "M holds NaN"),
    "nan in compress": (lambda: sl.compress(nan * e3, e3), ValueError, "G holds NaN"),
    "nan in W": (lambda: sl.which_structure({"a.b": nan * e3}), ValueError, r"W\['a.b'\] holds NaN"),
    "nan in b": (lambda: sl.conjugate_gradients(T3, nan * one3), ValueError, "b holds NaN"),
    "nan in b of levinson": (lambda: sl.levinson(T3, nan * one3), ValueError, "b holds NaN"),
    "nan in T": (lambda: sl.toeplitz_inverse(sl.Toeplitz(nan * one3)), ValueError, "column of T holds NaN"),
    "meta W": (lambda: sl.nearest(e3.to("meta"), "toeplitz"), ValueError, "W is on the meta device"),
    "meta operator": (lambda: sl.solve(T3.to("meta"), one3.to("meta")), ValueError, "b is on the meta device"),
    "two devices": (lambda: sl.solve(T3, one3.to("meta")), ValueError, "b is on meta, but operator is on cpu"),
    "two devices in levinson": (lambda: sl.levinson(T3, one3.to("meta")), ValueError, "b is on meta, but T is on cpu"),
    "a batch": (lambda: sl.toeplitz_inverse(sl.Toeplitz(torch.ones(2, 3))), ValueError, "T is 3 x 3 with batch"),
    "dtype of random": (lambda: sl.Circulant.random(3, dtype=torch.int64), TypeError, "dtype is torch.int64"),
    "device of random": (lambda: sl.Cauchy.random(3, device="moon"), ValueError, "device is 'moon'"),
    "generator of random": (lambda: sl.Vandermonde.random(3, generator=1), TypeError, "generator is an int"),
    "two forms": (lambda: L + sl.CauchyLike.random(3), TypeError, "other is a CauchyLike"),
    "a product of two forms": (lambda: L @ sl.CauchyLike.random(3), TypeError, "other is a CauchyLike"),
    "two sizes": (lambda: L + sl.LDR.random(4), ValueError, "cannot add 3 x 3 and 4 x 4"),
    "two dtypes": (lambda: L + L.to(torch.float64), ValueError, "other is torch.float64 on cpu"),
    "krylov of two dtypes": (lambda: sl.krylov(e3.double(), one3), ValueError, "A is torch.float64 on cpu"),
    "Krylov of two dtypes": (lambda: sl.Krylov(L.G, L.H, e3, e3 + 0j), ValueError, "B is torch.complex64 on cpu"),
    "too few tensors": (lambda: sl.Cauchy.random(3).with_tensors(one3), TypeError, "Cauchy has 2 tensors, not 1"),
    "asarray": (lambda: np.asarray(T3), TypeError, r"SymmetricToeplitz is no array; A.to_dense\(\).numpy\(\)"),
    "times an array": (lambda: np.ones((2, 3)) @ T3, TypeError, "unsupported operand"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, own_errors):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


class TestConjugateGradients:
    def test_strang_of_a_hermitian_matrix_of_even_size(self):
        """The diagonals n/2 and -n/2 meet in one place of the circulant: their mean keeps it Hermitian."""
        T = sl.Toeplitz(torch.tensor([5, 0, 0, 0, 2j, 0, 0, 0]))
        C = strang(T).to_dense()
        assert torch.equal(C, C.mH)
        b = torch.arange(8.0).to(torch.complex64)
        x, _, residual = sl.conjugate_gradients(T, b)
        assert residual < 1e-3
        torch.testing.assert_close(T.to_dense() @ x, b, atol=1e-2, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype):
        """Iterated in float32: the answer is the rounded solution, not what half precision leaves of it."""
        T = sl.SymmetricToeplitz(0.7 ** torch.arange(64.0)).to(dtype)
        b = torch.linspace(-1, 1, 64).to(dtype)
        x, iterations, residual = sl.conjugate_gradients(T, b)
        assert x.dtype == dtype
        assert residual < 1e-3
        assert iterations < 12
        want = torch.linalg.solve(T.to(torch.float64).to_dense(), b.double())
        torch.testing.assert_close(x.double(), want, rtol=0.01, atol=0.01)

    def test_no_iterations(self):
        with pytest.warns(sl.ResidualWarning, match="is 1.0e\\+00 after 0 iterations"):
            assert not sl.conjugate_gradients(T3, one3, max_iterations=0).x.any()


class TestRecover:
    """Complex corners beside real generators."""

    @pytest.mark.parametrize("kind", ["sylvester", "stein"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
    @pytest.mark.parametrize(("e", "f"), [(1j, 0), (0, 1j), (1j, 2), (0.5, 0.5j), (2j, -1j)])
    @pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
    def test_complex_corners(self, kind, dtype, e, f, flips, rng):
        G, H = (torch.randn(2, 5, generator=rng).to(dtype) for _ in range(2))
        A, B = (sl.Shift(c, transposed=t) for c, t in zip((e, f), flips))
        M = sl.recover(G, H, A, B, kind=kind)
        W = M.to_dense()
        assert W.dtype == M.dtype == torch.promote_types(dtype, torch.complex64)
        x = torch.randn(3, 5, generator=rng, dtype=torch.float64).to(W.dtype)
        torch.testing.assert_close(M.apply(x), x @ W.mT)
        displaced = (sl.sylvester if kind == "sylvester" else sl.stein)(W, A, B)
        torch.testing.assert_close(displaced, (G.mT.to(W.dtype) @ H.to(W.dtype)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128, torch.bfloat16], ids=str)
def test_levinson_with_a_right_side_of_another_dtype(dtype):
    b = torch.tensor([1.0, -2.0, 0.5]).to(dtype)
    x = sl.levinson(T3, b)
    assert x.dtype == torch.promote_types(torch.float32, dtype)
    torch.testing.assert_close(x, torch.linalg.solve(T3.to_dense().to(x.dtype), b.to(x.dtype)))
    y = sl.levinson(T3.to(torch.bfloat16), b)  # whose numbers are exact in bfloat16
    assert torch.equal(y, x.to(y.dtype))


def test_solve_does_not_warn_because_a_right_side_is_large(rng):
    """Its residual overflowed."""
    T, b = sl.Toeplitz.random(6, generator=rng), torch.randn(6, generator=rng)
    T.column[0] = T.row[0] = 5
    torch.testing.assert_close(sl.solve(T, 1e30 * b) * 1e-30, sl.solve(T, b))  # a warning is an error here


def test_trained_weights_are_taken_as_they_are(rng):
    """An nn.Parameter, as it stands in a model."""
    W = torch.nn.Parameter(sl.Toeplitz.random(4, generator=rng).to_dense())
    assert sl.which_structure(W).best.family == "toeplitz"
    assert sl.nearest(W, "toeplitz")[1] < 1e-6
    assert sl.displacement_rank(W) == 2


def test_half_precision_generators_compress(rng):
    G, H = (torch.randn(1, 6, generator=rng).to(torch.bfloat16) for _ in range(2))
    g, h = sl.compress(torch.cat([G, G]), torch.cat([H, H]))
    assert g.dtype == h.dtype == torch.bfloat16
    assert g.shape == (1, 6)
    torch.testing.assert_close((g.mT @ h).float(), 2 * (G.mT @ H).float(), atol=0.05, rtol=0.05)


def test_sizes_may_be_numpy_integers(own_errors):
    n = np.int64(2)
    assert sl.leading_block(L, n).shape == (2, 2)
    assert sl.Circulant.random(n).shape == (2, 2)
    assert len(sl.generators(e3, rank=n)[0]) == 2


def test_a_huge_corner_of_a_projection(rng):
    W = torch.randn(4, 4, generator=rng)
    S, error = sl.nearest(W, "f_circulant", f=1e25)
    want, exact = sl.nearest(W.double(), "f_circulant", f=1e25)
    assert error == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(S.column.double(), want.column, rtol=1e-5, atol=1e-30)
