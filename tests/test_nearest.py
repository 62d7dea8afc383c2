"""The nearest member of a family is the one that brute force finds."""

import pytest
import scipy.linalg
import torch

import surm_lite as sl
from surm_lite.matrices import FAMILIES
from surm_lite.matrices.algorithms.nearest import PROJECTIONS

LINEAR = [
    ("circulant", {}),
    ("skew_circulant", {}),
    ("f_circulant", {}),
    ("f_circulant", {"f": 0}),
    ("f_circulant", {"f": -1.7}),
    ("toeplitz", {}),
    ("symmetric_toeplitz", {}),
    ("hankel", {}),
    ("block_circulant", {}),
    ("block_circulant", {"block": 1}),
]
SIZES = [(1, 1), (2, 2), (5, 5), (6, 6), (1, 4), (4, 1), (4, 6), (7, 3)]


def brute_force(W, family, **budget):
    """Least squares over a basis of the family: its member at each unit vector of its numbers."""
    like = family.random(*W.shape, dtype=W.dtype, generator=torch.Generator(), **budget)
    columns = []
    for i, t in enumerate(like.tensors):
        for k in range(t.numel()):
            unit = [torch.zeros_like(other) for other in like.tensors]
            unit[i].view(-1)[k] = 1
            columns.append(like.with_tensors(*unit).to_dense().flatten())
    basis = torch.stack(columns, dim=1)
    # gelsd: a Toeplitz matrix has one number that does nothing (row[0]), so the basis may be rank deficient
    best = torch.linalg.lstsq(basis, W.flatten()[:, None], driver="gelsd").solution
    return (basis @ best).reshape(W.shape)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("m", "n"), SIZES)
@pytest.mark.parametrize(("name", "budget"), LINEAR, ids=str)
def test_linear_families_by_brute_force(name, budget, m, n, dtype, rng):
    family = FAMILIES[name]
    if family.square:
        n = m
    W = torch.randn(m, n, dtype=dtype, generator=rng)
    S, error = sl.nearest(W, name, **budget)
    best = brute_force(W, family, **budget)
    assert isinstance(S, family)
    torch.testing.assert_close(S.to_dense(), best)
    assert error == pytest.approx(float((W - best).norm() / W.norm()))


def test_complex_corner_by_brute_force(rng):
    W = torch.randn(5, 5, dtype=torch.complex128, generator=rng)
    S, _ = sl.nearest(W, "f_circulant", f=0.5 - 2j)
    torch.testing.assert_close(S.to_dense(), brute_force(W, sl.FCirculant, f=0.5 - 2j))
    real, _ = sl.nearest(W.real, "f_circulant", f=0.5 - 2j)
    torch.testing.assert_close(real.to_dense(), brute_force(W.real.to(W.dtype), sl.FCirculant, f=0.5 - 2j))


def test_corner_keeps_double_precision(rng):
    """f = 0.1 is not a float32 number; in a float64 problem it must not become one."""
    A = sl.FCirculant.random(6, f=0.1, dtype=torch.float64, generator=rng)
    S, error = sl.nearest(A.to_dense(), "f_circulant", f=0.1)
    assert error < 1e-15
    torch.testing.assert_close(S.column, A.column, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank_leaves_the_tail_of_the_singular_values(rank, dtype, rng):
    W = torch.randn(6, 4, dtype=dtype, generator=rng)
    S, error = sl.nearest(W, "low_rank", rank=rank)
    tail = torch.linalg.svdvals(W)[rank:]
    assert error * float(W.norm()) == pytest.approx(float(tail.norm()), abs=1e-12)
    assert S.B.shape == (6, rank)


@pytest.mark.parametrize(("m", "n", "a_shape"), [(6, 6, (2, 3)), (12, 10, (3, 5)), (12, 10, None), (5, 7, None)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_kronecker_leaves_the_tail_of_the_rearrangement(m, n, a_shape, dtype, rng):
    """[H8] Van Loan and Pitsianis: |W - A ⊗ B|^2 is the sum of the other squared singular values."""
    W = torch.randn(m, n, dtype=dtype, generator=rng)
    S, error = sl.nearest(W, "kronecker", a_shape=a_shape)
    (m1, n1), (m2, n2) = S.A.shape, S.B.shape
    rearranged = torch.stack(
        [W[i * m2 : (i + 1) * m2, j * n2 : (j + 1) * n2].flatten() for i in range(m1) for j in range(n1)]
    )
    tail = torch.linalg.svdvals(rearranged)[1:]
    assert error * float(W.norm()) == pytest.approx(float(tail.norm()))


@pytest.mark.parametrize(("name", "budget"), [("kronecker", {}), ("low_rank", {"rank": 2}), ("monarch", {})])
def test_no_perturbation_is_closer(name, budget, rng):
    W = torch.randn(8, 6, dtype=torch.float64, generator=rng)
    S, _ = sl.nearest(W, name, **budget)
    best = float((W - S.to_dense()).norm())
    for size in (1e-1, 1e-3, 1e-5):
        for _ in range(20):
            noise = [size * torch.randn(t.shape, dtype=t.dtype, generator=rng) for t in S.tensors]
            other = S.with_tensors(*(t + e for t, e in zip(S.tensors, noise)))
            assert float((W - other.to_dense()).norm()) >= best - 1e-12


@pytest.mark.parametrize("family", [family for family in PROJECTIONS if family is not sl.LDR])
def test_members_are_their_own_nearest(family, rng):
    budget = {"rank": 2} if family is sl.LowRank else {}
    A = family.random(6, dtype=torch.float64, generator=rng, **budget)
    S, error = sl.nearest(A.to_dense(), family, **budget)
    assert error < 1e-12
    torch.testing.assert_close(S.to_dense(), A.to_dense())


@pytest.mark.parametrize("family", [family for family in FAMILIES.values() if family not in PROJECTIONS])
def test_families_without_a_projection_say_so(family):
    with pytest.raises(
        ValueError, match=f"{family.__name__} has no projection; those that do: BlockCirculant, Circulant"
    ):
        sl.nearest(torch.eye(4), family)


class TestFacts:
    def test_h1_nearest_circulant(self, rng):
        """[H1] It is the mean of each wrapped diagonal."""
        W = torch.randn(12, 12, dtype=torch.float64, generator=rng)
        i = torch.arange(12)
        means = torch.stack([W[(i + k) % 12, i].mean() for k in range(12)])
        torch.testing.assert_close(sl.nearest(W, "circulant")[0].column, means)

    def test_h2_formula_of_the_paper(self, rng):
        """[H2] SURM's formula for c_k, in its own 1-based indices, is that mean."""
        n, W = 12, torch.randn(12, 12, dtype=torch.float64, generator=rng)
        c = [W.diagonal().mean()]
        for k in range(2, n + 1):
            wrapped = sum(W[j - 1, j + n - k] for j in range(1, k))
            c.append((wrapped + sum(W[j - 1, j - k] for j in range(k, n + 1))) / n)
        torch.testing.assert_close(sl.nearest(W, "circulant")[0].column, torch.stack(c))

    def test_h3_h4_symmetric_toeplitz(self, rng):
        """[H3, H4] SURM's mean of the upper diagonals is optimal for symmetric W, and not for others."""

        def upper(W):
            return sl.SymmetricToeplitz(torch.stack([W.diagonal(k).mean() for k in range(len(W))]))

        W = torch.randn(12, 12, dtype=torch.float64, generator=rng)
        best, error = sl.nearest(W, "symmetric_toeplitz")
        assert error * W.norm() < (W - upper(W).to_dense()).norm()
        both = torch.stack([(W.diagonal(k).mean() + W.diagonal(-k).mean()) / 2 for k in range(12)])
        torch.testing.assert_close(best.column, both)
        torch.testing.assert_close(sl.nearest(W + W.T, "symmetric_toeplitz")[0].column, upper(W + W.T).column)

    def test_h5_h6_orthogonal_residual(self, rng):
        """[H5, H6] The residual is orthogonal to every Toeplitz matrix, so Pythagoras holds."""
        W = torch.randn(12, 12, dtype=torch.float64, generator=rng)
        S = sl.nearest(W, "toeplitz")[0].to_dense()
        T = sl.Toeplitz.random(12, dtype=torch.float64, generator=rng).to_dense()
        assert float(((W - S) * T).sum()) == pytest.approx(0, abs=1e-12)
        assert float(W.norm() ** 2) == pytest.approx(float(S.norm() ** 2 + (W - S).norm() ** 2))

    @pytest.mark.parametrize(("name", "d"), [("toeplitz", 79), ("circulant", 40), ("symmetric_toeplitz", 40)])
    def test_h7_share_of_a_gaussian_target(self, name, d, rng):
        """[H7] A linear class of dimension d catches d / n^2 of the energy of a Gaussian matrix."""
        draws = [torch.randn(40, 40, dtype=torch.float64, generator=rng) for _ in range(60)]
        caught = torch.tensor([1 - sl.nearest(W, name)[1] ** 2 for W in draws])
        assert abs(float(caught.mean()) - d / 1600) < 0.004

    def test_o10_circulants_are_toeplitz(self, rng):
        """[O10] A subspace is never closer: nested families have ordered errors, for every target."""
        for _ in range(20):
            W = torch.randn(9, 9, dtype=torch.float64, generator=rng)
            circulant, symmetric, toeplitz = (
                sl.nearest(W, k)[1] for k in ("circulant", "symmetric_toeplitz", "toeplitz")
            )
            assert toeplitz <= min(circulant, symmetric)


def test_toeplitz_plus_hankel_leaves_an_orthogonal_residual(rng):
    """Least squares over both parts at once, where they overlap in two numbers, and in a row, where in all."""
    for m, n in ((1, 5), (2, 5), (7, 7), (8, 6)):
        W = torch.randn(m, n, dtype=torch.float64, generator=rng)
        residual = W - sl.nearest(W, "toeplitz_plus_hankel")[0].to_dense()
        for part in ("toeplitz", "hankel"):
            assert float(sl.nearest(residual, part)[0].to_dense().norm()) < 1e-12


def test_kronecker_sum_leaves_the_tail(rng):
    """The k largest singular values of the rearrangement go, and with all of them nothing is left."""
    W = torch.randn(12, 10, dtype=torch.float64, generator=rng)
    spectrum = torch.linalg.svdvals(W.reshape(3, 4, 2, 5).transpose(1, 2).reshape(6, 20))
    for k in (1, 2, 6):
        error = sl.nearest(W, "kronecker_sum", terms=k, a_shape=(3, 2))[1]
        assert error * float(W.norm()) == pytest.approx(float(spectrum[k:].norm()), abs=1e-12)


def test_zero_has_no_error():
    assert sl.nearest(torch.zeros(3, 3), "toeplitz")[1] == 0.0
    assert sl.nearest(torch.zeros(3, 3), "low_rank")[1] == 0.0
    assert sl.nearest(torch.zeros(3, 3), "ldr", rank=2)[1] == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.complex64], ids=str)
@pytest.mark.parametrize("name", ["circulant", "toeplitz", "hankel", "block_circulant", "kronecker", "low_rank"])
def test_dtype_comes_back(name, dtype, rng):
    W = torch.randn(4, 4, dtype=torch.complex64 if dtype.is_complex else torch.float32, generator=rng)
    S, error = sl.nearest(W.to(dtype), name)
    assert S.dtype == dtype
    assert error == pytest.approx(sl.nearest(W, name)[1], abs=0.02)


def test_projection_is_differentiable(rng):
    """The gradient of |W - S|^2 is 2 (W - S): the projection is orthogonal."""
    W = torch.randn(5, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    S = sl.nearest(W, "toeplitz")[0].to_dense()
    (gradient,) = torch.autograd.grad((W - S).square().sum(), W)
    torch.testing.assert_close(gradient, 2 * (W - S).detach())


def test_global_generator_is_left_alone(rng):
    before = torch.get_rng_state()
    for name in ("circulant", "block_circulant", "kronecker", "low_rank", "monarch", "ldr"):
        sl.nearest(torch.randn(4, 4, generator=rng), name)
    assert torch.equal(torch.get_rng_state(), before)


def test_scipy_agrees_that_the_result_is_toeplitz(rng):
    S, _ = sl.nearest(torch.randn(5, 3, dtype=torch.float64, generator=rng), "toeplitz")
    dense = S.to_dense().numpy()
    assert (dense == scipy.linalg.toeplitz(dense[:, 0], dense[0])).all()


W = torch.eye(4)


@pytest.mark.parametrize(
    ("arguments", "budget", "error", "words"),
    [
        (([[1.0]], "circulant"), {}, TypeError, ["W", "list", "torch.Tensor"]),
        ((torch.ones(3, 3, dtype=torch.int64), "circulant"), {}, TypeError, ["W", "torch.int64", "float"]),
        ((torch.ones(3), "circulant"), {}, ValueError, ["W", "(3,)", "2 dimension"]),
        ((torch.ones(2, 3, 3), "circulant"), {}, ValueError, ["W", "(2, 3, 3)", "(m, n)"]),
        ((torch.ones(0, 3), "toeplitz"), {}, ValueError, ["W", "(0, 3)", "not empty"]),
        ((torch.ones(2, 3), "circulant"), {}, ValueError, ["W", "(2, 3)", "square"]),
        ((W * float("nan"), "toeplitz"), {}, ValueError, ["W", "NaN"]),
        ((W, "circulent"), {}, ValueError, ["'circulent'", "'circulant'"]),
        ((W, 3), {}, TypeError, ["family", "3", "StructuredMatrix"]),
        ((W, torch.Tensor), {}, TypeError, ["family", "StructuredMatrix"]),
        ((W, "circulant"), {"rank": 2}, TypeError, ["'rank'", "none"]),
        ((W, "low_rank"), {"rnk": 2}, TypeError, ["'rnk'", "rank"]),
        ((W, "low_rank"), {"rank": 0}, ValueError, ["rank is 0", "1 .. 4"]),
        ((W, "low_rank"), {"rank": 5}, ValueError, ["rank is 5", "1 .. 4"]),
        ((W, "low_rank"), {"rank": 1.5}, ValueError, ["rank is 1.5", "1 .. 4"]),
        ((W, "block_circulant"), {"block": 3}, ValueError, ["block is 3", "4 x 4"]),
        ((W, "block_circulant"), {"block": 0}, ValueError, ["block", "0", "at least 1"]),
        ((W, "kronecker"), {"a_shape": (3, 1)}, ValueError, ["a_shape is (3, 1)", "(4, 4)"]),
        ((W, "kronecker"), {"a_shape": 2}, ValueError, ["a_shape is 2", "pair"]),
        ((W, "f_circulant"), {"f": "one"}, TypeError, ["f of FCirculant", "str", "number"]),
    ],
    ids=str,
)
def test_bad_input(arguments, budget, error, words, own_errors):
    with pytest.raises(error) as caught:
        sl.nearest(*arguments, **budget)
    for word in words:
        assert word in str(caught.value)
