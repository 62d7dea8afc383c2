"""Operators made of operators: a sum of products, and a matrix read upside down or backwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .base import StructuredMatrix


class ProductSum(StructuredMatrix):
    """``sum_i P_i Q_i``, where P and Q are structured matrices whose last batch dimension counts the terms.

    Args:
        left: P, of batch shape (*batch, r).
        right: Q, likewise.
    """

    left: StructuredMatrix
    right: StructuredMatrix
    formula = "Σ Pᵢ Qᵢ"

    def __init__(self, left: StructuredMatrix, right: StructuredMatrix) -> None:
        self._set((left.shape[0], right.shape[1]), left=left, right=right)

    @property
    def fields(self) -> Mapping[str, int]:  # type: ignore[override]
        # The axis of the terms is no batch dimension of the sum.
        sides = (("left", self.left), ("right", self.right))
        return {f"{side}.{name}": core + 1 for side, part in sides for name, core in part.fields.items()}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.left.tensors + self.right.tensors

    def with_tensors(self, *tensors: Tensor) -> ProductSum:
        k = len(self.left.tensors)
        return ProductSum(self.left.with_tensors(*tensors[:k]), self.right.with_tensors(*tensors[k:]))

    def to_dense(self) -> Tensor:
        return (self.left.to_dense() @ self.right.to_dense()).sum(-3)

    def _product(self, x: Tensor) -> Tensor:
        return self.left.apply(self.right.apply(x[..., None, :])).sum(-2)

    @property
    def T(self) -> ProductSum:
        return ProductSum(self.right.T, self.left.T)

    def flops(self, batch: int = 1) -> int:
        r = self.left.batch_shape[-1]
        return r * (self.left.flops(batch) + self.right.flops(batch)) + batch * r * self.shape[0]

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> ProductSum:
        raise TypeError("ProductSum is made of other operators; draw those")


class Flipped(StructuredMatrix):
    """``J^a M J^b``: the rows of M from the last to the first, or its columns, or both.

    Args:
        inner: M.
        rows: whether the rows are reversed.
        columns: whether the columns are.
    """

    inner: StructuredMatrix
    rows: bool
    columns: bool

    def __init__(self, inner: StructuredMatrix, rows: bool, columns: bool) -> None:
        self._set(inner.shape, inner=inner, rows=rows, columns=columns)

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"{'J' * self.rows}({self.inner.formula}){'J' * self.columns}"

    @property
    def fields(self) -> Mapping[str, int]:  # type: ignore[override]
        return self.inner.fields

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.inner.tensors

    def with_tensors(self, *tensors: Tensor) -> Flipped:
        return Flipped(self.inner.with_tensors(*tensors), self.rows, self.columns)

    @property
    def n_params(self) -> int:
        return self.inner.n_params

    def to_dense(self) -> Tensor:
        return self.inner.to_dense().flip([-2] * self.rows + [-1] * self.columns)

    def _product(self, x: Tensor) -> Tensor:
        y = self.inner.apply(x.flip(-1) if self.columns else x)
        return y.flip(-1) if self.rows else y

    @property
    def T(self) -> Flipped:
        return Flipped(self.inner.T, self.columns, self.rows)

    def flops(self, batch: int = 1) -> int:
        return self.inner.flops(batch)

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Flipped:
        raise TypeError("Flipped is made of another operator; draw that one")
