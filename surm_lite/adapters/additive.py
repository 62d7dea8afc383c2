"""Adapters that add a structured matrix to the weight: most of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Inexact
from torch import Tensor, nn

from ..matrices import StructuredMatrix
from .base import Adapter, Method
from .merged import has_hooks, linear_sum


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
        ...     def start(self, m, n, generator):
        ...         return {"column": torch.zeros(n)}
        ...
        ...     def operator(self, m, n, tensors):
        ...         return SkewCirculant(tensors["column"])
        >>> count(adapt(nn.Sequential(nn.Linear(6, 6)), Skew(), targets="0")).trained
        6

    Taught in:
        21_finetune_vit
    """

    @abstractmethod
    def start(self, m: int, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The trained tensors of an m x n update at the start, in float32 on the CPU, by name."""

    @abstractmethod
    def operator(self, m: int, n: int, tensors: Mapping[str, Tensor]) -> StructuredMatrix:
        """S itself, scale included, from the trained tensors."""

    def wrap(self, name: str, layer: nn.Linear | Adapter, generator: torch.Generator) -> Additive:
        return Additive(layer, self, self.start(layer.out_features, layer.in_features, generator))


class Additive(Adapter):
    """A frozen linear layer plus a structured update.

    ``y = x (W0 + S)^T + b``, by one product where forming W pays (see ``linear_sum``), by two otherwise.

    Args:
        base_layer: an ``nn.Linear`` or another Adapter.
        method: the Update that says what S is.
        tensors: S's trained tensors by name; they take the dtype and device of the frozen weight.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")[0].operator()
        Toeplitz t[i−j] ∈ ℝ^(4×6), 9 numbers

    Taught in:
        21_finetune_vit
    """

    method: Update

    def __init__(self, base_layer: nn.Linear | Adapter, method: Update, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(base_layer, method)
        like = self.linear.weight
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.to(like.device, like.dtype)))

    def operator(self) -> StructuredMatrix:
        """The update S, over this adapter's parameters."""
        return self.method.operator(self.out_features, self.in_features, dict(self.named_parameters(recurse=False)))

    def weight(self) -> Inexact[Tensor, "m n"]:
        base = self.base_layer.weight() if isinstance(self.base_layer, Adapter) else self.base_layer.weight
        wide = torch.promote_types(base.dtype, torch.float32)  # half and bfloat16 are rounded once, at the end
        return (base.to(wide) + self.operator().to(wide).to_dense()).to(base.dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"x has shape {tuple(x.shape)}; this layer needs (..., {self.in_features})")
        stack, linear = self.stack(), self.linear
        if all(isinstance(a, Additive) for a in stack) and not any(has_hooks(a) for a in stack[:-1]):
            y = linear_sum(x, linear, [a.operator() for a in stack if isinstance(a, Additive)])
            if y is not None:
                return y
        y, S = self.base_layer(x), self.operator()
        return y + S.apply(x.to(S.dtype)).to(y.dtype)
