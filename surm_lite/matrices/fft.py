"""The only place that calls ``torch.fft``.

A circulant is diagonal in the Fourier basis and a skew-circulant in a twisted one. The two bases know how to be fast;
what is multiplied in them stands in the families. Correlations, which are the adjoints of products, follow.
"""

from __future__ import annotations

from math import log2, pi

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Inexact
from torch import Tensor

CACHED = 2**18
"""Numbers that a CPU core keeps in cache while it transforms them: 1 MB of float32."""


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype an FFT runs in: half and bfloat16 are cast up to float32 (no CPU has an FFT for them)."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class Circular:
    """The basis in which the circulants of one size are diagonal; real numbers go through real transforms.

    Args:
        length: n, the size of the circulants.
        like: a tensor of the dtype and on the device of the numbers to come.
    """

    corner = 1

    def __init__(self, length: int, like: Tensor) -> None:
        self.length, self.real = length, not like.is_complex()

    def forward(self, x: Inexact[Tensor, "*batch n"]) -> Complex[Tensor, "*batch f"]:
        """The spectrum of x; a shorter x is continued by zeros."""
        n = None if x.shape[-1] == self.length else self.length  # a length that is said costs time
        if not self.real:
            return torch.fft.fft(x, n=n)
        if long_and_alone(x):
            return torch.fft.rfft(x.expand(2, *x.shape), n=n)[0]
        return torch.fft.rfft(x, n=n)

    def inverse(self, X: Complex[Tensor, "*batch f"], m: int) -> Inexact[Tensor, "*batch m"]:
        """The first m samples that belong to a spectrum."""
        if not self.real:
            y = torch.fft.ifft(X)
        elif long_and_alone(X):
            y = torch.fft.irfft(X.expand(2, *X.shape), n=self.length)[0]
        else:
            y = torch.fft.irfft(X, n=self.length)  # without n= an odd length would lose a sample
        return y if m == self.length else y[..., :m]

    @staticmethod
    def flops(length: int, complex_: bool) -> tuple[int, int]:
        """Real operations of one transform, and of one product of spectra."""
        return flops(length, complex_), 6 * (length if complex_ else length // 2 + 1)


class Skew:
    """The basis in which the skew-circulants of one size are diagonal: a twist, then a Fourier transform.

    Real numbers of even length 2h fold into ``z = x[:h] + i x[h:]``: with ``t^2h + 1 = (t^h - i)(t^h + i)``, one of two
    conjugate factors says it all, and Z_-1(c) acts on z as the i-circulant of half the size does. So transforms have
    half the length, and an x of at most h numbers needs no zeros behind it.

    Args:
        length: the size of the skew-circulants; even if they are real.
        like: a tensor of the dtype and on the device of the numbers to come.
    """

    corner = -1

    def __init__(self, length: int, like: Tensor) -> None:
        self.length, self.real = length, not like.is_complex()
        self.folded = length // 2 if self.real else length
        self.twist = twist(length, like)[: self.folded]
        self.untwist = self.twist.conj().resolve_conj()

    def forward(self, x: Inexact[Tensor, "*batch n"]) -> Complex[Tensor, "*batch f"]:
        """The spectrum of x; a shorter x is continued by zeros."""
        if x.shape[-1] > self.folded:
            if x.shape[-1] < self.length:
                x = F.pad(x, (0, self.length - x.shape[-1]))
            x = torch.complex(x[..., : self.folded], x[..., self.folded :])
        return torch.fft.fft(first(x.shape[-1], self.twist) * x, n=self.folded)

    def inverse(self, X: Complex[Tensor, "*batch f"], m: int) -> Inexact[Tensor, "*batch m"]:
        """The first m samples that belong to a spectrum."""
        y = self.untwist * torch.fft.ifft(X)
        if self.real:
            y = y.real if m <= self.folded else torch.cat([y.real, y.imag], dim=-1)
        return first(m, y)

    @staticmethod
    def flops(length: int, complex_: bool) -> tuple[int, int]:
        """Real operations of one transform, and of one product of spectra."""
        folded = length if complex_ else length // 2
        return flops(folded, complex_=True) + 6 * folded, 6 * folded


Basis = Circular | Skew


def first(n: int, x: Tensor) -> Tensor:
    """The first n numbers along the last axis."""
    return x if x.shape[-1] == n else x[..., :n]


def fast(n: int) -> bool:
    """Whether an FFT of length n takes less than twice the time of its neighbours: even, no prime factor above 13."""
    n = int(n)  # torch.jit.trace hands sizes on as tensors
    return n % 2 == 0 and pow(2 * 3 * 5 * 7 * 11 * 13, 64, n) == 0


def long_and_alone(x: Tensor) -> bool:
    """One long real vector (or its spectrum) on a CPU with MKL, which transforms two in half the time of one."""
    if torch.compiler.is_exporting() or x.numel() < 2**12:  # the usual case, at the least expense
        return False  # and an exported graph is to serve any number of rows
    return (
        x.numel() == x.shape[-1] and x.nbytes >= 2**16 and x.device.type == "cpu" and torch.backends.mkl.is_available()
    )


def unwatched(*tensors: Tensor) -> bool:
    """Whether results may be kept or written in place: no graph, functorch transform, trace or inference tensor."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    grad = torch.is_grad_enabled()
    return not any((grad and t.requires_grad) or t.is_inference() for t in tensors)


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
        rows = CACHED // (2 * length * max(g.shape[1:-1].numel(), x.shape[1:-1].numel()))  # 2: g and x
    spectrum: Tensor | float = 0.0
    for gs, xs in zip(g.split(max(1, rows)), x.split(max(1, rows))):
        spectrum = spectrum + torch.linalg.vecdot(torch.fft.rfft(xs, n=length), torch.fft.rfft(gs, n=length), dim=0)
    return spectrum  # type: ignore[return-value]  # there is at least one chunk


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
    angle = pi / n * torch.arange(n, dtype=real, device=like.device)
    return torch.polar(torch.ones_like(angle), angle)


def good_length(least: int) -> int:
    """The smallest ``8 * 2^a 3^b 5^c`` >= least: a length at which an FFT is fast (in MKL, few twos are slow)."""
    least = int(least)  # torch.jit.trace hands sizes on as tensors
    eighth = -(-least // 8)
    best = 1 << (eighth - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            best = min(best, three << (-(-eighth // three) - 1).bit_length())  # times the smallest 2^a that suffices
            three *= 3
        five *= 5
    return 8 * best


def flops(n: int, complex_: bool = False) -> int:
    """Real operations of one FFT of length n, by the usual estimate 5 n log2 n (half of it for real input)."""
    return round((5.0 if complex_ else 2.5) * n * max(1.0, log2(n)))
