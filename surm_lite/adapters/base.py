"""An adapter is a layer; a method is the options it was made with and what it does while training."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor, nn


class Adapter(nn.Module, ABC):
    """A frozen linear layer with something small and trainable on it.

    A subclass says what the whole adapted weight is (``weight``, the oracle) and how to use it cheaply (``forward``);
    the two must agree. Whatever it registers as parameters or buffers is saved with the adapter, so a method that keeps
    state (masks, moving averages) registers that as buffers and it becomes part of every checkpoint.

    Args:
        base_layer: the layer being adapted: an ``nn.Linear``, or another Adapter, whose update this one adds to.
        method: the Method that made this adapter.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> layer = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")[0]
        >>> x = torch.ones(3, 6)
        >>> torch.allclose(layer(x), x @ layer.weight().mT + layer.bias())
        True

    Taught in:
        21_finetune_vit
    """

    base_layer: nn.Linear | Adapter

    def __init__(self, base_layer: nn.Linear | Adapter, method: Method) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.method = method
        self.train(base_layer.training)

    @abstractmethod
    def weight(self) -> Inexact[Tensor, "m n"]:
        """The whole adapted weight, dense: base weight and update."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., m): the same as ``x @ weight().mT + bias()``, by a cheaper path."""

    def bias(self) -> Inexact[Tensor, " m"] | None:
        """The whole adapted bias, or None."""
        return self.base_layer.bias() if isinstance(self.base_layer, Adapter) else self.base_layer.bias

    def merge(self) -> nn.Linear:
        """A new plain ``nn.Linear`` that computes what this adapter, and those beneath it, compute."""
        for adapter in self.stack():
            if not adapter.method.mergeable:
                raise ValueError(f"method {adapter.method.name!r} cannot be merged: its update is not linear in x")
        with torch.no_grad():
            weight, bias = self.weight(), self.bias()
            # On the meta device nothing is initialised, so no random number is drawn.
            layer = nn.Linear(self.in_features, self.out_features, bias=bias is not None, device="meta")
            layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
            if bias is not None:
                layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        return layer.train(self.training)

    @property
    def linear(self) -> nn.Linear:
        """The frozen ``nn.Linear`` at the bottom."""
        return self.base_layer.linear if isinstance(self.base_layer, Adapter) else self.base_layer

    def stack(self) -> list[Adapter]:
        """The adapters on this layer, the first attached first."""
        below = self.base_layer.stack() if isinstance(self.base_layer, Adapter) else []
        return [*below, self]

    def own(self) -> dict[str, Tensor]:
        """This adapter's own parameters and buffers by name: what an adapter file holds."""
        return {k: v for k, v in self.state_dict(keep_vars=True).items() if not k.startswith("base_layer.")}

    @property
    def in_features(self) -> int:
        return self.base_layer.in_features

    @property
    def out_features(self) -> int:
        return self.base_layer.out_features

    def extra_repr(self) -> str:
        return f"{self.method}, {sum(t.numel() for t in self.own().values()):,} numbers"


@dataclasses.dataclass
class Method:
    """The options of one fine-tuning method, and what it does at each moment of training.

    A subclass is a dataclass: its fields are the options, validated in ``__post_init__``. It must write ``n_params``
    and ``wrap``; the other hooks do nothing here, and the training loop calls them at the moments they name. Hooks that
    take ``state`` get an object with ``step``, ``total_steps``, ``lr``, ``optimizer`` and ``reset_moments(param,
    index)``. Most methods add a structured matrix to the weight: they derive from ``Update`` and write even less.

    Example:
        >>> from surm_lite.adapters import LoRA
        >>> LoRA(rank=4).n_params(768, 768)
        6144

    Taught in:
        21_finetune_vit
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    exact_at_init: ClassVar[bool] = True
    """The freshly adapted model computes exactly what the base model computes."""
    mergeable: ClassVar[bool] = True
    """The update is linear in x, so it can be added to the base weight."""
    needs: ClassVar[tuple[str, ...]] = ()
    """What the training loop must know beforehand: "total_steps", "batches"."""
    lr: ClassVar[float] = 1e-3
    """A learning rate for AdamW to start a search from."""

    layers: dict[str, Adapter] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def options(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    def wrap(self, name: str, layer: nn.Linear | Adapter, generator: torch.Generator) -> Adapter:
        """An adapter around ``layer``, which stays untouched. Raises ValueError where the options do not fit it."""
        raise NotImplementedError

    def n_params(self, m: int, n: int) -> int:
        """How many numbers this method trains on an m x n layer: the closed formula, for matching budgets."""
        raise NotImplementedError

    def calibrate(self, model: nn.Module, batches: Iterable[Any]) -> None:
        """Before layers are replaced: look at data."""

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """When the optimiser is built: parameter groups with their own settings. Empty: one common group."""
        return []

    def before_step(self, state: Any) -> None:
        """Before the forward pass."""

    def penalty(self) -> Tensor | float:
        """With the loss: a term to add to it."""
        return 0.0

    def after_backward(self, state: Any) -> None:
        """When gradients are ready: read or rewrite them."""

    def after_step(self, state: Any) -> None:
        """When the optimiser has stepped: advance a schedule, edit parameters."""

    def after_epoch(self, state: Any) -> bool:
        """After each epoch; True asks for a new optimiser (moments of kept parameters stay)."""
        return False

    def finish(self, model: nn.Module) -> None:
        """At the end of training."""

    def state_dict(self) -> dict[str, Any]:
        """What changes while training and is no trained parameter or buffer of the model: tensors and JSON values.

        A checkpoint holds it. A hook that draws chance keeps a generator of its own, and its state here; then several
        processes draw the same.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what ``state_dict`` gave; called before the tensors of the model are filled."""


def near(what: str, value: str, choices: Iterable[str]) -> str:
    """The words of an error about an unknown name: the close ones, or else all of them."""
    choices = list(dict.fromkeys(choices))
    close = get_close_matches(value, choices, n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(map(repr, close))}?" if close else f"known: {', '.join(map(repr, choices[:20]))}"
    return f"unknown {what} {value!r}; {hint}"


def check_count(owner: str, name: str, value: object) -> None:
    """An option that must be an integer of at least one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be an integer of at least 1")


def check_number(owner: str, name: str, value: object) -> None:
    """An option that must be a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be a finite number")


def check_flag(owner: str, name: str, value: object) -> None:
    """An option that must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} of method {owner!r} is {value!r}; it must be True or False")
