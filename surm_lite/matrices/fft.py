"""The only place that calls ``torch.fft``.

Four products along the last axis, a few lines each: circular (f = 1), skew-circular (f = -1), the window of a plain
convolution that a rectangular Toeplitz matrix needs, and blocks of circulants. All FFT families are built of them.
"""

from math import log2, pi

import torch
from jaxtyping import Complex, Inexact
from torch import Tensor

CACHED = 100_000
"""Numbers that a CPU core keeps in cache while it transforms them: 400 kB of float32."""


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype an FFT runs in: half and bfloat16 are cast up to float32 (no CPU has an FFT for them)."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def circular_product(
    c: Inexact[Tensor, "*#batch n"], x: Inexact[Tensor, "*#batch n"], total: bool = False
) -> Inexact[Tensor, "*#result n"]:
    """``Z_1(c) x``: the circulant with first column c times x. One product of spectra.

    With ``total`` the second last axis is summed too, before the inverse transform: one of those instead of many.
    """
    if c.is_complex() or x.is_complex():
        return torch.fft.ifft(_maybe_sum(torch.fft.fft(c) * torch.fft.fft(x), total))
    spectrum = _maybe_sum(torch.fft.rfft(c) * torch.fft.rfft(x), total)
    return torch.fft.irfft(spectrum, n=x.shape[-1])  # without n= an odd length would lose a sample


def skew_product(
    c: Inexact[Tensor, "*#batch n"], x: Inexact[Tensor, "*#batch n"], total: bool = False
) -> Inexact[Tensor, "*#result n"]:
    """``Z_-1(c) x``: twist by the n-th root of -1, multiply as a circulant, untwist. ``total`` as above."""
    eta = twist(x.shape[-1], x)
    spectrum = _maybe_sum(torch.fft.fft(eta * c) * torch.fft.fft(eta * x), total)
    y = eta.conj() * torch.fft.ifft(spectrum)
    return y if c.is_complex() or x.is_complex() else y.real


def window_product(
    t: Inexact[Tensor, "*#batch d"], x: Inexact[Tensor, "*#batch n"], m: int
) -> Inexact[Tensor, "*#result m"]:
    """``y[i] = sum_j t[i - j + n - 1] x[j]`` for i < m: a Toeplitz product by circulant embedding.

    t holds the m + n - 1 diagonals from the top-right corner to the bottom-left one. Any length >= m + n - 1 keeps the
    m wanted samples free of wrap-around, so the next length with small prime factors is taken.
    """
    n, length = x.shape[-1], good_length(m + x.shape[-1] - 1)
    if t.is_complex() or x.is_complex():
        y = torch.fft.ifft(torch.fft.fft(t, n=length) * torch.fft.fft(x, n=length))
    else:
        y = torch.fft.irfft(torch.fft.rfft(t, n=length) * torch.fft.rfft(x, n=length), n=length)
    return y[..., n - 1 : n - 1 + m]


def block_circular_product(
    k: Inexact[Tensor, "*#batch p q b"], x: Inexact[Tensor, "*#batch q b"]
) -> Inexact[Tensor, "*#result p b"]:
    """``y_p = sum_q Z_1(k_pq) x_q``: at each frequency, a small p x q matrix times a vector."""
    if k.is_complex() or x.is_complex():
        return torch.fft.ifft(_at_each_frequency(torch.fft.fft(k), torch.fft.fft(x)))
    return torch.fft.irfft(_at_each_frequency(torch.fft.rfft(k), torch.fft.rfft(x)), n=x.shape[-1])


def correlation(g: Inexact[Tensor, "rows m"], x: Inexact[Tensor, "rows n"], length: int) -> Inexact[Tensor, " length"]:
    """``R[k] = sum over rows and i of g[i] x[i - k]``, indices modulo ``length``: the adjoint of a sum of shifts.

    Rows are real, padded with zeros to ``length``. Everything is summed before the one inverse transform.
    """
    return torch.fft.irfft(_cross_spectrum(g, x, length), n=length)


def block_correlation(g: Inexact[Tensor, "rows p b"], x: Inexact[Tensor, "rows q b"]) -> Inexact[Tensor, "p q b"]:
    """The circular correlation of every block of g with every block of x, summed over rows: real input."""
    (p, b), q = g.shape[1:], x.shape[1]
    if 1 in (p, q):
        return torch.fft.irfft(_cross_spectrum(g[:, :, None], x[:, None], b), n=b)
    G, X = torch.fft.rfft(g).permute(2, 1, 0), torch.fft.rfft(x).permute(2, 0, 1)  # (f, p, rows), (f, rows, q)
    return torch.fft.irfft((G @ X.conj()).permute(1, 2, 0), n=b)


def _cross_spectrum(g: Tensor, x: Tensor, length: int) -> Tensor:
    """``sum over rows of rfft(g) conj(rfft(x))``; on a CPU in chunks that stay in cache, which is twice as fast."""
    rows = g.shape[0]
    if g.device.type == "cpu":
        rows = CACHED // (length * max(g.shape[1:-1].numel(), x.shape[1:-1].numel()))
    spectrum: Tensor | float = 0.0
    for gs, xs in zip(g.split(max(1, rows)), x.split(max(1, rows))):
        spectrum = spectrum + torch.linalg.vecdot(torch.fft.rfft(xs, n=length), torch.fft.rfft(gs, n=length), dim=0)
    return spectrum  # type: ignore[return-value]  # there is at least one chunk


def _at_each_frequency(K: Tensor, X: Tensor) -> Tensor:
    """(..., p, q, f) times (..., q, f) -> (..., p, f). An unbatched K is one batched matmul with f as its batch."""
    if K.ndim == 3 and X.ndim > 2:
        flat = X.flatten(0, -3).permute(2, 1, 0)  # (f, q, vectors)
        Y = K.permute(2, 0, 1) @ flat  # (f, p, vectors)
        return Y.permute(2, 1, 0).unflatten(0, X.shape[:-2])  # (..., p, f)
    return (K * X[..., None, :, :]).sum(-2)


def _maybe_sum(spectrum: Tensor, total: bool) -> Tensor:
    return spectrum.sum(-2) if total else spectrum


def spectrum(v: Inexact[Tensor, "*batch n"], twisted: bool = False) -> Complex[Tensor, "*batch n"]:
    """Eigenvalues of the circulant, or (``twisted``) of the skew-circulant, with first column v."""
    return torch.fft.fft(twist(v.shape[-1], v) * v if twisted else v)


def column(spectrum: Complex[Tensor, "*batch n"], twisted: bool = False) -> Complex[Tensor, "*batch n"]:
    """The inverse of ``spectrum``: the first column of the (skew-)circulant with these eigenvalues."""
    v = torch.fft.ifft(spectrum)
    return twist(v.shape[-1], v).conj() * v if twisted else v


def mixed_transform(W: Inexact[Tensor, "n n"]) -> Complex[Tensor, "n n"]:
    """``F W D* F^-1``: circulants from the left and skew-circulants from the right become diagonal. Keeps the norm."""
    return torch.fft.fft(torch.fft.ifft(W * twist(W.shape[1], W).conj(), dim=1), dim=0)


def twist(n: int, like: Tensor) -> Complex[Tensor, " n"]:
    """``exp(i pi k / n)``, k = 0 .. n-1: the diagonal that turns a skew-circulant into a circulant."""
    real = torch.empty((), dtype=like.dtype).abs().dtype  # float32 for complex64, float64 for complex128
    return torch.exp(1j * pi / n * torch.arange(n, dtype=real, device=like.device))


def good_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c that is >= least: a length at which an FFT is fast."""
    best = 1 << (least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            best = min(best, three << (-(-least // three) - 1).bit_length())  # times the smallest 2^a that suffices
            three *= 3
        five *= 5
    return best


def flops(n: int, complex_: bool = False) -> int:
    """Real operations of one FFT of length n, by the usual estimate 5 n log2 n (half of it for real input)."""
    return round((5.0 if complex_ else 2.5) * n * max(1.0, log2(n)))
