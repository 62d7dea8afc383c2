"""Toeplitz updates: any Toeplitz matrix, and SURM's product of two symmetric ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from surm_lite.adapters.additive import Update
from surm_lite.adapters.options import check_number
from surm_lite.matrices import SymmetricToeplitz, Toeplitz
from surm_lite.matrices.compose import Product


@dataclass
class ToeplitzUpdate(Update):
    """A Toeplitz update, square or rectangular.

    ``W = W0 + alpha T`` with T[i, j] = t[i - j]: one number a diagonal, m + n - 1 in all.

    The update is linear in its numbers, so all of them start at zero and still get a gradient in the first step.

    Args:
        alpha: scale of the update.

    Raises:
        ValueError: alpha is not a finite number.

    Cost:
        m + n - 1 numbers; O((m + n) log(m + n)) time a token.

    Example:
        >>> start = ToeplitzUpdate().begin("0", torch.zeros(4, 6), torch.Generator())
        >>> {k: tuple(t.shape) for k, t in start.items()}
        {'column': (4,), 'row': (5,)}

    Source:
        SURM, section 3, which trains symmetric Toeplitz factors only; a rectangular update is this library's.

    Taught in:
        21_finetune_vit
    """

    name = "toeplitz"
    paper = "Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    lr = 1e-3

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha)

    def n_params(self, m: int, n: int) -> int:
        return m + n - 1

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        return {"column": torch.zeros(m), "row": torch.zeros(n - 1)}  # the corner belongs to the column

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Toeplitz:
        column, row = self.alpha * tensors["column"], self.alpha * tensors["row"]
        return Toeplitz(column, torch.cat([column[:1], row]))


@dataclass
class SymmetricToeplitzUpdate(Update):
    """SURM's Toeplitz update: the product of two symmetric Toeplitz matrices.

    ``W = W0 + alpha T2 P T1`` with T1 of size n x n and T2 of size m x m; P crops or pads with zeros between them, and
    for a square layer it is the identity, as in the paper.

    T2 starts at zero. T1 starts as N(0, 1/n), which keeps the norm of x on average; the authors' code draws
    N(0, 0.02^2) at every size.

    Args:
        alpha: scale of the update.

    Raises:
        ValueError: alpha is not a finite number.

    Cost:
        m + n numbers; O((m + n) log(m + n)) time a token, two Toeplitz products.

    Example:
        >>> start = SymmetricToeplitzUpdate().begin("0", torch.zeros(4, 6), torch.Generator())
        >>> {k: tuple(t.shape) for k, t in start.items()}
        {'right': (6,), 'left': (4,)}

    Source:
        SURM, section 5.1. Products of symmetric Toeplitz matrices never reach all matrices: Ye and Lim (2016).

    Taught in:
        21_finetune_vit
    """

    name = "symmetric_toeplitz"
    paper = "Sehanobish et al. 2024 (SURM), arXiv 2406.17740"
    lr = 1e-3

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha)

    def n_params(self, m: int, n: int) -> int:
        return m + n

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        m, n = weight.shape
        return {"right": torch.randn(n, generator=generator) / sqrt(n), "left": torch.zeros(m)}

    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> Product:
        return Product(SymmetricToeplitz(self.alpha * tensors["left"]), SymmetricToeplitz(tensors["right"]))
