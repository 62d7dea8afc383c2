"""CDVFT: a circulant between two diagonals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.methods.circulant import CirculantUpdate
from surm_lite.adapters.options import check_count, check_number
from surm_lite.matrices import StructuredMatrix
from surm_lite.matrices.compose import Diagonal, Product


@dataclass
class CDVFT(Update):
    """A circulant whose rows and columns are scaled.

    ``W = W0 + alpha diag(l) Z_1(c) diag(r)``; where the layer is not square, or ``block`` says so, blocks of circulants
    stand in place of the one, as in the circulant update.

    c starts at zero and both diagonals at one: the first steps are those of the circulant update. Only one of the three
    may start at zero, or none would ever get a gradient. (The start is ours; the paper's we could not confirm.)

    Args:
        block: b, a divisor of both sides; None takes gcd(m, n).
        alpha: scale of the update.

    Raises:
        ValueError: block does not divide both sides of a layer, or an option has the wrong type.

    Cost:
        m n / b + m + n numbers: 3 n for a square layer. O(n log n) time a token.

    Example:
        >>> CDVFT().n_params(768, 768)
        2304

    Source:
        Ding et al. (2025): the product of diagonals and circulants that needs no loop, two of the one and one of the
        other, is what they recommend.

    Taught in:
        31_train_a_diagonal
    """

    name = "cdvft"
    paper = "Ding et al. 2025, arXiv 2505.00580"
    lr = 1e-3  # that of the circulant update

    block: int | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.block is not None:
            check_count(self.name, "block", self.block)
        check_number(self.name, "alpha", self.alpha)

    def _circulant(self) -> CirculantUpdate:
        """What stands between the diagonals."""
        return CirculantUpdate(self.block, self.alpha)

    def n_params(self, m: int, n: int) -> int:
        return self._circulant().n_params(m, n) + m + n

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        return self._circulant().sizes(m, n)

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        return {**self._circulant().begin(name, weight, generator), "left": torch.ones(m), "right": torch.ones(n)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        circulant = self._circulant().operator(m, n, tensors)
        return Product(Product(Diagonal(tensors["left"]), circulant), Diagonal(tensors["right"]))
