"""C3A: a block-circulant update in the scale of its paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.methods.circulant import CirculantUpdate, common_block
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import StructuredMatrix


@dataclass
class C3A(Update):
    """A block-circulant update, divided by the width of the layer.

    ``W = W0 + (alpha / n) [Z_1(k_pq)]``, n the number of inputs: ``circulant(block=block_size, alpha=alpha/n)``. The
    division, which peft has too, makes its learning rates n times as large as those of others: the paper trains a ViT
    at 0.4 to 7.

    The kernel starts at zero, as peft's does with ``init_weights=True``; the update is linear in it, so it moves at
    once. It holds first columns, where the paper and peft hold first rows: entry 0, then the rest backwards.

    Args:
        block_size: b, a divisor of both sides; None takes the largest one, gcd(m, n).
        alpha: scale of the update.

    Raises:
        ValueError: block_size does not divide both sides of a layer, or an option has the wrong type.

    Cost:
        m n / b numbers; O(n log n) time a token.

    Example:
        >>> C3A(block_size=64).n_params(768, 768)
        9216

    Source:
        Chen et al. (2024), section 3. The input gradient of its algorithm A1, and of peft 0.21.2, is wrong for blocks
        of three and more; ours is that of the forward.

    Taught in:
        28_blocks
    """

    name = "c3a"
    paper = "Chen et al. 2024, arXiv 2407.19342"
    lr = 0.3

    block_size: int | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.block_size is not None:
            check_count(self.name, "block_size", self.block_size)
        check_number(self.name, "alpha", self.alpha)

    def _circulant(self, m: int, n: int) -> CirculantUpdate:
        """The same update by its other name."""
        return CirculantUpdate(common_block(m, n, self.block_size, "block_size"), self.alpha / n)

    def n_params(self, m: int, n: int) -> int:
        return self._circulant(m, n).n_params(m, n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        yield from ({"block_size": options["block"]} for options in CirculantUpdate().sizes(m, n))

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return self._circulant(*weight.shape).begin(name, weight, generator)

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        return self._circulant(m, n).operator(m, n, tensors)
