"""The closest matrix of displacement rank r: a weighted low-rank approximation, seen in Fourier space.

Circulants are diagonal in the Fourier basis F and skew-circulants in the twisted basis F D. Seen from both sides, a
sum of r circulant x skew-circulant products is a rank-r matrix times, entry by entry, one fixed kernel K = F D* F^-1:

    C = F W D* F^-1,   C[k, l] = K[k, l] sum_i ghat_i[k] hhat_i[l],   |K[k, l]| = 1 / (n |sin(pi (2k - 2l + 1) / 2n)|).

So the best W(G, H) is the best rank-r approximation of C / K with weights |K|^2. With equal weights that would be one
SVD. With these, alternate: for fixed H each row k is a least-squares problem in r unknowns, for fixed G each column.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from surm_lite.matrices.algorithms.displacement import generators, recover
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.fft import column, mixed_transform, spectrum


def fit_ldr(W: Inexact[Tensor, "n n"], rank: int, sweeps: int = 50) -> LDR:
    """An LDR with r terms close to W; its error never grows with r, because each r starts from the fit for r - 1.

    Two starts compete at each r: the fit for r - 1 and one more term, and the leading generators of W itself, which are
    already the answer where W has displacement rank r. The result is a local optimum.

    Args:
        W: (n, n), real or complex.
        rank: r, in 1 .. n.
        sweeps: alternating least-squares sweeps at each r.

    Returns:
        The operator.

    Cost:
        O(r^2 n^2) a sweep and O(n^3) for each new term; O(n^2) memory.
    """
    kernel = mixed_transform(torch.eye(W.shape[0], dtype=W.dtype, device=W.device))  # W = I gives K itself
    ratio, weight = mixed_transform(W) / kernel, kernel.abs().square()

    def sweep(S: LDR, times: int) -> LDR:
        h = spectrum(S.H, twisted=True)
        for _ in range(times):
            g = _rows(ratio, weight, h)
            h = _rows(ratio.mT, weight.mT, g)
        G, H = column(g), column(h, twisted=True)
        return LDR(G, H) if W.is_complex() else LDR(G.real, H.real)

    def error(S: LDR) -> float:
        return float(torch.linalg.matrix_norm(W - S.to_dense()))

    fitted = sweep(recover(*generators(W, rank=1)), sweeps)
    for r in range(2, rank + 1):
        term = recover(*generators(W - fitted.to_dense(), rank=1))
        grown = LDR(torch.cat([fitted.G, term.G]), torch.cat([fitted.H, term.H]))
        cut = recover(*generators(W, rank=r))
        # After one sweep the grown start is no worse than the fit for r - 1, so neither is the better of the two.
        fitted = sweep(min((sweep(start, 1) for start in (grown, cut)), key=error), sweeps)
    return fitted


def _rows(A: Complex[Tensor, "n n"], weight: Float[Tensor, "n n"], h: Complex[Tensor, "r n"]) -> Complex[Tensor, "r n"]:
    """The g that minimises ``sum_kl weight[k, l] |A[k, l] - sum_i g_i[k] h_i[l]|^2``: one r x r system for each k."""
    r = h.shape[0]
    pairs = h.conj()[:, None, :] * h  # (r, r, n)
    normal = (pairs.flatten(0, 1) @ weight.mT.to(h.dtype)).mT.unflatten(1, (r, r))  # (n, r, r)
    right = (h.conj() @ (weight * A).mT).mT  # (n, r)
    # A ridge at rounding level: parallel terms (the gauge allows them), or zero ones, must not divide by zero.
    limits = torch.finfo(weight.dtype)
    ridge = limits.eps * r * normal.diagonal(dim1=1, dim2=2).real.sum(-1) + limits.tiny
    normal = normal + ridge[:, None, None] * torch.eye(r, dtype=h.dtype, device=h.device)
    return torch.linalg.solve(normal, right).mT
