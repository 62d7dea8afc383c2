"""Operators of displacement: the shifts and diagonals between which a family looks almost like nothing.

Each family names its pair as data, ``operators = (left, right)``; a member turns them into matrices of its own size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.arguments import Number as Number
from surm_lite.matrices.arguments import check_draw, check_flag, check_length, check_number


def shift(
    n: int, f: Number = 1, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """The shift operator: moves every entry down by one, and the last one to the top times f.

    ``Z_f`` has ones under the diagonal and f in the top-right corner; ``Z_f^n = f I``.

    Args:
        n: size, at least 1.
        f: the corner number. 1 and -1 give orthogonal shifts, 0 the nilpotent one.
        dtype: default: torch's, or its complex counterpart for a complex f.
        device: where to build it.

    Returns:
        (n, n), dense: it is for theory and pictures, products use the families.

    Raises:
        TypeError: f is not a number, or dtype not one that a matrix can have.
        ValueError: n < 1, f is not finite, or f is complex and dtype is not.

    Cost:
        O(n^2) memory.

    Example:
        >>> shift(3, -1)
        tensor([[ 0.,  0., -1.],
                [ 1.,  0.,  0.],
                [ 0.,  1.,  0.]])

    Source:
        SURM, section 3; Kailath, Kung and Morf (1979).

    Taught in:
        05_displacement
    """
    check_length(n, "n")
    check_draw(dtype, device, None)
    if dtype is None:
        dtype = torch.get_default_dtype()
        dtype = complex_dtype(dtype) if isinstance(f, complex) else dtype
    check_number(f, "f", dtype)
    if isinstance(f, complex) and not dtype.is_complex:
        raise ValueError(f"f is {f}, a complex number; dtype must be complex too, not {dtype}")
    Z = torch.zeros(n, n, dtype=dtype, device=device)
    i = torch.arange(n - 1)
    Z[i + 1, i] = 1
    Z[0, -1] += f  # += : for n = 1 the corner is the diagonal
    return Z


def complex_dtype(dtype: torch.dtype) -> torch.dtype:
    """The complex counterpart; complex64 for half precision, which has none to compute with."""
    return torch.promote_types(dtype, torch.complex64)


class SingularPairError(ValueError):
    """A pair of operators whose displacement does not determine the matrix: what both leave unchanged is lost."""


class DisplacementOperator(ABC):
    """One side of a displacement equation, known for every member of a family before the member is."""

    @abstractmethod
    def dense(self, M: Any, size: int) -> Tensor:
        """(size, size): the operator for this member, in its dtype and on its device."""


@dataclass(frozen=True)
class Shift(DisplacementOperator):
    """The shift as one side of a pair, of whatever size the matrix needs.

    ``Z_f``, or its transpose: where ``shift`` is a matrix, this is its name.

    Args:
        f: the corner number.
        transposed: ``Z_f^T`` instead, which moves every entry up by one.

    Cost:
        None until it meets a matrix.

    Example:
        >>> from surm_lite.matrices import Hankel
        >>> from surm_lite.matrices.algorithms.displacement import displacement_rank
        >>> H = Hankel.random(9, generator=torch.Generator().manual_seed(0))
        >>> displacement_rank(H, Shift(1), Shift(-1)), displacement_rank(H, Shift(1), Shift(-1, transposed=True))
        (9, 2)

    Source:
        Pan, Structured Matrices and Polynomials (2001), section 1.3.

    Taught in:
        08_four_families
    """

    f: Number = 1
    transposed: bool = False

    def __post_init__(self) -> None:
        check_number(self.f, "f of Shift")
        check_flag(self.transposed, "transposed of Shift")

    def dense(self, M: Any, size: int) -> Tensor:
        # A complex corner needs a complex shift, also beside a real member.
        dtype = complex_dtype(M.dtype) if isinstance(self.f, complex) else M.dtype
        Z = shift(size, self.f, dtype=dtype, device=M.device)
        return Z.mT if self.transposed else Z

    def __str__(self) -> str:
        return f"Z{subscript(self.f)}" + ("ᵀ" if self.transposed else "")


@dataclass(frozen=True)
class BlockShift(DisplacementOperator):
    """``I ⊗ Z_f``: one shift in every diagonal block."""

    f: Number = 1

    def dense(self, M: Any, size: int) -> Tensor:
        b = M.block
        return torch.block_diag(*[shift(b, self.f, dtype=M.dtype, device=M.device)] * (size // b))

    def __str__(self) -> str:
        return f"I⊗Z{subscript(self.f)}"


@dataclass(frozen=True)
class Nodes(DisplacementOperator):
    """``D_s``: the diagonal of the member's own nodes."""

    field: str
    symbol: str = ""

    def dense(self, M: Any, size: int) -> Tensor:
        return getattr(M, self.field).diag_embed()

    def __str__(self) -> str:
        return f"D_{self.symbol or self.field}"


@dataclass(frozen=True)
class Neighbours(DisplacementOperator):
    """``Z_0 + Z_0^T``: every entry becomes the sum of its two neighbours."""

    def dense(self, M: Any, size: int) -> Tensor:
        Z = shift(size, 0, dtype=M.dtype, device=M.device)
        return Z + Z.mT

    def __str__(self) -> str:
        return "Z₀+Z₀ᵀ"


def subscript(f: Number) -> str:
    """A corner number as a subscript, where Unicode has the signs for it: 1 -> ₁, -1 -> ₋₁, 0.5 -> _0.5."""
    text = f"{f:g}" if not isinstance(f, complex) else str(f)
    return text.translate(str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")) if text.lstrip("-").isdigit() else f"_{text}"
