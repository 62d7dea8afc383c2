"""Two classical roads to the inverse of a Toeplitz matrix: Gohberg and Semencul's formula, Levinson's recursion."""

from __future__ import annotations

import torch
from torch import Tensor

from surm_lite.matrices.algorithms.gko import SingularMatrixError
from surm_lite.matrices.algorithms.normalise import magnified, normalised
from surm_lite.matrices.algorithms.solve import check_inverse, solve
from surm_lite.matrices.arguments import check_finite, check_tensor, kind_of
from surm_lite.matrices.families.ldr import LDR
from surm_lite.matrices.families.toeplitz import ByDiagonals, SymmetricToeplitz
from surm_lite.matrices.fft import computing_dtype
from surm_lite.matrices.scale import exponent, rescaled, shifted


def toeplitz_inverse(T: ByDiagonals) -> LDR:
    """The inverse of a Toeplitz matrix from its first and its last column.

    With ``T x = e_1`` and ``T y = e_n``: ``T^-1 = (Z_1(Z_1 y) Z_-1(x) - Z_1(x) Z_-1(Z_-1 y)) / (2 x_1)``, the circulant
    form of Gohberg and Semencul's formula. So the inverse is an ``LDR`` with two terms, and after one solve with two
    right-hand sides (one if T is symmetric, where y is x reversed) it costs n log n to apply.

    Args:
        T: (n, n), Toeplitz, symmetric Toeplitz or f-circulant.

    Returns:
        An ``LDR`` operator with r = 2.

    Raises:
        TypeError: T is not constant along its diagonals.
        SingularMatrixError: T is singular to working precision, or x_1 = 0: then the formula does not hold, although T
            has an inverse; ``inverse(as_ldr(T))`` finds it. A ValueError.
        ValueError: T is not square, has batch dimensions, is not finite, or the inverse leaves the dtype.

    Warns:
        ResidualWarning: ``T T^-1 b`` misses b by more than the square root of the precision: x_1 is small, or T is
            close to singular.

    Cost:
        O(n^2) time once, O(n) memory.

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> T = Toeplitz(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 0.5, 3.0]))
        >>> R = toeplitz_inverse(T)
        >>> R.rank, torch.allclose(R.to_dense(), T.to_dense().inverse(), atol=1e-6)
        (2, True)

    Source:
        Gohberg and Semencul (1972); the circulant form goes back to Ammar and Gader (1990).

    Taught in:
        11_gohberg_semencul
    """
    if not isinstance(T, ByDiagonals):
        raise TypeError(f"T is {kind_of(T)}; it must be a Toeplitz matrix")
    n = T.shape[0]
    if T.shape != (n, n) or T.batch_shape:
        raise ValueError(f"T is {n} x {T.shape[1]} with batch {tuple(T.batch_shape)}; it must be one square matrix")
    check_finite(**{f"{name} of T": t for name, t in zip(T.fields, T.tensors)})
    dtype = T.dtype
    T, scale = normalised(T.to(computing_dtype(dtype)))
    ends = torch.zeros(n, 2, dtype=T.dtype, device=T.device)
    ends[0, 0] = ends[-1, 1] = 1
    if isinstance(T, SymmetricToeplitz):
        x = solve(T, ends[:, 0])
        y = x.flip(-1)
    else:
        x, y = solve(T, ends).unbind(-1)
    size, largest = float(x[0].detach().abs()), float(x.detach().abs().max())
    if size <= n * torch.finfo(x.dtype).eps * largest:
        raise SingularMatrixError(
            f"x_1 is {size:.1e} where T x = e_1 and |x| is up to {largest:.1e}: the leading block of size {n - 1} is "
            "singular and the formula divides by x_1; inverse(as_ldr(T)) needs no such block"
        )
    up, down = y.roll(1), torch.cat([-y[-1:], y[:-1]])  # Z_1 y and Z_-1 y
    R = LDR(torch.stack([up, -x]) / (2 * x[0]), torch.stack([x, down]))
    check_inverse(T, R, f"x_1 is {size:.1e} and |x| is up to {largest:.1e}; inverse(as_ldr(T)) does not divide by x_1")
    return magnified(R, -scale, "the inverse", dtype)


def levinson(T: ByDiagonals, b: Tensor) -> Tensor:
    """The solution of a Toeplitz system by growing it from the leading 1 x 1 block.

    Each step turns the solutions for size k into those for size k + 1 with a few inner products. It needs **every**
    leading block to be invertible, and loses digits where one is nearly singular, however well conditioned T is. It is
    here to be understood and to be broken: use ``solve``.

    Args:
        T: (n, n), Toeplitz, symmetric Toeplitz or f-circulant.
        b: (n,).

    Returns:
        (n,).

    Raises:
        TypeError: T is not constant along its diagonals, or b is not a floating or complex tensor.
        SingularMatrixError: a leading block is exactly singular; a ValueError.
        ValueError: T is not square or has batch dimensions, b does not fit, one of them is not finite, or the solution
            has numbers that the dtype does not hold.

    Cost:
        O(n^2) time, O(n) memory.

    Example:
        >>> T = SymmetricToeplitz(torch.tensor([2.0, 1.0, 0.5]))
        >>> torch.allclose(T @ levinson(T, torch.ones(3)), torch.ones(3))
        True

    Source:
        Levinson (1947); Golub and Van Loan, Matrix Computations, section 4.7.

    Taught in:
        12_solving_fast
    """
    if not isinstance(T, ByDiagonals):
        raise TypeError(f"T is {kind_of(T)}; it must be a Toeplitz matrix")
    check_tensor(b, "b", 1, "levinson")
    n = T.shape[0]
    if T.shape != (n, n) or T.batch_shape or b.shape != (n,):
        raise ValueError(
            f"T is {T.shape[0]} x {T.shape[1]} and b has shape {tuple(b.shape)}; they must be n x n and (n,)"
        )
    if b.device != T.device:
        raise ValueError(f"b is on {b.device}, but T is on {T.device}")
    check_finite(b=b, **{f"{name} of T": t for name, t in zip(T.fields, T.tensors)})
    dtype = torch.promote_types(T.dtype, b.dtype)
    T, size = normalised(T.to(computing_dtype(dtype)))
    d, height = T.diagonals(), exponent(b)
    b = shifted(b.to(d.dtype), -height)
    below, above = d[n - 1 :], d[:n].flip(-1)  # t[0], t[1], ... and t[0], t[-1], ...
    zero = d.new_zeros(1)
    _check_block(below[0], 1)
    forward = backward = 1 / below[:1]  # T_k forward = e_1, T_k backward = e_k
    x = b[:1] / below[0]
    for k in range(1, n):
        miss = below[1 : k + 1].flip(-1)  # the row below T_k, which the old solutions do not know
        grown, moved = torch.cat([forward, zero]), torch.cat([zero, backward])
        low, high = miss @ forward, above[1 : k + 1] @ backward
        scale = 1 - low * high
        _check_block(scale, k + 1)
        forward, backward = (grown - low * moved) / scale, (moved - high * grown) / scale
        x = torch.cat([x, zero]) + (b[k] - miss @ x) * backward
    return rescaled(x, height - size, "the solution", dtype)


def _check_block(pivot: Tensor, size: int) -> None:
    if pivot == 0:
        raise SingularMatrixError(f"the leading {size} x {size} block is singular, and Levinson divides by its inverse")
