"""Operators made of operators against dense algebra: values, transposes, numbers, gradients."""

import pytest
import torch

import surm_lite as sl
from surm_lite.matrices.compose import Corner, Diagonal, Flipped, Product, ProductSum, Sum
from surm_lite.matrices.spectrum import SparseSpectrum

DOUBLE = {"dtype": torch.float64}


@pytest.fixture
def T(rng):
    return lambda m, n: sl.Toeplitz.random(m, n, generator=rng, **DOUBLE)


@pytest.fixture(params=["equal", "crops", "continues", "corner", "flipped", "sum", "plus", "scaled", "waves"])
def case(request, T, rng):
    """An operator, the same matrix from dense parts, and how many numbers it holds."""
    if request.param == "sum":
        terms = [(T(4, 5), T(5, 3)) for _ in "123"]
        left, right = (sl.Toeplitz(*map(torch.stack, zip(*(M.tensors for M in side)))) for side in zip(*terms))
        return ProductSum(left, right), sum(P.to_dense() @ Q.to_dense() for P, Q in terms), 3 * (8 + 7)
    if request.param == "scaled":
        left, right = (torch.randn(size, generator=rng, **DOUBLE) for size in (4, 5))
        M = T(4, 5)
        whole = torch.diag(left) @ M.to_dense() @ torch.diag(right)
        return Product(Product(Diagonal(left), M), Diagonal(right)), whole, 8 + 4 + 5
    if request.param == "waves":
        entries, places = torch.randn(3, generator=rng, **DOUBLE), torch.tensor([7, 19, 0])
        i, j = torch.arange(4)[:, None], torch.arange(5)
        waves = [torch.cos(2 * torch.pi * ((p // 5) * i / 4 + (p % 5) * j / 5).double()) for p in places.tolist()]
        return SparseSpectrum(entries, places, 4, 5), sum(c * w for c, w in zip(entries, waves)) / 20, 3
    if request.param == "corner":
        M = sl.LDR.random(6, rank=2, generator=rng, **DOUBLE)
        return Corner(M, 4, 5), M.to_dense()[:4, :5], 24
    if request.param == "plus":
        P, Q = T(4, 5), sl.LowRank.random(4, 5, rank=2, generator=rng, **DOUBLE)
        return Sum(P, Q), P.to_dense() + Q.to_dense(), 8 + 18
    if request.param == "flipped":
        M = T(4, 5)
        return Flipped(M, rows=True, columns=False), M.to_dense().flip(0), 8
    inner = {"equal": (5, 5), "crops": (3, 5), "continues": (7, 5)}[request.param]
    P, Q = T(4, inner[0]), T(inner[1], 6)
    between = torch.eye(*inner, **DOUBLE)
    return Product(P, Q), P.to_dense() @ between @ Q.to_dense(), P.n_params + Q.n_params


def test_values_transpose_and_numbers(case, rng):
    M, W, numbers = case
    x, y = (torch.randn(2, 3, size, generator=rng, **DOUBLE) for size in reversed(W.shape))
    assert M.shape == M.T.shape[::-1] == tuple(W.shape)
    for operator, dense, v in ((M, W, x), (M.T, W.mT, y), (M.T.T, W, x)):
        torch.testing.assert_close(operator.to_dense(), dense)
        torch.testing.assert_close(operator.apply(v), v @ dense.mT)
    z = torch.complex(x, x.flip(0))
    torch.testing.assert_close(M.apply(z), z @ W.mT.to(z.dtype))
    assert M.n_params == numbers
    assert M.batch_shape == ()
    assert M.flops(3) - M.flops(2) == M.flops(2) - M.flops(1) > 0
    assert "numbers" in repr(M)


def test_other_numbers_in_the_same_composition(case, rng):
    M, _, _ = case
    tensors = [torch.randn(t.shape, generator=rng, **DOUBLE).requires_grad_() for t in M.tensors]
    other = M.with_tensors(*tensors)
    assert list(other.fields) == list(M.fields)
    assert all(a is b for a, b in zip(other.tensors, tensors, strict=True))
    x = torch.randn(3, M.shape[1], generator=rng, **DOUBLE)
    fast, slow = (torch.autograd.grad((y * y).sum(), tensors) for y in (other.apply(x), x @ other.to_dense().mT))
    for a, b in zip(fast, slow):
        torch.testing.assert_close(a, b)


def test_many_transforms_are_costly_and_a_view_is_as_costly_as_what_it_shows(T, rng):
    assert Product(T(4, 4), T(4, 4)).costly
    assert Corner(sl.LDR.random(4, generator=rng), 3, 4).costly
    assert not Flipped(T(4, 4), rows=True, columns=False).costly


def test_none_can_be_drawn():
    for kind in (Corner, Flipped, Product, ProductSum):
        with pytest.raises(TypeError, match=f"{kind.__name__} is made of other operators; draw those"):
            kind.random(4)


def test_a_sum_needs_one_size(T):
    with pytest.raises(ValueError, match=r"left is \(4, 5\) and right is \(4, 4\); they must have one size"):
        Sum(T(4, 5), T(4, 4))
