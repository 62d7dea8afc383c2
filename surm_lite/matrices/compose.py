"""Operators made of operators: a product of two, a sum of products, and a matrix cut, or read backwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix


class Composite(StructuredMatrix):
    """What is made of other operators: its numbers are theirs, and its constructor takes them first."""

    names: ClassVar[tuple[str, ...]]
    """The attributes that hold the operators."""

    @property
    def parts(self) -> tuple[StructuredMatrix, ...]:
        return tuple(getattr(self, name) for name in self.names)

    @property
    def fields(self) -> Mapping[str, int]:  # type: ignore[override]
        named = zip(self.names, self.parts)
        return {f"{name}.{field}": core for name, M in named for field, core in M.fields.items()}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(t for M in self.parts for t in M.tensors)

    def with_tensors(self, *tensors: Tensor) -> Any:
        left = iter(tensors)
        return type(self)(*(M.with_tensors(*(next(left) for _ in M.tensors)) for M in self.parts), **self.options)

    @property
    def n_params(self) -> int:
        return sum(M.n_params for M in self.parts)

    @property
    def costly(self) -> bool:  # type: ignore[override]
        return any(M.costly for M in self.parts)

    def flops(self, batch: int = 1) -> int:
        return sum(M.flops(batch) for M in self.parts)

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Any:
        raise TypeError(f"{cls.__name__} is made of other operators; draw those")


class Diagonal(StructuredMatrix):
    """``diag(d)``: what scales the rows of an operator on its right, or the columns of one on its left.

    Args:
        entries: (*batch, n), d.
    """

    fields = {"entries": 1}
    square = True
    formula = "diag(d)"
    by_fft = False
    entries: Tensor

    def __init__(self, entries: Tensor) -> None:
        self._set((entries.shape[-1],) * 2, entries=entries)

    def to_dense(self) -> Tensor:
        return torch.diag_embed(self.entries)

    def _product(self, x: Tensor) -> Tensor:
        return x * self.entries

    @property
    def T(self) -> Diagonal:
        return self

    def flops(self, batch: int = 1) -> int:
        return batch * self.shape[0]

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Any:
        raise TypeError(f"{cls.__name__} scales other operators; make it of its entries")


class Product(Composite):
    """``P I Q``: the identity between the two crops, or continues with zeros, where their inner sizes differ.

    Args:
        left: P.
        right: Q.
    """

    names = ("left", "right")
    formula = "P Q"
    costly = True  # type: ignore[assignment]
    left: StructuredMatrix
    right: StructuredMatrix

    def __init__(self, left: StructuredMatrix, right: StructuredMatrix) -> None:
        self._set((left.shape[0], right.shape[1]), left=left, right=right)

    def to_dense(self) -> Tensor:
        k = min(self.left.shape[1], self.right.shape[0])
        return self.left.to_dense()[..., :k] @ self.right.to_dense()[..., :k, :]

    def _product(self, x: Tensor) -> Tensor:
        return self.left.apply(resized(self.right.apply(x), self.left.shape[1]))

    @property
    def T(self) -> Product:
        return type(self)(self.right.T, self.left.T)


class ProductSum(Product):
    """``sum_i P_i Q_i``, where P and Q are structured matrices whose last batch dimension counts the terms.

    Args:
        left: P, of batch shape (*batch, r).
        right: Q, likewise.
    """

    formula = "Σ Pᵢ Qᵢ"

    @property
    def terms(self) -> int:
        """r."""
        return self.left.batch_shape[-1]

    @property
    def fields(self) -> Mapping[str, int]:  # type: ignore[override]
        return {name: core + 1 for name, core in super().fields.items()}  # the terms are no batch of the sum

    @property
    def n_params(self) -> int:
        return self.terms * super().n_params

    def to_dense(self) -> Tensor:
        return super().to_dense().sum(-3)

    def _product(self, x: Tensor) -> Tensor:
        return super()._product(x[..., None, :]).sum(-2)

    def flops(self, batch: int = 1) -> int:
        return self.terms * (super().flops(batch) + batch * self.shape[0])


class Sum(Composite):
    """``P + Q``.

    Args:
        left: P.
        right: Q, of the same size.
    """

    names = ("left", "right")
    formula = "P + Q"
    left: StructuredMatrix
    right: StructuredMatrix

    def __init__(self, left: StructuredMatrix, right: StructuredMatrix) -> None:
        if left.shape != right.shape:
            raise ValueError(f"left is {left.shape} and right is {right.shape}; they must have one size")
        self._set(left.shape, left=left, right=right)

    def to_dense(self) -> Tensor:
        return self.left.to_dense() + self.right.to_dense()

    def _product(self, x: Tensor) -> Tensor:
        return self.left.apply(x) + self.right.apply(x)

    @property
    def T(self) -> Sum:
        return Sum(self.left.T, self.right.T)

    def flops(self, batch: int = 1) -> int:
        return super().flops(batch) + batch * self.shape[0]


class Wrapper(Composite):
    """One operator, seen in another way."""

    names = ("inner",)
    inner: StructuredMatrix


class Flipped(Wrapper):
    """``J^a M J^b``: the rows of M from the last to the first, or its columns, or both.

    Args:
        inner: M.
        rows: whether the rows are reversed.
        columns: whether the columns are.
    """

    rows: bool
    columns: bool

    def __init__(self, inner: StructuredMatrix, rows: bool, columns: bool) -> None:
        self._set(inner.shape, inner=inner, rows=rows, columns=columns)

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"{'J' * self.rows}({self.inner.formula}){'J' * self.columns}"

    @property
    def options(self) -> dict[str, Any]:
        return {"rows": self.rows, "columns": self.columns}

    def to_dense(self) -> Tensor:
        return self.inner.to_dense().flip([-2] * self.rows + [-1] * self.columns)

    def _product(self, x: Tensor) -> Tensor:
        y = self.inner.apply(x.flip(-1) if self.columns else x)
        return y.flip(-1) if self.rows else y

    @property
    def T(self) -> Flipped:
        return Flipped(self.inner.T, self.columns, self.rows)


class Corner(Wrapper):
    """The leading m x n corner of a matrix: x is continued with zeros, the result is cropped.

    Args:
        inner: the matrix, at least m x n.
        m: rows kept.
        n: columns kept.
    """

    def __init__(self, inner: StructuredMatrix, m: int, n: int) -> None:
        self._set((m, n), inner=inner)

    @property
    def formula(self) -> str:  # type: ignore[override]
        return f"({self.inner.formula})[:m, :n]"

    @property
    def options(self) -> dict[str, Any]:
        return dict(zip("mn", self.shape))

    def to_dense(self) -> Tensor:
        m, n = self.shape
        return self.inner.to_dense()[..., :m, :n]

    def _product(self, x: Tensor) -> Tensor:
        return self.inner.apply(resized(x, self.inner.shape[1]))[..., : self.shape[0]]

    @property
    def T(self) -> Corner:
        return Corner(self.inner.T, *reversed(self.shape))


def resized(x: Tensor, n: int) -> Tensor:
    """The first n numbers of x along its last axis, zeros where it has fewer."""
    return x if x.shape[-1] == n else F.pad(x, (0, n - x.shape[-1]))
