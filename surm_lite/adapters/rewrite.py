"""Adapters whose weight is not "base plus something": they say what the whole weight, and the bias, become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Inexact
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.additive import dense
from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.one_product import may_form


class Rewrite(Method, ABC):
    """A method that rewrites the whole weight, and may rewrite the bias.

    ``(W, b) = whole(W0, b0, tensors)``. A new one is a dataclass with three short methods.

    Example:
        >>> from dataclasses import dataclass
        >>> from surm_lite.adapters import adapt, count
        >>> @dataclass
        ... class Gain(Rewrite):
        ...     name, paper = "gain", "an exercise"
        ...
        ...     def n_params(self, m, n):
        ...         return m
        ...
        ...     def begin(self, name, weight, generator):
        ...         return {"gain": torch.ones(len(weight))}
        ...
        ...     def whole(self, weight, bias, tensors):
        ...         return tensors["gain"][:, None] * weight, bias
        >>> count(adapt(nn.Sequential(nn.Linear(6, 4)), Gain(), targets="0")).trained
        4

    Taught in:
        21_finetune_vit
    """

    @abstractmethod
    def begin(self, name: str, weight: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The tensors at the start, by name, as in ``Update.begin``."""

    @abstractmethod
    def whole(self, weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The whole weight (m, n) and bias (m,), from those of the layer beneath, in at least float32."""

    def factors(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """B of shape (m, r) and A of shape (r, n), where the weight has come down to ``B A``; see ``thin``."""
        return None

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Rewritten | None:
        if frozen.is_quantised(layer.linear if isinstance(layer, Adapter) else layer):
            raise ValueError(f"its weight is quantised, and method {self.name!r} rewrites the whole weight")
        return Rewritten(layer, self, self.begin(name, frozen.wide(dense(layer)), generator))


class Rewritten(Adapter):
    """A frozen linear layer whose weight and bias are read through a method.

    ``y = x W^T + b`` with ``(W, b) = whole(W0, b0)``. Where the layer beneath does more than that product, or computes
    in half precision, it is called and ``x (W - W0)^T + (b - b0)`` is added in float32: nothing that it does is lost,
    and no small change is rounded away.

    Args:
        base_layer: a linear layer or another Adapter.
        method: the Rewrite that says what W and b are.
        tensors: what they are made of, by name.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> layer = adapt(nn.Sequential(nn.Linear(6, 4)), "dora", targets="0", rank=2)[0]
        >>> torch.equal(layer.weight, layer.linear.weight)
        True

    Taught in:
        21_finetune_vit
    """

    method: Rewrite

    def whole(self) -> tuple[Tensor, Tensor | None]:
        """The whole weight and bias, in at least float32."""
        return self.method.whole(*self.below(), self.tensors())

    @property
    def weight(self) -> Inexact[Tensor, "m n"]:
        return self.whole()[0].to(frozen.weight(self.linear).dtype)

    @property
    def bias(self) -> Inexact[Tensor, " m"] | None:
        bias = self.whole()[1]
        return None if bias is None else bias.to(frozen.weight(self.linear).dtype)

    def factors(self) -> tuple[Tensor, Tensor] | None:
        return self.method.factors(self.tensors())

    def deployed(self) -> int:
        thin = self.factors()
        if thin is None:
            return super().deployed()
        return thin[0].numel() + thin[1].numel() - self.out_features * self.in_features

    def forward(self, x: Tensor) -> Tensor:
        self.check_input(x)
        W0, b0 = self.below()
        W, b = self.method.whole(W0, b0, self.tensors())
        if not isinstance(self.base_layer, Adapter) and may_form(x, self.base_layer, ()):
            return F.linear(x, W, b)
        y = self.base(x)
        change = F.linear(frozen.wide(x), W - W0)
        if b is not None:
            change = change + (b if b0 is None else b - b0)
        return y + change.to(y.dtype)
