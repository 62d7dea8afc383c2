"""Circulant and block-circulant updates: full rank from n numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_count, check_flag, check_number, divisors
from surm_lite.matrices import BlockCirculant, Circulant, StructuredMatrix


@dataclass
class CirculantUpdate(Update):
    """A circulant update; blocks of circulants where the layer is not square.

    ``W = W0 + alpha Z_1(c)``, or ``W0 + alpha [Z_1(k_pq)]`` with p = m / b rows and q = n / b columns of b x b blocks.

    The update is linear in its numbers, so all of them start at zero and still get a gradient in the first step. SURM
    instead writes c = r1 * r2, entry by entry, with r1 zero and r2 random: twice the numbers for the same matrices,
    where r2 only sets the learning rate of each entry. ``product=True`` gives that form; r2 starts as N(0, 1), which
    is what the authors' code draws.

    Args:
        block: b, a divisor of both sides; None takes the largest one, gcd(m, n): a square layer gets one circulant.
        alpha: scale of the update.
        product: train SURM's two vectors r1 ("kernel") and r2 ("gain") instead of one.

    Raises:
        ValueError: block does not divide both sides of a layer, or an option has the wrong type.

    Cost:
        m n / b numbers (twice that with ``product``): n for a square layer. O(n log n) time a token.

    Example:
        >>> CirculantUpdate().begin("0", torch.zeros(8, 12), torch.Generator())["kernel"].shape
        torch.Size([2, 3, 4])

    Source:
        SURM, sections 5.1 and A.6; Chen et al., C3A (2024), for the blocks.

    Taught in:
        21_finetune_vit
    """

    name = "circulant"
    paper = "Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    lr = 1e-3

    block: int | None = None
    alpha: float = 1.0
    product: bool = False

    def __post_init__(self) -> None:
        if self.block is not None:
            check_count(self.name, "block", self.block)
        check_number(self.name, "alpha", self.alpha)
        check_flag(self.name, "product", self.product)

    def n_params(self, m: int, n: int) -> int:
        return m * n // common_block(m, n, self.block) * (2 if self.product else 1)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"block": block} for block in divisors(gcd(m, n)))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        b = common_block(m, n, self.block)
        kernel = torch.zeros(m // b, n // b, b)
        return {"kernel": kernel} | ({"gain": torch.randn(kernel.shape, generator=generator)} if self.product else {})

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        kernel = self.alpha * tensors["kernel"]
        if self.product:
            kernel = kernel * tensors["gain"]
        return Circulant(kernel[0, 0]) if kernel.shape[:2] == (1, 1) else BlockCirculant(kernel)


def common_block(m: int, n: int, block: int | None, name: str = "block") -> int:
    """The side of the blocks of a layer: the option of this name, or the largest one, gcd(m, n)."""
    b = gcd(m, n) if block is None else block
    if m % b or n % b:
        raise ValueError(f"{name} is {b}; it must divide both sides of the {m} x {n} layer")
    return b
