"""Adapters that add a structured matrix to the weight: most of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Inexact
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.one_product import linear_sum
from surm_lite.matrices import StructuredMatrix


class Update(Method, ABC):
    """A method that adds a structured matrix to the weight. It says only what that matrix is made of.

    ``W = W0 + S``. A new one is a dataclass with three short methods.

    Example:
        >>> from dataclasses import dataclass
        >>> from surm_lite.adapters import adapt, count
        >>> from surm_lite.matrices import SkewCirculant
        >>> @dataclass
        ... class Skew(Update):
        ...     name, paper = "skew", "an exercise"
        ...
        ...     def n_params(self, m, n):
        ...         return n
        ...
        ...     def begin(self, name, weight, generator):
        ...         return {"column": torch.zeros(len(weight))}
        ...
        ...     def operator(self, m, n, tensors):
        ...         return SkewCirculant(tensors["column"])
        >>> count(adapt(nn.Sequential(nn.Linear(6, 6)), Skew(), targets="0")).trained
        6

    Taught in:
        21_finetune_vit
    """

    @abstractmethod
    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The tensors of the update at the start, by name; see ``Adapter`` for which are trained and saved.

        Args:
            name: of the layer in the model.
            weight: (m, n), what the layer computes with so far, detached, in at least float32.
            generator: the only source of chance; on the CPU.
        """

    @abstractmethod
    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        """S itself, scale included, from the tensors that ``begin`` made; an option ``alpha`` is a factor of it."""

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Additive | None:
        return Additive(layer, self, self.begin(name, frozen.wide(dense(layer)), generator))


def dense(layer: nn.Module) -> Tensor:
    """The weight of a layer or of the adapters on it, detached: what ``begin`` sees."""
    for adapter in layer.stack() if isinstance(layer, Adapter) else []:
        if not adapter.method.mergeable:
            raise ValueError(f"method {adapter.method.name!r} is not linear in x: no weight does what its layer does")
    return (layer.weight if isinstance(layer, Adapter) else frozen.weight(layer)).detach()


def base_weight(layer: nn.Module) -> Tensor:
    """The frozen weight at the bottom, detached: what a tensor that is rebuilt may depend on.

    ``dense`` will not do for it: a file rebuilds such tensors before it fills the adapters beneath.
    """
    return frozen.weight(layer.linear if isinstance(layer, Adapter) else layer).detach()


class Additive(Adapter):
    """A frozen linear layer plus a structured update.

    ``y = x (W0 + S)^T + b``, by one product where forming W pays (see ``linear_sum``), by two otherwise.

    Args:
        base_layer: a linear layer or another Adapter.
        method: the Update that says what S is.
        tensors: what S is made of, by name.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")[0].operator()
        Toeplitz t[i−j] ∈ ℝ^(4×6), 9 numbers

    Taught in:
        21_finetune_vit
    """

    method: Update

    def operator(self) -> StructuredMatrix:
        """The update S, over this adapter's tensors."""
        return self.method.operator(self.out_features, self.in_features, self.tensors())

    @property
    def weight(self) -> Inexact[Tensor, "m n"]:
        return self.whole()[0].to(frozen.weight(self.linear).dtype)

    def whole(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.below()
        return weight + self.operator().to_dense(), bias

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        stack, linear = self.stack(), self.linear
        if all(isinstance(a, Additive) for a in stack) and not any(frozen.is_watched(a) for a in stack[:-1]):
            y = linear_sum(x, linear, [a.operator() for a in stack if isinstance(a, Additive)])
            if y is not None:
                return y
        y, S = self.base(x), self.operator()
        return y + S.apply(x.to(S.dtype)).to(y.dtype)
