"""The fast Fourier transform as a product of sparse matrices."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from surm_lite.matrices.arguments import check_draw


def dft_butterflies(
    n: int, *, dtype: torch.dtype = torch.complex128, device: torch.device | str | None = None
) -> tuple[list[Tensor], Tensor]:
    """The DFT matrix as log2(n) butterfly factors after one reordering.

    ``F_n = B_L ... B_2 B_1 P``: P puts the entries in bit-reversed order, and layer s mixes entries 2^(s-1) apart,
    each pair by ``[[1, w], [1, -w]]``. Every factor has two non-zeros a row: 2 n log2(n) numbers instead of n^2.

    Args:
        n: a power of two.
        dtype: complex.
        device: where to build the factors.

    Returns:
        The factors [B_1, ..., B_L], sparse (n, n) tensors in the order in which they act, and the bit-reversed order
        (n,): ``fft(x) = B_L @ ... @ B_1 @ x[order]``.

    Raises:
        TypeError: dtype is not complex.
        ValueError: n is not a power of two.

    Cost:
        2 n log2(n) numbers.

    Example:
        >>> factors, order = dft_butterflies(8)
        >>> x = torch.arange(8.0).to(torch.complex128)
        >>> y = x[order]
        >>> for B in factors:
        ...     y = B @ y
        >>> torch.allclose(y, torch.fft.fft(x)), sum(B._nnz() for B in factors)
        (True, 48)

    Source:
        Cooley and Tukey (1965); Dao et al. (2019), section 2.

    Taught in:
        13_outside_the_tent
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n < 2**31 or n & (n - 1):
        raise ValueError(f"n is {n!r}; it must be a power of two, below 2^31")
    check_draw(dtype, device, None)
    if not dtype.is_complex:
        raise TypeError(f"dtype is {dtype}; it must be complex")
    factors, order, half = [], torch.zeros(1, dtype=torch.long, device=device), 1
    while half < n:
        order = torch.cat([2 * order, 2 * order + 1])  # even-numbered samples first, at every scale
        j = torch.arange(n // 2, device=device)
        top = (j // half) * 2 * half + j % half  # the first entry of each pair; the second is half further on
        w = torch.exp(-1j * pi / half * (j % half).to(torch.float64)).to(dtype)
        one = torch.ones_like(w)
        rows = torch.cat([top, top, top + half, top + half])
        columns = torch.cat([top, top + half, top, top + half])
        values = torch.cat([one, w, one, -w])
        factors.append(torch.sparse_coo_tensor(torch.stack([rows, columns]), values, (n, n), check_invariants=True))
        half *= 2
    return factors, order
