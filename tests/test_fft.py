"""The FFT products of ``matrices/fft.py`` against plain sums, and the lengths at which they run."""

import pytest
import torch

from surm_lite.matrices import fft

SIZES = [1, 2, 3, 4, 5, 12, 13, 31, 32]
DTYPES = [torch.float64, torch.complex128]


def randn(rng, *shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=rng)


@pytest.mark.parametrize("xtype", DTYPES, ids=str)
@pytest.mark.parametrize("ctype", DTYPES, ids=str)
@pytest.mark.parametrize("n", SIZES)
def test_circular_and_skew(n, ctype, xtype, rng):
    """y_i = sum_j c_{i-j} x_j, and the wrapped-around terms change sign in the skew product."""
    c, x = randn(rng, n, dtype=ctype), randn(rng, 2, n, dtype=xtype)
    plain, skew = torch.zeros(2, 2, n, dtype=torch.promote_types(ctype, xtype))
    for i in range(n):
        for j in range(n):
            plain[:, i] += c[i - j] * x[:, j]
            skew[:, i] += (1 if i >= j else -1) * c[i - j] * x[:, j]
    torch.testing.assert_close(fft.circular_product(c, x), plain)
    torch.testing.assert_close(fft.skew_product(c, x), skew)


@pytest.mark.parametrize("product", [fft.circular_product, fft.skew_product])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_total_sums_before_the_inverse_transform(product, dtype, rng):
    c, x = randn(rng, 3, 7, dtype=dtype), randn(rng, 2, 3, 7, dtype=dtype)
    torch.testing.assert_close(product(c, x, total=True), product(c, x).sum(-2))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 6), (6, 1), (5, 7), (8, 4), (13, 13)])
def test_window(m, n, dtype, rng):
    """y_i = sum_j t_{i-j+n-1} x_j."""
    t, x = randn(rng, m + n - 1, dtype=dtype), randn(rng, 2, n, dtype=dtype)
    want = torch.stack([sum(t[i - j + n - 1] * x[:, j] for j in range(n)) for i in range(m)], -1)
    torch.testing.assert_close(fft.window_product(t, x, m), want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("p", "q", "b"), [(1, 1, 1), (1, 1, 5), (2, 3, 4), (3, 2, 1), (2, 2, 7)])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
def test_block_circular(p, q, b, batch, dtype, rng):
    k, x = randn(rng, p, q, b, dtype=dtype), randn(rng, *batch, q, b, dtype=dtype)
    want = torch.stack([sum(fft.circular_product(k[i, j], x[..., j, :]) for j in range(q)) for i in range(p)], -2)
    torch.testing.assert_close(fft.block_circular_product(k, x), want)
    stacked = fft.block_circular_product(torch.stack([k, 2 * k]), x[..., None, :, :])  # a batch of kernels
    torch.testing.assert_close(stacked, torch.stack([want, 2 * want], -3))


@pytest.mark.parametrize("n", SIZES)
def test_correlation_is_the_adjoint(n, rng):
    """The gradient of <g, circular_product(c, x)> for c, summed over the rows."""
    c, x, g = randn(rng, n).requires_grad_(), randn(rng, 5, n), randn(rng, 5, n)
    (want,) = torch.autograd.grad((g * fft.circular_product(c, x)).sum(), c)
    torch.testing.assert_close(fft.correlation(g, x, n), want)


@pytest.mark.parametrize(("p", "q", "b"), [(1, 1, 5), (2, 3, 4), (3, 2, 1)])
def test_block_correlation_is_the_adjoint(p, q, b, rng):
    k, x, g = randn(rng, p, q, b).requires_grad_(), randn(rng, 6, q, b), randn(rng, 6, p, b)
    (want,) = torch.autograd.grad((g * fft.block_circular_product(k, x)).sum(), k)
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


def test_good_lengths_are_the_next_ones_with_small_prime_factors():
    smooth = sorted(2**a * 3**b * 5**c for a in range(14) for b in range(9) for c in range(6))
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
