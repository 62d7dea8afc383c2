"""The inverse of a matrix that is held by generators, held in the same way."""

from __future__ import annotations

from surm_lite.matrices.algorithms.solve import check_inverse, solve
from surm_lite.matrices.arguments import kind_of
from surm_lite.matrices.generator_form import D, GeneratorForm, side


def inverse(M: D) -> D:
    """The inverse, in the same form and with the same displacement rank.

    ``nabla_{B,A}(M^-1) = -M^-1 nabla_{A,B}(M) M^-1``: generators ``-M^-1 G`` and ``M^-T H`` under the pair (B, A).

    Args:
        M: (n, n), LDR or Cauchy-like.

    Returns:
        (n, n), of the family of M; the corners or nodes of M are exchanged.

    Raises:
        TypeError: M is not held by generators (see ``as_ldr``).
        SingularMatrixError: M is singular to working precision; a ValueError.
        ValueError: M is not square.

    Warns:
        ResidualWarning: ``M M^-1 b`` misses b by more than the square root of the precision. The entries of the
            generators grow with the condition number, and so does what cancels between them.

    Cost:
        Two structured solves with r right-hand sides: O(r n^2) time, O(r n) memory.

    Example:
        >>> import torch
        >>> from surm_lite.matrices import LDR
        >>> M = LDR.random(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> R = inverse(M)
        >>> R.rank, R.pair, torch.allclose(R.to_dense(), M.to_dense().inverse())
        (2, (-1, 1), True)

    Source:
        Pan, Structured Matrices and Polynomials (2001), section 1.5.

    Taught in:
        10_closure
    """
    if not isinstance(M, GeneratorForm):
        raise TypeError(f"M is {kind_of(M)}; it must be an LDR or a CauchyLike matrix (as_ldr makes one)")
    side(M)
    G, H = M.generators()
    A, B = M.pair
    R = M.from_generators(-solve(M, G.mT).mT, solve(M.T, H.mT).mT, (B, A))
    check_inverse(M, R, "the matrix is ill-conditioned; solve(M, b) is more accurate than the inverse")
    return R
