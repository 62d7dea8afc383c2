"""Low-rank matrices: the structure that LoRA assumes."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from surm_lite.matrices.base import StructuredMatrix, check_count, check_fields, check_size, gaussian


class LowRank(StructuredMatrix):
    """A tall matrix times a wide one.

    ``B A``, in the letters and the order of LoRA.

    Args:
        B: (*batch, m, r).
        A: (*batch, r, n).

    Raises:
        TypeError: an argument is not a floating or complex tensor.
        ValueError: the inner sizes differ, or an argument is empty, or dtype, device or batch dimensions disagree.

    Cost:
        O(r (m + n)) time, r (m + n) parameters.

    Example:
        >>> LowRank(torch.ones(3, 1), torch.tensor([[1.0, 2.0]])).to_dense()
        tensor([[1., 2.],
                [1., 2.],
                [1., 2.]])

    Source:
        Hu et al., LoRA (2021), section 4.1.

    Taught in:
        01_low_rank, 20_pinwheel
    """

    fields = {"B": 2, "A": 2}
    formula = "B A"
    by_fft = False
    B: Tensor
    A: Tensor

    def __init__(self, B: Tensor, A: Tensor) -> None:
        check_fields(type(self), B=B, A=A)
        if B.shape[-1] != A.shape[-2]:
            raise ValueError(f"B is {tuple(B.shape)} and A is {tuple(A.shape)}; they must be (m, r) and (r, n)")
        self._set((B.shape[-2], A.shape[-1]), B=B, A=A)

    @property
    def dof(self) -> int:
        r = min(self.B.shape[-1], *self.shape)
        return r * (sum(self.shape) - r)  # (B, A) and (B Q, Q^-1 A) give the same matrix

    def to_dense(self) -> Tensor:
        return self.B @ self.A

    def _product(self, x: Tensor) -> Tensor:
        # The extra axis lets a batch of matrices meet a batch of vectors by broadcasting.
        return (
            ((x[..., None, :] @ self.A.mT) @ self.B.mT).squeeze(-2) if self.batch_shape else x @ self.A.mT @ self.B.mT
        )

    @property
    def T(self) -> LowRank:
        return LowRank(self.A.mT, self.B.mT)

    def flops(self, batch: int = 1) -> int:
        return 2 * batch * self.B.shape[-1] * sum(self.shape)

    @classmethod
    def random(  # type: ignore[override]
        cls, m: int, n: int | None = None, *, rank: int = 2, generator: torch.Generator | None = None, **like: Any
    ) -> LowRank:
        m, n = check_size(cls, m, n)
        check_count(rank, "rank", cls)
        B = gaussian(m, rank, std=1 / sqrt(rank), generator=generator, **like)
        return cls(B, gaussian(rank, n, std=1 / sqrt(n), generator=generator, **like))
