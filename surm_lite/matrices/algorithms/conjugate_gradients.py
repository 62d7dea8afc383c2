"""Conjugate gradients for Toeplitz matrices too large to eliminate, preconditioned by a circulant."""

from __future__ import annotations

import warnings
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.algorithms.normalise import normalised
from surm_lite.matrices.algorithms.solve import ResidualWarning
from surm_lite.matrices.arguments import check_finite, check_tensor, check_tolerance, check_whole, kind_of
from surm_lite.matrices.base import StructuredMatrix, check_matrix
from surm_lite.matrices.families.circulant import Circulant
from surm_lite.matrices.families.toeplitz import ByDiagonals
from surm_lite.matrices.scale import exponent, rescaled, shifted


class CGResult(NamedTuple):
    """What ``conjugate_gradients`` returns."""

    x: Tensor
    """(n,), the solution."""
    iterations: int
    """Products with M that were needed."""
    residual: float
    """|M x - b| / |b|, computed from x and not from the recursion; before x is rounded, if it is in half precision."""


def conjugate_gradients(
    operator: StructuredMatrix,
    b: Tensor,
    *,
    preconditioner: Literal["strang", "chan"] | None = "strang",
    tol: float | None = None,
    max_iterations: int | None = None,
) -> CGResult:
    """The solution of a Hermitian positive definite system by products alone.

    ``M x = b``. A circulant near a Toeplitz matrix, inverted in Fourier space, gathers the eigenvalues around 1, and
    the number of iterations then hardly depends on n.

    Args:
        operator: M, (n, n), Hermitian positive definite.
        b: (n,).
        preconditioner: "strang" copies the central diagonals, "chan" is the nearest circulant; both need a Toeplitz
            matrix. None for plain conjugate gradients with any family.
        tol: relative residual to stop at; default the square root of the precision (half is computed in float32).
        max_iterations: default n.

    Returns:
        x (without gradient), the number of iterations, and the relative residual.

    Raises:
        TypeError: operator is no structured matrix, a preconditioner is asked for and M is not Toeplitz, or b is not a
            floating or complex tensor.
        ValueError: M or the preconditioner is not positive definite, M is not square, the sizes do not fit, a number is
            not finite, ``tol`` or ``max_iterations`` is negative, or the solution leaves the dtype.

    Warns:
        ResidualWarning: ``tol`` was not reached.

    Cost:
        O(n log n) time an iteration for Toeplitz, O(n) memory.

    Example:
        >>> from surm_lite.matrices import SymmetricToeplitz
        >>> T = SymmetricToeplitz(0.5 ** torch.arange(1000.0))
        >>> result = conjugate_gradients(T, torch.ones(1000))
        >>> result.iterations < 10, result.residual < 1e-3
        (True, True)

    Source:
        Strang (1986); T. Chan (1988); R. Chan and Ng, Conjugate gradient methods for Toeplitz systems (1996).

    Taught in:
        12_solving_fast
    """
    check_matrix(operator, "operator")
    M, n = operator, operator.shape[1]
    check_tensor(b, "b", 1, "conjugate_gradients")
    if M.shape != (n, n) or M.batch_shape or b.shape != (n,):
        raise ValueError(
            f"operator is {M.shape[0]} x {n} and b has shape {tuple(b.shape)}; they must be n x n and (n,)"
        )
    if preconditioner not in (None, *CIRCULANTS):
        raise ValueError(f"preconditioner is {preconditioner!r}; it must be 'strang', 'chan' or None")
    check_tolerance(tol)
    if max_iterations is not None:
        check_whole(max_iterations, "max_iterations", least=0)
    if b.device != M.device:
        raise ValueError(f"b is on {b.device}, but operator is on {M.device}")
    check_finite(b=b, **{f"{name} of operator": t for name, t in zip(M.fields, M.tensors)})
    dtype = torch.promote_types(M.dtype, b.dtype)
    inner = fft.computing_dtype(dtype)
    tol = torch.finfo(inner).eps ** 0.5 if tol is None else tol
    with torch.no_grad():
        M, size = normalised(M.to(inner))
        height = exponent(b)
        y = shifted(b.to(inner), -height)
        P = None if preconditioner is None else inverse_circulant(CIRCULANTS[preconditioner](M))
        x, iterations = _iterate(M, y, P, tol, n if max_iterations is None else max_iterations)
        norm = float(torch.linalg.vector_norm(y))
        residual = float(torch.linalg.vector_norm(y - M.apply(x))) / norm if norm else 0.0
        x = rescaled(x, height - size, "the solution", dtype)
    if residual > 2 * tol:  # the recursion and the true residual part by a little rounding
        warnings.warn(
            f"|Mx - b| / |b| is {residual:.1e} after {iterations} iterations, not {tol:.1e}",
            ResidualWarning,
            stacklevel=2,
        )
    return CGResult(x, iterations, residual)


def _iterate(M: StructuredMatrix, b: Tensor, P: Circulant | None, tol: float, most: int) -> tuple[Tensor, int]:
    x, r = torch.zeros_like(b), b.clone()
    z = r if P is None else P.apply(r)
    p, rz = z, _inner(r, z, "the preconditioner")
    stop = tol * float(torch.linalg.vector_norm(b))
    for k in range(most):
        if float(torch.linalg.vector_norm(r)) <= stop:
            return x, k
        q = M.apply(p)
        step = rz / _inner(p, q, "operator")
        x, r = x + step * p, r - step * q
        z = r if P is None else P.apply(r)
        new = _inner(r, z, "the preconditioner")
        p, rz = z + (new / rz) * p, new
    return x, most


def _inner(a: Tensor, b: Tensor, name: str) -> float:
    value = float(torch.linalg.vecdot(a, b).real)
    if not value > 0 and bool((a != 0).any()):
        raise ValueError(f"{name} is not positive definite: x^H M x is {value:.1e} for a vector x met on the way")
    return value


def strang(T: StructuredMatrix) -> Circulant:
    """Strang's circulant: the central diagonals of T, wrapped around. The nearest circulant in the 1-norm."""
    below, above = _wrapped(T)
    n = below.shape[-1]
    k = torch.arange(n, device=below.device)
    middle = (below + above) / 2  # for even n the two diagonals n/2 share one place; a Hermitian T needs their mean
    return Circulant(torch.where(2 * k < n, below, torch.where(2 * k > n, above, middle)))


def chan(T: StructuredMatrix) -> Circulant:
    """T. Chan's circulant: the nearest one in the Frobenius norm, ``c_k = ((n - k) t_k + k t_{k-n}) / n``."""
    below, above = _wrapped(T)
    n = below.shape[-1]
    k = torch.arange(n, device=below.device)
    return Circulant(((n - k) * below + k * above) / n)


CIRCULANTS = {"strang": strang, "chan": chan}


def inverse_circulant(C: Circulant) -> Circulant:
    """The inverse, which is a circulant too."""
    column = fft.column(1 / fft.spectrum(C.column))
    return Circulant(column if C.dtype.is_complex else column.real)


def _wrapped(T: StructuredMatrix) -> tuple[Tensor, Tensor]:
    """t[k] and t[k-n], k = 0 .. n-1 (t[0] in both places for k = 0)."""
    if not isinstance(T, ByDiagonals):
        raise TypeError(f"operator is {kind_of(T)}; circulant preconditioners are for Toeplitz matrices")
    n, d = T.shape[0], T.diagonals()
    return d[n - 1 :], torch.cat([d[n - 1 : n], d[: n - 1]])
