"""Methods that compress: they train a copy of the weight, or two factors of it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters.base import Method
from surm_lite.adapters.rewrite import Rewrite


@dataclass
class Factored(Rewrite, ABC):
    """A trained copy of W, and from the moment that ``cut`` says two trained factors of it: ``W = B A``.

    A subclass decides when, and to which ranks. ``ranks`` holds what was decided: the rank of each layer by name, or
    None for one that stays whole; then a file rebuilds the layers, and a resumed run cuts them before it is filled.

    Taught in:
        25_your_own_model
    """

    ranks: dict[str, int | None] | None = field(default=None, repr=False, kw_only=True)

    def of(self, name: str) -> Method:
        rank = None if self.ranks is None else self.ranks[name]
        return Whole() if rank is None else Thin(rank)

    def n_params(self, m: int, n: int) -> int:
        return m * n

    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if self.ranks is not None and name not in self.ranks:
            raise ValueError(f"ranks of method {self.name!r} names {', '.join(self.ranks)}, and not this layer")
        rank = None if self.ranks is None else self.ranks[name]
        return {"full": weight.clone()} if rank is None else balanced(weight, rank)

    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return tensors["full"] if "full" in tensors else tensors["B"] @ tensors["A"], bias

    def factors(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        return None if "full" in tensors else (tensors["B"], tensors["A"])

    def cut(self, ranks: dict[str, int | None]) -> None:
        """Replaces the copy of each layer by two factors, but where its rank is None."""
        for name, adapter in self.layers.items():
            rank = ranks[name]
            if rank is not None:
                for key, tensor in balanced(adapter.tensors()["full"].detach(), rank).items():
                    adapter.register_parameter(key, nn.Parameter(tensor))
                del adapter.full
                adapter.names = ("B", "A")
        self.ranks = ranks

    def state_dict(self) -> dict[str, Any]:
        return {"ranks": self.ranks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.ranks is None and state["ranks"] is not None:
            self.cut(state["ranks"])


@dataclass
class Thin(Method):
    """What counts of a layer in two factors of some rank, with a bias of its own or without."""

    name, paper = "thin", "a layer in two factors"
    rank: int = 1
    bias: bool = False

    def n_params(self, m: int, n: int) -> int:
        return self.rank * (m + n) + m * self.bias

    def n_deployed(self, m: int, n: int) -> int:
        return self.rank * (m + n) - m * n


@dataclass
class Whole(Method):
    """What counts of a layer whose weight is trained whole."""

    name, paper = "whole", "a layer trained whole"

    def n_params(self, m: int, n: int) -> int:
        return m * n


def balanced(weight: Tensor, rank: int) -> dict[str, Tensor]:
    """The best two factors of a rank, each with the square roots of the singular values."""
    U, s, Vh = torch.linalg.svd(weight, full_matrices=False)
    root = s[:rank].sqrt()
    B, A = U[:, :rank] * root, root[:, None] * Vh[:rank]
    return {"B": B.contiguous(), "A": A.contiguous()}  # in one layout, wherever they come from: the same bits


def that_pays(rank: int, m: int, n: int) -> int | None:
    """The rank, or None where two factors of it have no fewer numbers than the layer."""
    return rank if rank * (m + n) < m * n else None
