"""Two composite operators that rectangular layers need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..matrices import StructuredMatrix, SymmetricToeplitz


class Corner(StructuredMatrix):
    """The leading m x n corner of a structured matrix: x is padded with zeros, the result is cropped."""

    formula = "corner"
    inner: StructuredMatrix

    def __init__(self, inner: StructuredMatrix, m: int, n: int) -> None:
        self._set((m, n), inner=inner)

    @property
    def fields(self) -> Mapping[str, int]:  # type: ignore[override]
        return self.inner.fields

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.inner.tensors

    def with_tensors(self, *tensors: Tensor) -> Corner:
        return type(self)(self.inner.with_tensors(*tensors), *self.shape)

    @property
    def n_params(self) -> int:
        return self.inner.n_params

    def to_dense(self) -> Tensor:
        m, n = self.shape
        return self.inner.to_dense()[..., :m, :n]

    def _product(self, x: Tensor) -> Tensor:
        return self.inner.apply(F.pad(x, (0, self.inner.shape[1] - x.shape[-1])))[..., : self.shape[0]]

    @property
    def T(self) -> Corner:
        return Corner(self.inner.T, *reversed(self.shape))

    def flops(self, batch: int = 1) -> int:
        return self.inner.flops(batch)

    @classmethod
    def random(cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any) -> Corner:
        raise TypeError("Corner is cut out of another operator; draw that one")


class SymmetricToeplitzProduct(StructuredMatrix):
    """``T2 P T1``: T1 is n x n, T2 is m x m, both symmetric Toeplitz; P crops to m entries or pads with zeros.

    For m = n it is SURM's update ``T2 T1``, which is centrosymmetric and in general neither symmetric nor Toeplitz.
    """

    fields = {"left": 1, "right": 1}
    formula = "T₂ T₁"
    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self._set((left.shape[-1], right.shape[-1]), left=left, right=right)

    def to_dense(self) -> Tensor:
        k = min(self.shape)
        return SymmetricToeplitz(self.left).to_dense()[..., :k] @ SymmetricToeplitz(self.right).to_dense()[..., :k, :]

    def _product(self, x: Tensor) -> Tensor:
        m, n = self.shape  # a negative pad crops
        return SymmetricToeplitz(self.left).apply(F.pad(SymmetricToeplitz(self.right).apply(x), (0, m - n)))

    @property
    def T(self) -> SymmetricToeplitzProduct:
        return SymmetricToeplitzProduct(self.right, self.left)

    def flops(self, batch: int = 1) -> int:
        return SymmetricToeplitz(self.left).flops(batch) + SymmetricToeplitz(self.right).flops(batch)

    @classmethod
    def random(
        cls, m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> SymmetricToeplitzProduct:
        left, right = (SymmetricToeplitz.random(k, generator=generator, **like).column for k in (m, n or m))
        return cls(left, right)
