"""Toeplitz plus Hankel: what sines and cosines bring."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_fields, check_size, gaussian
from surm_lite.matrices.families.toeplitz import Hankel, Toeplitz
from surm_lite.matrices.operators import Neighbours


class ToeplitzPlusHankel(StructuredMatrix):
    """A Toeplitz matrix plus a Hankel matrix.

    Entry (i, j) is ``t[i-j] + h[i+j]``. Both parts obey "the two neighbours in the row add up to the two neighbours in
    the column", so the displacement under ``Z_0 + Z_0^T`` on both sides lives on the border alone and has rank 4.

    Args:
        column: (*batch, m), the first column of the Toeplitz part.
        row: (*batch, n), its first row; ``row[0]`` is ignored, as in scipy.
        hankel_column: (*batch, m), the first column of the Hankel part.
        hankel_row: (*batch, n), its **last** row; ``hankel_row[0]`` is ignored, as in scipy.

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the sizes of the two parts differ, an argument is empty, or dtype, device or batch disagree.

    Cost:
        O((m + n) log(m + n)) time, 2 (m + n - 1) parameters, of which two are not independent: both families hold the
        two checkerboards.

    Example:
        >>> one, two = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0])
        >>> ToeplitzPlusHankel(one, one, two, two).to_dense()
        tensor([[1., 3.],
                [3., 3.]])

    Source:
        Heinig and Rost, Algebraic Methods for Toeplitz-like Matrices and Operators (1984).

    Taught in:
        08_four_families
    """

    fields = {"column": 1, "row": 1, "hankel_column": 1, "hankel_row": 1}
    formula = "t[i−j] + h[i+j]"
    operators = (Neighbours(), Neighbours())
    column: Tensor
    row: Tensor
    hankel_column: Tensor
    hankel_row: Tensor

    def __init__(self, column: Tensor, row: Tensor, hankel_column: Tensor, hankel_row: Tensor) -> None:
        tensors = {"column": column, "row": row, "hankel_column": hankel_column, "hankel_row": hankel_row}
        check_fields(type(self), **tensors)
        m, n = column.shape[-1], row.shape[-1]
        if (hankel_column.shape[-1], hankel_row.shape[-1]) != (m, n):
            other = f"{hankel_column.shape[-1]} x {hankel_row.shape[-1]}"
            raise ValueError(f"the Toeplitz part is {m} x {n} and the Hankel part {other}; they must agree")
        self._set((m, n), **tensors)

    @property
    def parts(self) -> tuple[Toeplitz, Hankel]:
        """The two terms."""
        return Toeplitz(self.column, self.row), Hankel(self.hankel_column, self.hankel_row)

    @property
    def n_params(self) -> int:
        return 2 * (sum(self.shape) - 1)

    @property
    def dof(self) -> int:
        # Constant along both kinds of diagonals: a number on the black squares, another on the white ones. In a single
        # row or column every vector is.
        return self.n_params - (2 if min(self.shape) > 1 else self.n_params // 2)

    def to_dense(self) -> Tensor:
        T, H = self.parts
        return T.to_dense() + H.to_dense()

    def _product(self, x: Tensor) -> Tensor:
        T, H = self.parts
        return T.apply(x) + H.apply(x)

    @property
    def T(self) -> ToeplitzPlusHankel:
        T, H = (part.T for part in self.parts)
        return ToeplitzPlusHankel(*T.tensors, *H.tensors)

    def flops(self, batch: int = 1) -> int:
        return sum(part.flops(batch) for part in self.parts) + batch * self.shape[0]

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> ToeplitzPlusHankel:
        m, n = check_size(cls, m, n)
        t, h = (gaussian(m + n - 1, std=1 / sqrt(2 * n), generator=generator, **like) for _ in range(2))
        return cls(t[:m], torch.cat([t[:1], t[m:]]), h[:m], h[m - 1 :])
