"""Displacement: what is left of a matrix after it is compared with a shifted copy of itself."""

from __future__ import annotations

import torch
from torch import Tensor

from surm_lite.matrices.algorithms.recover import Kind
from surm_lite.matrices.algorithms.recover import recover as recover
from surm_lite.matrices.arguments import check_finite, check_tensor, check_tolerance, check_whole
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.fft import computing_dtype
from surm_lite.matrices.operators import DisplacementOperator, Shift
from surm_lite.matrices.operators import shift as shift
from surm_lite.matrices.scale import exponent, ldexp, rescaled, shifted

Operator = Tensor | DisplacementOperator | None


def sylvester(M: Tensor | StructuredMatrix, A: Operator = None, B: Operator = None) -> Tensor:
    """The Sylvester displacement of a matrix: shift its rows, shift its columns, take the difference.

    ``A M - M B``.

    Args:
        M: (m, n), dense or structured.
        A: (m, m), or an operator such as ``Shift(1)``; default ``Shift(1)``.
        B: (n, n); default ``shift(n, -1)``.

    Returns:
        (m, n).

    Raises:
        TypeError: M is not a matrix of floating or complex numbers.
        ValueError: the sizes do not fit.

    Cost:
        O(m n (m + n)): a dense tool.

    Example:
        >>> e = torch.eye(3)
        >>> sylvester(e)  # the identity has displacement rank 1, not 0
        tensor([[0., 0., 2.],
                [0., 0., 0.],
                [0., 0., 0.]])

    Source:
        SURM, section 3, eq. 1.

    Taught in:
        05_displacement
    """
    M, A, B, _ = _operators(M, A, B, "sylvester")
    return A @ M - M @ B


def stein(M: Tensor | StructuredMatrix, A: Operator = None, B: Operator = None) -> Tensor:
    """The Stein displacement of a matrix: the matrix minus its shifted copy.

    ``M - A M B``.

    Args:
        M: (m, n), dense or structured.
        A: (m, m), or an operator such as ``Shift(1)``; default ``Shift(1)``.
        B: (n, n); default ``shift(n, -1).T``, with which a Toeplitz matrix has rank 2. (``shift(n, -1)`` itself is the
            Hankel pair.)

    Returns:
        (m, n).

    Raises:
        TypeError: M is not a matrix of floating or complex numbers.
        ValueError: the sizes do not fit.

    Cost:
        O(m n (m + n)): a dense tool.

    Example:
        >>> stein(torch.ones(3, 3))  # constant along diagonals: only the wrapped-around border is left
        tensor([[2., 0., 0.],
                [2., 0., 0.],
                [2., 0., 0.]])

    Source:
        Kailath, Kung and Morf (1979).

    Taught in:
        05_displacement
    """
    M, A, B, _ = _operators(M, A, B, "stein")
    return M - A @ M @ B


def displacement_rank(
    M: Tensor | StructuredMatrix,
    A: Operator = None,
    B: Operator = None,
    kind: Kind = "sylvester",
    tol: int | float | None = None,
) -> int:
    """The numerical rank of the displacement.

    Singular values above ``tol`` are counted. The default is ``max(m, n) eps (|A M| + |M B|)`` in the 2-norm with the
    eps of M's own dtype: relative to what was subtracted, not to what is left, because the displacement of a circulant
    under its own shift is pure rounding noise, and noise has full rank.

    Args:
        M: (m, n), dense or structured.
        A: (m, m); default as in ``sylvester`` and ``stein``.
        B: (n, n); likewise.
        kind: "sylvester" for ``A M - M B``, "stein" for ``M - A M B``.
        tol: absolute threshold on the singular values.

    Returns:
        An integer between 0 and min(m, n).

    Raises:
        TypeError: M is not a matrix of floating or complex numbers.
        ValueError: the sizes do not fit, a number is not finite, kind is unknown, or tol is negative.

    Cost:
        O(m n (m + n)): an SVD.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> g = torch.Generator().manual_seed(0)
        >>> displacement_rank(Toeplitz.random(9, 9, generator=g)), displacement_rank(torch.randn(9, 9, generator=g))
        (2, 9)

    Source:
        SURM, section 3.

    Taught in:
        05_displacement
    """
    check_tolerance(tol)
    first, second, k, eps = _parts(*_operators(M, A, B, kind), kind)
    values = torch.linalg.svdvals(first - second)
    return int((values > _threshold(first, second, k, eps, tol)).sum())


def generators(
    M: Tensor | StructuredMatrix,
    A: Operator = None,
    B: Operator = None,
    *,
    kind: Kind = "sylvester",
    rank: int | None = None,
    tol: int | float | None = None,
) -> tuple[Tensor, Tensor]:
    """The displacement as a short sum of outer products, by a balanced SVD.

    ``displacement(M) = sum_i g_i h_i^T``.

    Args:
        M: (m, n), dense or structured.
        A: (m, m); default as in ``sylvester`` and ``stein``.
        B: (n, n); likewise.
        kind: "sylvester" or "stein".
        rank: number of terms; default: the numerical displacement rank, but at least 1. Fewer terms give the closest
            displacement of that rank.
        tol: as in ``displacement_rank``.

    Returns:
        G of shape (r, m) and H of shape (r, n).

    Raises:
        TypeError: M is not a matrix of floating or complex numbers.
        ValueError: the sizes do not fit, a number is not finite, kind is unknown, tol is negative, or rank is not in
            1 .. min(m, n).

    Cost:
        O(m n (m + n)): an SVD.

    Example:
        >>> G, H = generators(torch.eye(4))
        >>> G.shape, torch.allclose(G.T @ H, sylvester(torch.eye(4)))
        (torch.Size([1, 4]), True)

    Source:
        SURM, section 3.

    Taught in:
        07_circulant_skew
    """
    check_tolerance(tol)
    first, second, k, eps = _parts(*_operators(M, A, B, kind), kind)
    if rank is not None:
        check_whole(rank, "rank", 1, min(first.shape))
    U, s, Vh = torch.linalg.svd(first - second, full_matrices=False)
    if rank is None:
        rank = max(1, int((s > _threshold(first, second, k, eps, tol)).sum()))
    root = rescaled(s[:rank].sqrt(), k // 2, "the displacement")
    return (U[:, :rank] * root).mT, root[:, None] * Vh[:rank]


def _operators(
    M: Tensor | StructuredMatrix, A: Operator, B: Operator, kind: Kind
) -> tuple[Tensor, Tensor, Tensor, float]:
    """The three as dense tensors of one dtype, defaults filled in, sizes checked; and the eps of M as it was given."""
    _check_kind(kind)
    M = M.to_dense() if isinstance(M, StructuredMatrix) else M
    check_tensor(M, "M", 2, "the displacement")
    if M.ndim != 2 or 0 in M.shape:
        raise ValueError(f"M has shape {tuple(M.shape)}; it must be one matrix, (m, n), not empty")
    m, n = M.shape
    A = Shift(1) if A is None else A
    B = Shift(-1, transposed=kind == "stein") if B is None else B
    A = A.dense(M, m) if isinstance(A, DisplacementOperator) else A
    B = B.dense(M, n) if isinstance(B, DisplacementOperator) else B
    for name, op, size in (("A", A, m), ("B", B, n)):
        check_tensor(op, name, 2, "the displacement")
        if op.shape != (size, size):
            raise ValueError(f"{name} has shape {tuple(op.shape)}; for M of shape {(m, n)} it must be {(size, size)}")
        if op.device != M.device:
            raise ValueError(f"{name} is on {op.device}, but M is on {M.device}")
    dtype = computing_dtype(torch.promote_types(M.dtype, torch.promote_types(A.dtype, B.dtype)))
    return M.to(dtype), A.to(dtype), B.to(dtype), torch.finfo(M.dtype).eps


def _check_kind(kind: str) -> None:
    if kind not in ("sylvester", "stein"):
        raise ValueError(f"kind is {kind!r}; it must be 'sylvester' or 'stein'")


def _parts(M: Tensor, A: Tensor, B: Tensor, eps: float, kind: Kind) -> tuple[Tensor, Tensor, int, float]:
    """P, Q, an even k and eps: the displacement is ``2^k (P - Q)``, and the larger of P and Q is near one."""
    check_finite(M=M, A=A, B=B)
    k = exponent(M)
    M = shifted(M, -k)
    if kind == "sylvester":
        both = exponent(A, B)
        A, B = shifted(A, -both), shifted(B, -both)
        return A @ M, M @ B, k + both, eps
    a, b = exponent(A), exponent(B)
    large = max(0, a + b)
    return shifted(M, -large), shifted(shifted(A, -a) @ M @ shifted(B, -b), a + b - large), k + large, eps


def _threshold(P: Tensor, Q: Tensor, k: int, eps: float, tol: int | float | None) -> float:
    """What singular values of ``P - Q`` have to exceed."""
    if tol is not None:
        return ldexp(float(tol), -k)
    return max(P.shape) * eps * sum(float(torch.linalg.matrix_norm(part.detach(), 2)) for part in (P, Q))
