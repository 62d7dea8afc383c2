"""What the contract leaves to single tests: modes of torch, odd tensors, bad input, and how an operator reads."""

import copy
import pickle
import re

import pytest
import torch
from jaxtyping import TypeCheckError

import surm_lite as sl
from surm_lite.matrices import FAMILIES, factor_shapes


@pytest.fixture(params=FAMILIES)
def A(request, rng):
    return FAMILIES[request.param].random(6, generator=rng)


@pytest.fixture
def x(rng):
    return torch.randn(3, 6, generator=rng)


def dense(A, x):
    return x @ A.to_dense().mT


class TestTorch:
    def test_inference_mode(self, A, x):
        with torch.inference_mode():
            y = A.apply(x)
        assert y.is_inference()
        torch.testing.assert_close(y.clone(), dense(A, x))

    def test_no_grad(self, A, x):
        with torch.no_grad():
            assert not A.with_tensors(*(t.clone().requires_grad_() for t in A.tensors)).apply(x).requires_grad

    def test_lazily_conjugated_and_negated_views(self, A, x):
        z = torch.complex(x, x.flip(0)).conj()
        torch.testing.assert_close(A.apply(z), dense(A.to(torch.complex64), z.resolve_conj()))
        torch.testing.assert_close(A.apply(z.imag), dense(A, z.imag.resolve_neg()))

    def test_parameters_stay_in_the_graph(self, A, x):
        """Defining tensors may be computed from parameters; the operator holds no copy and no nn.Parameter."""
        scale = torch.tensor(2.0, requires_grad=True)
        B = A.with_tensors(*(scale * t for t in A.tensors))
        assert not any(isinstance(t, torch.nn.Parameter) for t in B.tensors)
        B.apply(x).sum().backward()
        assert scale.grad is not None

    def test_no_copies(self, A):
        assert all(a is b for a, b in zip(A.with_tensors(*A.tensors).tensors, A.tensors))

    def test_second_derivatives(self, A, x):
        A, x = A.to(torch.float64), x[:1].double()
        inputs = [t.clone().requires_grad_() for t in (x, *A.tensors)]
        assert torch.autograd.gradgradcheck(lambda x, *ts: A.with_tensors(*ts).apply(x), inputs)

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, where it loads its jvp rules
    def test_forward_mode(self, A, x):
        """A linear map is its own derivative."""
        _, tangent = torch.func.jvp(A.apply, (x,), (x.flip(0),))
        torch.testing.assert_close(tangent, A.apply(x.flip(0)))

    def test_deepcopy_and_pickle_share_nothing(self, A, x):
        y = A.apply(x)
        for B in (copy.deepcopy(A), pickle.loads(pickle.dumps(A))):
            for t in B.tensors:
                t.zero_()
            torch.testing.assert_close(A.apply(x), y)

    def test_double_default_dtype(self, A, x):
        """As the chapters set it; float32 operators stay float32."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            assert A.apply(x).dtype == A.to_dense().dtype == A.T.to_dense().dtype == torch.float32
        finally:
            torch.set_default_dtype(before)

    def test_result_may_be_written_to(self, A):
        """No view of a parameter or of x comes back, also for an empty batch."""
        for shape in ((6,), (2, 6), (0, 6)):
            A.apply(torch.ones(shape)).add_(1)


def test_a_nonleaf_operator_says_why_it_cannot_be_copied(rng):
    A = sl.Circulant(torch.randn(3, generator=rng).requires_grad_() * 2)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(A)


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (sl.Circulant(torch.ones(3)), "Circulant Z₁(c) ∈ ℝ^(3×3), 3 numbers"),
        (sl.Toeplitz(torch.ones(2), torch.ones(600)), "Toeplitz t[i−j] ∈ ℝ^(2×600), 601 numbers"),
        (sl.Kronecker(torch.ones(40, 40), torch.ones(2, 2)), "Kronecker A ⊗ B ∈ ℝ^(80×80), 1,604 numbers"),
        (sl.Circulant(torch.ones(4, 3) + 0j), "Circulant Z₁(c) ∈ ℂ^(3×3), 3 numbers, batch (4,)"),
        (sl.LDR(torch.ones(2, 3), torch.ones(2, 3)).T, "LDR Σ Z₋₁(gᵢ) Z₁(hᵢ) ∈ ℝ^(3×3), 12 numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_repr_reads_as_mathematics(operator, text):
    assert repr(operator) == text


@pytest.mark.parametrize(
    ("operator", "dof"),
    [
        (sl.Toeplitz(torch.ones(4), torch.ones(6)), 9),
        (sl.SymmetricToeplitz(torch.ones(4)), 4),
        (sl.LDR(torch.ones(2, 7), torch.ones(2, 7)), 24),
        (sl.LowRank(torch.ones(6, 2), torch.ones(2, 5)), 18),
        (sl.LowRank(torch.ones(2, 9), torch.ones(9, 3)), 6),
        (sl.Kronecker(torch.ones(2, 3), torch.ones(4, 5)), 25),
        (sl.BlockCirculant(torch.ones(2, 3, 4)), 24),
    ],
    ids=repr,
)
def test_degrees_of_freedom_by_formula(operator, dof):
    assert operator.dof == dof


@pytest.mark.parametrize(
    ("m", "n", "a_shape"),
    [(768, 768, (24, 32)), (768, 3072, (32, 48)), (6, 6, (2, 3)), (7, 7, (1, 7)), (1, 1, (1, 1)), (4, 24, (2, 4)),
     (2, 4, (2, 2)), (30, 4, (5, 2)), (1, 13, (1, 1)), (36, 12, (6, 4))],
)  # fmt: skip
def test_default_kronecker_split_has_the_fewest_numbers(m, n, a_shape):
    """Of several such splits it is one of the highest rank: 4 x 24 has three of 20 numbers, and one has rank 4."""
    A, B = factor_shapes(m, n)
    numbers, rank = A[0] * A[1] + B[0] * B[1], min(A) * min(B)
    splits = [(a, b, m // a, n // b) for a in range(1, m + 1) for b in range(1, n + 1) if m % a == 0 == n % b]
    assert numbers == min(a * b + c * d for a, b, c, d in splits)
    assert rank == max(min(a, b) * min(c, d) for a, b, c, d in splits if a * b + c * d == numbers)
    assert factor_shapes(m, n)[0] == a_shape


one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)

BAD = {
    "a list": (lambda: sl.Circulant([1.0]), TypeError, ["column of Circulant", "list", "torch.Tensor"]),
    "None": (lambda: sl.Toeplitz(None), TypeError, ["column of Toeplitz", "NoneType"]),
    "integers": (lambda: sl.Circulant(torch.arange(3)), TypeError, ["column", "torch.int64", "float32"]),
    "booleans": (lambda: sl.Hankel(three > 0, three), TypeError, ["column of Hankel", "torch.bool"]),
    "eight bits": (lambda: sl.Circulant(three.to(torch.float8_e4m3fn)), TypeError, ["column", "float8_e4m3fn"]),
    "no dimension": (lambda: sl.Circulant(torch.tensor(1.0)), ValueError, ["column", "()", "1 dimension"]),
    "no numbers": (lambda: sl.Circulant(torch.ones(0)), ValueError, ["column", "(0,)", "at least 1"]),
    "no row": (lambda: sl.Toeplitz(two, torch.ones(0)), ValueError, ["row of Toeplitz", "(0,)", "at least 1"]),
    "one dimension": (lambda: sl.Kronecker(torch.eye(2), two), ValueError, ["B of Kronecker", "(2,)", "2 dimension"]),
    "two dimensions": (lambda: sl.BlockCirculant(torch.eye(2)), ValueError, ["kernel", "(2, 2)", "3 dimension"]),
    "two dtypes": (lambda: sl.Toeplitz(two, two.double()), ValueError, ["row", "torch.float64", "torch.float32"]),
    "two devices": (lambda: sl.Toeplitz(two, two.to("meta")), ValueError, ["row", "meta", "cpu"]),
    "batches": (lambda: sl.Toeplitz(torch.ones(2, 3), torch.ones(4, 3)), ValueError, ["(4,) of row", "(2,) of column"]),
    "inner sizes": (lambda: sl.LowRank(torch.ones(3, 2), torch.ones(3, 2)), ValueError, ["B is (3, 2)", "(r, n)"]),
    "two ranks": (lambda: sl.LDR(torch.ones(2, 3), torch.ones(1, 3)), ValueError, ["G", "(2, 3)", "H", "(1, 3)"]),
    "two sizes": (lambda: sl.LDR(torch.ones(2, 3), torch.ones(2, 4)), ValueError, ["G", "(2, 3)", "H", "(2, 4)"]),
    "f is text": (lambda: sl.FCirculant(three, "1"), TypeError, ["f of FCirculant", "str", "number"]),
    "f is a tensor": (lambda: sl.FCirculant(three, one), TypeError, ["f of FCirculant", "Tensor", "number"]),
    "f is a bool": (lambda: sl.FCirculant(three, True), TypeError, ["f of FCirculant", "bool"]),
    "size 0": (lambda: sl.Circulant.random(0), ValueError, ["m of Circulant is 0", "at least 1"]),
    "size -1": (lambda: sl.Toeplitz.random(2, -1), ValueError, ["n of Toeplitz is -1", "at least 1"]),
    "size 2.0": (lambda: sl.Circulant.random(2.0), ValueError, ["m of Circulant is 2.0", "integer"]),
    "size True": (lambda: sl.Circulant.random(True), ValueError, ["m of Circulant is True", "integer"]),
    "not square": (lambda: sl.Circulant.random(2, 3), ValueError, ["Circulant is square", "2 x 3"]),
    "rank 0": (lambda: sl.LowRank.random(3, rank=0), ValueError, ["rank of LowRank is 0", "at least 1"]),
    "rank 1.5": (lambda: sl.LDR.random(3, rank=1.5), ValueError, ["rank of LDR is 1.5", "integer"]),
    "block 3": (lambda: sl.BlockCirculant.random(4, block=3), ValueError, ["block is 3", "4 x 4"]),
    "block 0": (lambda: sl.BlockCirculant.random(4, block=0), ValueError, ["block", "is 0", "at least 1"]),
    "a_shape": (lambda: sl.Kronecker.random(4, a_shape=(3, 1)), ValueError, ["a_shape is (3, 1)", "(4, 4)"]),
    "a_shape is 2": (lambda: sl.Kronecker.random(4, a_shape=2), ValueError, ["a_shape is 2", "pair"]),
    "a_shape 1.5": (lambda: sl.Kronecker.random(4, a_shape=(1.5, 2)), ValueError, ["a_shape[0]", "1.5", "integer"]),
    "unknown option": (lambda: sl.LDR.random(4, rnk=2), TypeError, ["rnk"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_parameters(name, own_errors):
    call, error, words = BAD[name]
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


class TestBadInput:
    """x and X of every family."""

    @pytest.mark.parametrize("bad", [[1.0], None, 3], ids=str)
    def test_no_tensor(self, A, bad, own_errors):
        with pytest.raises(
            TypeError, match=f"x of {type(A).__name__} is an? {type(bad).__name__}; it must be a torch.Tensor"
        ):
            A.apply(bad)
        with pytest.raises(TypeError, match=r"X of .* must be a torch.Tensor"):
            A @ bad

    @pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex32, torch.float8_e5m2], ids=str)
    @pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
    def test_dtype(self, A, dtype):
        with pytest.raises(TypeError, match=f"{dtype}; it must be one of float64"):
            A.apply(torch.ones(6).to(dtype))

    @pytest.mark.parametrize("shape", [(5,), (3, 5), (6, 3), (0,), (2, 0)], ids=str)
    def test_shape(self, A, shape):
        with pytest.raises(
            ValueError, match=re.escape(f"x has shape {shape}; a 6 x 6 {type(A).__name__} needs (..., 6)")
        ):
            A.apply(torch.ones(shape))

    def test_no_dimension(self, A):
        with pytest.raises(ValueError, match=r"\(\); it needs at least 1 dimension"):
            A.apply(torch.tensor(1.0))

    def test_matrix_shape(self, A):
        with pytest.raises(ValueError, match=r"\(3, 6\).*\(6,\) or \(..., 6, k\)"):
            A @ torch.ones(3, 6)

    def test_device(self, A):
        with pytest.raises(ValueError, match=r"x is on meta, but the .* is on cpu"):
            A.apply(torch.ones(6, device="meta"))

    def test_batch(self, A):
        stacked = A.with_tensors(*(torch.stack([t, t]) for t in A.tensors))
        with pytest.raises(ValueError, match=r"\(3,\) of x do not broadcast with \(2,\) of the parameters"):
            stacked.apply(torch.ones(3, 6))
        with pytest.raises(ValueError, match=r"\(3,\) of X do not broadcast with \(2,\) of the parameters"):
            stacked @ torch.ones(3, 6, 2)

    def test_from_the_right(self, A, x):
        with pytest.raises(TypeError, match="unsupported operand"):
            x @ A


def test_shapes_are_checked_in_tests():
    """The annotations are live under pytest; in production the library's own messages come first."""
    from surm_lite.matrices.fft import correlation

    with pytest.raises(TypeCheckError):
        correlation(torch.ones(2, 4), torch.ones(3, 4), 4)
