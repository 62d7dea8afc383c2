"""From generators back to the matrix."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor

from surm_lite.matrices.arguments import kind_of
from surm_lite.matrices.base import StructuredMatrix
from surm_lite.matrices.compose import Flipped, ProductSum
from surm_lite.matrices.families.circulant import FCirculant
from surm_lite.matrices.families.ldr import LDR, check_generators, transposed_column
from surm_lite.matrices.operators import Shift, SingularPairError, complex_dtype

Kind = Literal["sylvester", "stein"]


@overload
def recover(G: Tensor, H: Tensor, A: None = None, B: None = None, *, kind: Kind = "sylvester") -> LDR: ...
@overload
def recover(
    G: Tensor, H: Tensor, A: Shift | None, B: Shift | None, *, kind: Kind = "sylvester"
) -> StructuredMatrix: ...
def recover(
    G: Tensor, H: Tensor, A: Shift | None = None, B: Shift | None = None, *, kind: Kind = "sylvester"
) -> StructuredMatrix:
    """The square matrix whose displacement the generators are, for every pair of shifts that determines one.

    Sylvester: ``Z_e M - M Z_f = sum g_i h_i^T`` gives ``M = 1/(e-f) sum Z_e(g_i) Z_f(J h_i)``. Stein:
    ``M - Z_e M Z_f^T = sum g_i h_i^T`` gives ``M = 1/(1-ef) sum Z_e(g_i) Z_f(h_i)^T``; with e = f = 0 that is the form
    of Kailath, Kung and Morf, lower times upper triangular. As ``Z_f^T = J Z_f J``, the other pairs follow by reversing
    rows or columns. No linear system is solved.

    Args:
        G: (r, n).
        H: (r, n).
        A: ``Shift(e)`` or ``Shift(e, transposed=True)``; default ``Shift(1)``.
        B: likewise; default ``Shift(-1)``, or for kind "stein" ``Shift(-1, transposed=True)``.
        kind: "sylvester" for ``A M - M B``, "stein" for ``M - A M B``.

    Returns:
        An operator with a fast product: an ``LDR`` where rows and columns keep their order and f is not 0 in a Stein
        pair. ``.to_dense()`` is M.

    Raises:
        TypeError: G or H is not a floating or complex tensor, or A or B is not a ``Shift``. (For diagonal operators
            ``CauchyLike`` is the recovery; for other matrices see ``Krylov``.)
        SingularPairError: e = f, or ef = 1 for "stein": many matrices share one displacement; a ValueError.
        ValueError: G and H have different shapes, or kind is unknown.

    Cost:
        O(r n).

    Example:
        >>> from surm_lite.matrices import Toeplitz
        >>> from surm_lite.matrices.algorithms.displacement import generators
        >>> T = Toeplitz.random(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> torch.allclose(recover(*generators(T)).to_dense(), T.to_dense())
        True
        >>> low = Shift(0), Shift(0, transposed=True)
        >>> G, H = generators(T, *low, kind="stein")
        >>> torch.allclose(recover(G, H, *low, kind="stein").to_dense(), T.to_dense())
        True

    Source:
        Pan, Structured Matrices and Polynomials (2001); Kailath, Kung and Morf (1979); SURM, eq. 2, without the factor
        1/2 and the reversal.

    Taught in:
        07_circulant_skew, 09_recover
    """
    if kind not in ("sylvester", "stein"):
        raise ValueError(f"kind is {kind!r}; it must be 'sylvester' or 'stein'")
    A = Shift(1) if A is None else A
    B = Shift(-1, transposed=kind == "stein") if B is None else B
    for name, op in (("A", A), ("B", B)):
        if not isinstance(op, Shift):
            raise TypeError(f"{name} is {kind_of(op)}; recover knows the pairs of Shift(f)")
    check_generators(LDR, G, H)
    if isinstance(A.f, complex) or isinstance(B.f, complex):
        G, H = G.to(complex_dtype(G.dtype)), H.to(complex_dtype(H.dtype))
    # J on the left turns Z_e^T into Z_e; J on the right does the same for B, where a Stein pair wants Z_f^T.
    rows, columns = A.transposed, B.transposed == (kind == "sylvester")
    G, H = G.flip(-1) if rows else G, H.flip(-1) if columns else H
    M = LDR.from_generators(G, H, (A.f, B.f)) if kind == "sylvester" else _stein(G, H, A, B)
    return Flipped(M, rows, columns) if rows or columns else M


def _stein(G: Tensor, H: Tensor, A: Shift, B: Shift) -> StructuredMatrix:
    """``1/(1-ef) sum Z_e(g_i) Z_f(h_i)^T``."""
    if A.f * B.f == 1:
        raise SingularPairError(
            f"the corners are e = {A.f} and f = {B.f}; M - Z_e M Z_f^T determines M only if ef != 1"
        )
    G = G / (1 - A.f * B.f)
    if B.f == 0:  # an upper-triangular Toeplitz matrix is in no family Z_f
        return ProductSum(FCirculant(G, A.f), FCirculant(H, 0).T)
    return LDR(G, transposed_column(H, B.f), A.f, 1 / B.f)
