"""Structured linear systems: every family goes the shortest way to a Cauchy-like system, and that one is eliminated."""

from __future__ import annotations

import cmath
import warnings
from collections.abc import Callable
from functools import partial, singledispatch
from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.algorithms.gko import SingularMatrixError, eliminate
from surm_lite.matrices.algorithms.normalise import normalised
from surm_lite.matrices.algorithms.to_ldr import as_ldr
from surm_lite.matrices.arguments import Number, check_finite, check_tensor
from surm_lite.matrices.base import StructuredMatrix, check_matrix
from surm_lite.matrices.families.cauchy import Cauchy, CauchyLike
from surm_lite.matrices.families.circulant import Circulant, SkewCirculant
from surm_lite.matrices.families.kronecker import Kronecker
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.toeplitz import ByDiagonals, Hankel, Toeplitz
from surm_lite.matrices.families.vandermonde import TransposedVandermonde, Vandermonde
from surm_lite.matrices.scale import exponents, rescaled, shifted

Solver = Callable[[Tensor], Tensor]


class ResidualWarning(UserWarning):
    """A solution whose residual is larger than rounding explains; the message states it."""


def solve(operator: StructuredMatrix, b: Tensor) -> Tensor:
    """The solution of a structured linear system, without forming the matrix.

    ``M x = b``. Toeplitz-, Hankel- and Vandermonde-like matrices become Cauchy-like by Fourier transforms, where rows
    may be exchanged: GKO, elimination with partial pivoting on generators. Circulants are divided in Fourier space, a
    Kronecker product is solved factor by factor. If the residual is more than rounding, one step of refinement follows.

    Args:
        operator: M, (n, n), without batch dimensions: Toeplitz, symmetric Toeplitz, f-circulant, Hankel, Vandermonde or
            its transpose, Cauchy, Cauchy-like, LDR, circulant, skew-circulant, Kronecker.
        b: (n,) or (n, k), k right-hand sides, as for ``torch.linalg.solve``.

    Returns:
        x, of the shape of b. Autograd flows to b and to the numbers of M, by one solve with the transpose.

    Raises:
        TypeError: operator is no structured matrix, its family has no structured solver here, or b is not a floating or
            complex tensor.
        SingularMatrixError: M is singular to working precision; a ValueError.
        ValueError: M is not square or has batch dimensions, b does not fit, one of them is not finite, or the solution
            has numbers that the dtype does not hold.

    Warns:
        ResidualWarning: ``|M x - b| / |b|`` exceeds the square root of the precision: M is close to singular.

    Cost:
        O(r n^2) time and O((r + k) n) memory with displacement rank r; O(n log n) for circulants.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> T = Toeplitz(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 3.0, 1.0]))  # Levinson fails here
        >>> torch.allclose(T @ solve(T, torch.ones(3)), torch.ones(3))
        True

    Source:
        Gohberg, Kailath and Olshevsky (1995); the storage of O(r n) follows Poloni (2010).

    Taught in:
        12_solving_fast
    """
    check_matrix(operator, "operator")
    M = operator
    m, n = M.shape
    check_tensor(b, "b", 1, "solve")
    if m != n or M.batch_shape:
        raise ValueError(f"operator is {m} x {n} with batch {tuple(M.batch_shape)}; solve needs one square matrix")
    if b.ndim > 2 or b.shape[0] != n:
        raise ValueError(f"b has shape {tuple(b.shape)}; for a {n} x {n} system it must be ({n},) or ({n}, k)")
    if b.device != M.device:
        raise ValueError(f"b is on {b.device}, but operator is on {M.device}")
    check_finite(b=b, **{f"{name} of operator": t for name, t in zip(M.fields, M.tensors)})
    dtype = torch.promote_types(M.dtype, b.dtype)
    inner = fft.computing_dtype(dtype)
    M, B = M.to(inner), (b[None] if b.ndim == 1 else b.mT).to(inner)
    x = _solve(M.with_tensors(*(v.detach() for v in M.tensors)), B.detach())
    if any(v.requires_grad for v in (*M.tensors, B)):
        x = x + _Implicit.apply(B - M.apply(x), M)  # type: ignore[no-untyped-call]
    x = rescaled(x, 0, "the solution", dtype)
    return x[0] if b.ndim == 1 else x.mT


def _solve(M: StructuredMatrix, B: Tensor) -> Tensor:
    """X (k, n) with M X[i] = B[i], found where all numbers are near one: on the way there, numbers are squared."""
    if B.numel() == 0:
        return B.clone()
    M, size = normalised(M)
    sizes = exponents(B)
    B = shifted(B, [-k for k in sizes])
    inverse = solver(M)
    norms = torch.linalg.vector_norm(B, dim=-1)
    eps = torch.finfo(B.dtype).eps

    def residual(X: Tensor) -> float:
        ratios = torch.linalg.vector_norm(B - M.apply(X), dim=-1) / norms
        return float(torch.where(norms > 0, ratios, 0).max())

    X = inverse(B)
    error = residual(X)
    if error > 100 * eps * sqrt(B.shape[-1]):
        refined = X + inverse(B - M.apply(X))
        again = residual(refined)
        X, error = (refined, again) if again < error else (X, error)
    if not error < sqrt(eps):
        warnings.warn(f"|Mx - b| / |b| is {error:.1e}: the matrix is close to singular", ResidualWarning, stacklevel=3)
    return rescaled(X, [k - size for k in sizes], "the solution")


@torch.no_grad()
def check_inverse(M: StructuredMatrix, R: StructuredMatrix, advice: str) -> None:
    """Warns unless ``M R b = b`` for a chirp b, whose spectrum is blind in no direction: one product with each."""
    k = torch.arange(M.shape[0], dtype=fft.computing_dtype(M.dtype).to_real(), device=M.device)
    b, eps = torch.cos(k * k), torch.finfo(M.dtype).eps
    (M, size), (R, other) = normalised(M), normalised(R)
    seen = shifted(M.apply(R.apply(b)), size + other)
    error = float(torch.linalg.vector_norm(seen - b) / torch.linalg.vector_norm(b))
    if not error < sqrt(eps):
        warnings.warn(f"|M R b - b| / |b| is {error:.1e} for the inverse R: {advice}", ResidualWarning, stacklevel=3)


class _Implicit(torch.autograd.Function):
    """Adds nothing to a solution but its derivative: ``dx = M^-1 (db - dM x)``."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, M: StructuredMatrix) -> Tensor:
        ctx.M = M.with_tensors(*(v.detach() for v in M.tensors))
        return torch.zeros_like(residual)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _solve(ctx.M.T, grad.conj().resolve_conj()).conj(), None


@singledispatch
def solver(M: StructuredMatrix) -> Solver:
    """B (k, n) -> X (k, n), for M of one family."""
    raise TypeError(
        f"solve has no structured method for {type(M).__name__}; torch.linalg.solve(M.to_dense(), b) is the dense one"
    )


@solver.register
def _cauchy_like(M: CauchyLike) -> Solver:
    return partial(eliminate, *M.tensors)


@solver.register
def _cauchy(M: Cauchy) -> Solver:
    return _cauchy_like(CauchyLike(M.s, M.t, torch.ones_like(M.s)[None], torch.ones_like(M.t)[None]))


@solver.register
def _ldr(M: LDR) -> Solver:
    """``C = F_e M F_f^-1`` with ``Z_e = F_e^-1 diag F_e``: Fourier transforms, plain and twisted."""
    M = M if {M.e, M.f} == {1, -1} else M.under((1, -1))
    n, twisted = M.shape[0], M.e == -1
    plain = torch.exp(-2j * pi / n * torch.arange(n, dtype=M.dtype.to_real(), device=M.device))
    nodes: dict[Number, Tensor] = {1: plain, -1: cmath.exp(1j * pi / n) * plain}
    G, H = M.generators()
    g = fft.spectrum(G.to(plain.dtype), twisted)
    eta = 1 if twisted else fft.twist(n, G).conj()  # F_f^-T H: untwist first, as F D transposed is D F
    h = fft.column((eta * H).to(plain.dtype))

    def inverse(B: Tensor) -> Tensor:
        z = eliminate(nodes[M.e], nodes[M.f], g, h, fft.spectrum(B.to(plain.dtype), twisted))
        return _like(fft.column(z, not twisted), B)

    return inverse


@solver.register
def _by_diagonals(M: ByDiagonals) -> Solver:
    return _ldr(as_ldr(M))


@solver.register
def _hankel(M: Hankel) -> Solver:
    """``H J`` is Toeplitz, with the antidiagonals of H as its diagonals."""
    h, n = M.antidiagonals(), M.shape[0]
    inverse = _by_diagonals(Toeplitz(h[n - 1 :], h[:n].flip(-1)))
    return lambda B: inverse(B).flip(-1)


@solver.register
def _vandermonde(M: Vandermonde) -> Solver:
    C, eta = _without_shift(M)
    return lambda B: _like(eta.conj() * fft.column(_cauchy_like(C)(B.to(C.dtype))), B)


@solver.register
def _transposed_vandermonde(M: TransposedVandermonde) -> Solver:
    C, eta = _without_shift(M.T)
    return lambda B: _like(_cauchy_like(C.T)(fft.column(eta.conj() * B)), B)


def _without_shift(V: Vandermonde) -> tuple[CauchyLike, Tensor]:
    """``C = V (F D)^-1``, Cauchy-like of rank 1, and D: ``Z_f = (F D)^-1 diag F D`` for any f of modulus one.

    ``D_s V - V Z_f = (s^n - f) e_n^T``, so of 32 candidates the f farthest from all s^n is taken.
    """
    n = V.shape[0]
    s = V.nodes.to(V.dtype.to_complex())
    candidates = torch.exp(2j * pi / 32 * (torch.arange(32, dtype=V.dtype.to_real(), device=V.device) + 0.5))
    G = s**n - candidates[:, None]  # (32, n)
    best = G.abs().amin(-1).argmax()
    angle = candidates[best].angle() / n
    k = torch.arange(n, dtype=V.dtype.to_real(), device=V.device)
    eta, nodes = torch.exp(1j * angle * k), torch.exp(1j * (angle - 2 * pi / n * k))
    last = torch.zeros_like(s)
    last[-1] = 1
    return CauchyLike(s, nodes, G[best][None], fft.column(eta.conj() * last)[None]), eta


@solver.register(Circulant)
@solver.register(SkewCirculant)
def _circulant(M: Circulant | SkewCirculant) -> Solver:
    twisted = M.corner == -1
    values = fft.spectrum(M.column, twisted)
    size = values.abs()
    if not float(size.min()) > len(size) * torch.finfo(size.dtype).eps * float(size.max()):
        raise SingularMatrixError(
            f"eigenvalue {int(size.argmin())} of {len(size)} is {float(size.min()):.1e}: singular"
        )
    return lambda B: _like(fft.column(fft.spectrum(B, twisted) / values, twisted), B)


@solver.register
def _kronecker(M: Kronecker) -> Solver:
    """``A X B^T = Y``: one small solve from each side."""
    for name, factor in zip("AB", M.tensors):
        if factor.shape[0] != factor.shape[1]:
            raise SingularMatrixError(
                f"{name} is {tuple(factor.shape)}; a square Kronecker product of others is singular"
            )
        if torch.linalg.matrix_rank(factor) < len(factor):
            raise SingularMatrixError(f"{name} is singular")

    def inverse(B: Tensor) -> Tensor:
        X = torch.linalg.solve(M.A.to(B.dtype), B.unflatten(-1, (M.A.shape[0], M.B.shape[0])))
        return torch.linalg.solve(M.B.to(B.dtype), X.mT).mT.flatten(-2)

    return inverse


def _like(x: Tensor, b: Tensor) -> Tensor:
    """x in the dtype of b, which a real matrix keeps real."""
    return x if b.is_complex() else x.real
