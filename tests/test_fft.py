"""The FFT products of ``matrices/fft.py`` against plain sums, and the lengths at which they run."""

import pytest
import torch

from surm_lite.matrices import BlockCirculant, Circulant, fft
from surm_lite.matrices.families.toeplitz import embedded

SIZES = [1, 2, 3, 4, 5, 12, 13, 31, 32]
DTYPES = [torch.float64, torch.complex128]


def randn(rng, *shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=rng)


def multiply(F, eigenvalues, x, m):
    return F.inverse(eigenvalues * F.forward(x), m)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [2, 4, 6, 10, 12, 26, 34, 64])
@pytest.mark.parametrize("basis", [fft.Circular, fft.Skew])
def test_circular_and_skew(basis, n, dtype, rng):
    """y_i = sum_j c_{i-j} x_j, and the wrapped-around terms change sign in the skew product."""
    c, x = randn(rng, n, dtype=dtype), randn(rng, 2, n, dtype=dtype)
    want = torch.zeros(2, n, dtype=dtype)
    for i in range(n):
        for j in range(n):
            want[:, i] += (1 if i >= j else basis.corner) * c[i - j] * x[:, j]
    F = basis(n, c)
    for m in (n, n // 2, 1):  # fewer samples are the first ones
        torch.testing.assert_close(multiply(F, F.forward(c), x, m), want[:, :m])


@pytest.mark.parametrize("n", [8192, 16384, 16000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_long_vector_is_no_exception(n, dtype, rng):
    """It takes a transform of two vectors where that is faster."""
    F = fft.Circular(n, torch.empty(0, dtype=dtype))
    g, x = F.forward(randn(rng, n, dtype=dtype) / n**0.5), randn(rng, 3, n, dtype=dtype)
    y = multiply(F, g, x, n)
    torch.testing.assert_close(torch.stack([multiply(F, g, one, n) for one in x]), y)
    torch.testing.assert_close(multiply(F, g, x[:1], n), y[:1])


@pytest.mark.parametrize("rows", [(), (2,)])
def test_a_shorter_vector_is_continued_by_zeros(rows, rng):
    """Long and alone, too, which takes a way of its own."""
    x = randn(rng, *rows, 3 * 2**14)
    torch.testing.assert_close(fft.Circular(2**16, x).forward(x), torch.fft.rfft(x, n=2**16))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 6), (6, 1), (5, 7), (8, 4), (13, 13)])
def test_window(m, n, dtype, rng):
    """y_i = sum_j t_{i-j+n-1} x_j."""
    t, x = randn(rng, m + n - 1, dtype=dtype), randn(rng, 2, n, dtype=dtype)
    want = torch.stack([sum(t[i - j + n - 1] * x[:, j] for j in range(n)) for i in range(m)], -1)
    torch.testing.assert_close(multiply(*embedded(t, m), x, m), want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("p", "q", "b"), [(1, 1, 1), (1, 1, 5), (2, 3, 4), (3, 2, 1), (2, 2, 7)])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
def test_block_circular(p, q, b, batch, dtype, rng):
    k, x = randn(rng, p, q, b, dtype=dtype), randn(rng, *batch, q, b, dtype=dtype)
    want = torch.stack([sum(Circulant(k[i, j]).apply(x[..., j, :]) for j in range(q)) for i in range(p)], -2)
    x, want = x.flatten(-2), want.flatten(-2)
    torch.testing.assert_close(BlockCirculant(k).apply(x), want)
    stacked = BlockCirculant(torch.stack([k, 2 * k])).apply(x[..., None, :])  # a batch of kernels
    torch.testing.assert_close(stacked, torch.stack([want, 2 * want], -2))


@pytest.mark.parametrize("n", SIZES)
def test_correlation_is_the_adjoint(n, rng):
    """The gradient of <g, Z_1(c) x> for c, summed over the rows."""
    c, x, g = randn(rng, n).requires_grad_(), randn(rng, 5, n), randn(rng, 5, n)
    (want,) = torch.autograd.grad((g * Circulant(c).apply(x)).sum(), c)
    torch.testing.assert_close(fft.correlation(g, x, n), want)


@pytest.mark.parametrize(("p", "q", "b"), [(1, 1, 5), (2, 3, 4), (3, 2, 1)])
def test_block_correlation_is_the_adjoint(p, q, b, rng):
    k, x, g = randn(rng, p, q, b).requires_grad_(), randn(rng, 6, q, b), randn(rng, 6, p, b)
    (want,) = torch.autograd.grad((g.flatten(-2) * BlockCirculant(k).apply(x.flatten(-2))).sum(), k)
    torch.testing.assert_close(fft.block_correlation(g, x), want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=str)
def test_twist_is_as_precise_as_its_numbers(dtype, default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        eta = fft.twist(9, torch.ones(9, dtype=dtype))
    finally:
        torch.set_default_dtype(before)
    assert eta.dtype == (torch.complex128 if dtype in (torch.float64, torch.complex128) else torch.complex64)
    eps = torch.finfo(eta.dtype).eps
    assert abs(complex(eta[1]) ** 9 + 1) < 50 * eps


def test_half_precision_is_computed_in_float32():
    wanted = {torch.bfloat16: torch.float32, torch.float16: torch.float32, torch.complex64: torch.complex64}
    assert {dtype: fft.computing_dtype(dtype) for dtype in wanted} == wanted


def test_good_lengths_are_the_next_ones_with_small_prime_factors_and_many_twos():
    smooth = sorted(2**a * 3**b * 5**c for a in range(3, 14) for b in range(9) for c in range(6))
    lengths = iter(smooth)
    current = next(lengths)
    for least in range(1, 5000):
        while current < least:
            current = next(lengths)
        assert fft.good_length(least) == current


def test_flops_of_one_transform():
    assert fft.flops(1024, complex_=True) == 5 * 1024 * 10
    assert fft.flops(1024) == fft.flops(1024, complex_=True) // 2
    assert fft.flops(1) > 0


def test_lengths_that_suit_an_fft():
    assert [n for n in range(1, 47) if fft.fast(n)] == [n for n in range(2, 46, 2) if n not in (34, 38)]
    assert fft.fast(2 * 13**5)
    assert not fft.fast(2**20 + 2)
