"""The family under test: how its members are drawn and how numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from surm_lite.checks.report import CheckFailed
from surm_lite.matrices import StructuredMatrix

Sizes = tuple[tuple[int, int], ...]

SIZES: Sizes = ((1, 1), (2, 2), (3, 3), (8, 8), (9, 9), (12, 12), (13, 13), (1, 5), (5, 1), (6, 4), (4, 7), (12, 8))
"""One, two, odd, even, prime; then wide, tall, coprime and with a common divisor."""

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Subject:
    """A family with everything needed to draw members of it; what every check is given."""

    family: type[StructuredMatrix]
    sizes: Sizes = SIZES
    dtypes: tuple[torch.dtype, ...] = DTYPES
    dense: Callable[[Any], Tensor] | None = None
    device: torch.device | str = "cpu"
    seed: int = 0
    budget: Mapping[str, Any] = field(default_factory=dict)

    @property
    def real(self) -> torch.dtype:
        """The widest real dtype of the device: float64, except on MPS."""
        return torch.float32 if torch.device(self.device).type == "mps" else torch.float64

    def member(self, m: int, n: int, dtype: torch.dtype | None = None, batch: int = 0) -> StructuredMatrix:
        """A seeded m x n member; with ``batch``, that many of them stacked into one operator."""
        generator = torch.Generator().manual_seed(self.seed + 1009 * m + n)
        draw = [
            self.family.random(m, n, generator=generator, dtype=dtype or self.real, device=self.device, **self.budget)
            for _ in range(max(batch, 1))
        ]
        if not batch:
            return draw[0]
        return draw[0].with_tensors(*(torch.stack(ts) for ts in zip(*(A.tensors for A in draw))))

    def numbers(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Seeded Gaussian numbers."""
        generator = torch.Generator().manual_seed(self.seed + 7 + sum(shape))
        return torch.randn(*shape, generator=generator, dtype=dtype or self.real).to(self.device)

    @property
    def square(self) -> Sizes:
        return tuple((m, n) for m, n in self.sizes if m == n)

    @property
    def rectangular(self) -> Sizes:
        return () if self.family.square else tuple((m, n) for m, n in self.sizes if m != n)

    @property
    def all_sizes(self) -> Sizes:
        return self.square + self.rectangular

    @property
    def usual(self) -> Sizes:
        """The largest even square, odd square and rectangle: for the checks whose subject is not the size."""
        even = tuple(size for size in self.square if size[0] % 2 == 0)
        odd = tuple(size for size in self.square if size[0] % 2)
        return tuple(max(group) for group in (even, odd, self.rectangular) if group)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise CheckFailed(message)


def same(got: Tensor, want: Tensor, where: str, *, scale: int | float | None = None, slack: int | float = 100) -> None:
    """``got`` has the shape, dtype and device of ``want``, and its numbers up to ``slack`` roundings of ``scale``."""
    expect(got.shape == want.shape, f"{where}: shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    expect(got.dtype == want.dtype, f"{where}: dtype {got.dtype}, expected {want.dtype}")
    expect(got.device == want.device, f"{where}: on {got.device}, expected {want.device}")
    if want.numel() == 0:
        return
    scale = float(want.abs().max()) if scale is None else scale
    error = float((got - want).abs().max())
    allowed = slack * torch.finfo(want.dtype).eps * max(scale, torch.finfo(want.dtype).tiny)
    expect(error <= allowed, f"{where}: off by {error:.2g} where numbers are of size {scale:.2g}")


def sizes_text(sizes: Sizes) -> str:
    return ", ".join(f"{m}x{n}" for m, n in sizes)


def product_is_dense(A: StructuredMatrix, x: Tensor, where: str) -> Tensor:
    """Checks ``A.apply(x) == x W^T`` with W = ``A.to_dense()``; returns the product."""
    W, y = A.to_dense(), A.apply(x)
    x = x.to(W.dtype)  # complex where the matrix is, as Z_f of real numbers with a complex f
    want = (W @ x[..., None]).squeeze(-1)
    scale = float(torch.linalg.matrix_norm(W).max() * torch.linalg.vector_norm(x, dim=-1).max()) if x.numel() else 0.0
    same(y, want, where, scale=scale)
    return y
