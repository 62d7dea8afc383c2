"""An adapter is a layer; a method is the options it was made with and what it does while training."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor, nn

from surm_lite.adapters import frozen

Losses = Sequence[Callable[[], Tensor]]
"""Repeatable forwards in eval mode and float32, each on one training batch; each returns its differentiable loss."""


class Adapter(nn.Module, ABC):
    """A frozen linear layer with something small and trainable on it.

    A subclass says what the whole adapted weight is (``weight``, the oracle) and how to use it cheaply (``forward``);
    the two must agree. Its tensors come from ``begin`` of its method: plain tensors and parameters are trained, an
    ``nn.Buffer`` is frozen and saved, an ``nn.Buffer(..., persistent=False)`` is frozen and rebuilt, not saved. On a
    base in half precision they are float32: sixteen bits are too few for the steps of an optimiser.

    Args:
        base_layer: the layer being adapted: a linear layer, or another Adapter, whose update this one adds to.
        method: the Method that made this adapter.
        tensors: what ``begin`` returned, by name.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> layer = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")[0]
        >>> x = torch.ones(3, 6)
        >>> torch.allclose(layer(x), x @ layer.weight.mT + layer.bias)
        True

    Taught in:
        21_finetune_vit
    """

    base_layer: nn.Module
    names: tuple[str, ...]
    """Names of the adapter's own tensors."""

    def __init__(self, base_layer: nn.Module, method: Method, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.method = method
        self.names = tuple(tensors)
        register(self, tensors, like=frozen.weight(self.linear).detach())
        self.train(base_layer.training)

    @property
    @abstractmethod
    def weight(self) -> Inexact[Tensor, "m n"]:
        """The whole adapted weight, dense: base weight and update."""

    @property
    def bias(self) -> Inexact[Tensor, " m"] | None:
        """The whole adapted bias, or None."""
        return self.base_layer.bias if isinstance(self.base_layer, Adapter) else frozen.bias(self.base_layer)

    def whole(self) -> tuple[Tensor, Tensor | None]:
        """Whole weight and bias before they are rounded to the dtype of the layer: in at least float32."""
        return frozen.wide(self.weight), None if self.bias is None else frozen.wide(self.bias)

    def below(self) -> tuple[Tensor, Tensor | None]:
        """The same of what lies beneath this adapter."""
        if isinstance(self.base_layer, Adapter):
            return self.base_layer.whole()
        bias = frozen.bias(self.base_layer)
        return frozen.wide(frozen.weight(self.base_layer)), None if bias is None else frozen.wide(bias)

    def base(self, x: Tensor) -> Tensor:
        """What the layer beneath computes."""
        return self.base_layer(x) if isinstance(self.base_layer, Adapter) else frozen.call(self.base_layer, x)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., m): the same as ``x @ weight.mT + bias``, by a cheaper path."""

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's own tensors by name, frozen ones included. By attribute, so that pruned ones are found too."""
        return {name: getattr(self, name) for name in self.names}

    def own(self) -> dict[str, Tensor]:
        """All parameters and persistent buffers of the adapter itself, as torch holds them."""
        return {
            k: v
            for k, v in self.state_dict(keep_vars=True).items()
            if not k.startswith("base_layer.") and isinstance(v, Tensor)
        }

    def saved(self) -> dict[str, Tensor]:
        """What an adapter file holds: the tensors that ``begin`` named, as they are used, but for rebuilt ones."""
        return {k: t for k, t in self.tensors().items() if k not in self._non_persistent_buffers_set}

    def deployed(self) -> int:
        """Numbers that the finished layer has more than the base layer; negative where it has fewer."""
        return 0 if self.method.mergeable else sum(t.numel() for t in self.own().values())

    def merge(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A new plain layer that computes what this adapter, and those beneath it, compute.

        It is an ``nn.Linear``, or a Conv1D over one. ``dtype`` is that of the result; None takes that of the layer.
        """
        for adapter in self.stack():
            if not adapter.method.mergeable:
                raise ValueError(f"method {adapter.method.name!r} cannot be merged: its update is not linear in x")
        if dtype is None and frozen.is_quantised(self.linear):
            raise ValueError(
                "its weight is quantised, which a merged one could not be; "
                "merge(model, dtype=torch.float32) makes it a layer in that dtype"
            )
        for lost in filter(None, [frozen.lost_by_merging(self.linear), *map(frozen.hooks_lost, self.stack())]):
            raise ValueError(f"cannot be merged: {lost}")
        with torch.no_grad():
            weight, bias = self.whole()
            dtype = frozen.weight(self.linear).dtype if dtype is None else dtype
            bias = None if bias is None else bias.to(dtype)
            return frozen.plain(self.linear, weight.to(dtype), bias).train(self.training)

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """B of shape (m, r) and A of shape (r, n) with ``weight = B A``, where the method ends in two thin layers."""
        return None

    @property
    def linear(self) -> Any:
        """The frozen linear layer at the bottom, of whatever kind."""
        return self.base_layer.linear if isinstance(self.base_layer, Adapter) else self.base_layer

    def stack(self) -> list[Adapter]:
        """The adapters on this layer, the first attached first."""
        below = self.base_layer.stack() if isinstance(self.base_layer, Adapter) else []
        return [*below, self]

    @property
    def in_features(self) -> int:
        return frozen.shape(self.linear)[1]

    @property
    def out_features(self) -> int:
        return frozen.shape(self.linear)[0]

    def check_input(self, x: Tensor) -> None:
        """ValueError unless x is (..., in_features)."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"x has shape {tuple(x.shape)}; this layer needs (..., {self.in_features})")

    def extra_repr(self) -> str:
        return f"{self.method}, {sum(t.numel() for t in self.own().values()):,} numbers"


def register(module: nn.Module, tensors: Mapping[str, Tensor], like: Tensor) -> None:
    """Puts what ``begin`` returned on a module: on the device of ``like`` and, if floating, in at least float32."""
    wide = torch.promote_types(like.dtype, torch.float32)
    for name, tensor in tensors.items():
        moved = tensor.detach().to(like.device, wide if tensor.is_floating_point() else tensor.dtype)
        if isinstance(tensor, nn.Buffer):
            module.register_buffer(name, moved, persistent=tensor.persistent)
        else:
            module.register_parameter(name, nn.Parameter(moved))


@dataclasses.dataclass
class Method:
    """The options of one fine-tuning method, and what it does at each moment of training.

    A subclass is a dataclass: its fields are the options, validated in ``__post_init__``. It writes ``n_params`` and,
    through ``Update`` or ``Rewrite``, what a layer becomes; the hooks do nothing here, and the training loop calls them
    at the moments they name. Hooks that take ``state`` get an object with ``step``, ``total_steps``, ``lr``,
    ``model``, ``optimizer`` and ``reset_moments(param, index)``.

    Three conventions carry the rest. What ``wrap`` needs later, such as ranks that data decided, is an *option*
    (``field(default=None, repr=False)``), so that a file rebuilds the layer by itself. What only a resumed run needs is
    in ``state_dict`` and never in an adapter file. What the base weight or an option determines is a non-persistent
    buffer. All else that a layer needs are its tensors, and those are saved.

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
    """What must be known beforehand: "losses" (training data, at ``adapt``), "total_steps" (of the run)."""
    wraps: ClassVar[bool] = True
    """It replaces layers. A method that does not trains parameters of the model itself: those that ``keep`` names."""
    keep: ClassVar[tuple[str, ...]] = ()
    """Patterns of modules or parameters that are trained whole, besides those of ``adapt(keep=...)``."""
    steps_itself: ClassVar[bool] = False
    """It moves its own tensors: ``grad`` is None after ``after_backward``, and ``after_step`` steps at ``state.lr``."""
    lr: ClassVar[float] = 1e-3
    """A learning rate for AdamW to start a search from: the one that validation chose on the leaderboard."""
    tolerance: ClassVar[float] = 1e-5
    """Largest relative error in float32 of the cheap forward and of merging, of which ``check_method`` approves."""

    layers: dict[str, Adapter] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    """The adapters of this method by layer name, once they are in place."""
    found: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)
    """What ``calibrate`` leaves for ``begin``; emptied when the layers are in place."""
    seconds: float = dataclasses.field(default=0.0, init=False, repr=False, compare=False)
    """Time that ``calibrate`` took: part of the time of the run."""

    def options(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    def ready(self) -> bool:
        """Whether it can wrap layers as it is, without ``calibrate``: its options say all that data would decide."""
        return "losses" not in self.needs

    def acts(self, hook: str) -> bool:
        """Whether a hook does something with these options."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    def of(self, name: str) -> Method:
        """The method as it is on one layer: itself, unless it decides something for each layer, such as its rank."""
        return self

    def n_params(self, m: int, n: int) -> int:
        """How many numbers this method trains on an m x n layer: the closed formula, for matching budgets."""
        raise NotImplementedError

    def n_stored(self, m: int, n: int) -> int:
        """How many numbers an adapter file holds for such a layer: the trained ones and frozen ones that are saved."""
        return self.n_params(m, n)

    def n_deployed(self, m: int, n: int) -> int:
        """How many numbers more than the base layer the finished one has; negative where it has fewer."""
        return 0 if self.mergeable else self.n_stored(m, n)

    def sizes(self, m: int, n: int) -> Iterator[dict[str, Any]]:
        """Options for an m x n layer that differ in ``n_params``; of those equal in it, the preferred comes last."""
        yield {}

    def stir(self, adapter: Adapter, generator: torch.Generator) -> None:
        """Gives an adapter of this method numbers as after training: how a test moves it away from its start."""
        with torch.no_grad():
            for tensor in adapter.parameters(recurse=False):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)

    def wrap(self, name: str, layer: nn.Module, generator: torch.Generator) -> Adapter | None:
        """An adapter around ``layer``, which stays untouched; None leaves the layer plain.

        Raises ValueError where the options do not fit the layer.
        """
        raise NotImplementedError

    def calibrate(self, model: nn.Module, layers: Mapping[str, nn.Module], losses: Losses) -> None:
        """Before layers are replaced: look at data.

        ``adapt`` puts flags, gradients, hooks, mode and chance of the model back afterwards.
        """

    def param_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """When the optimiser is built: groups with ``lr``, or ``lr_scale`` of the common one. Empty: one group."""
        return []

    def before_step(self, state: Any) -> None:
        """Before the forward pass."""

    def penalty(self, state: Any) -> Tensor | float:
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
        """At the end of training, before the model is looked at for the last time."""

    def state_dict(self) -> dict[str, Any]:
        """What changes while training and is no tensor of the model: tensors and JSON values, for a checkpoint.

        A hook that draws chance keeps a generator of its own, and its state here; then several processes draw the same.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what ``state_dict`` gave. Called before tensors are filled, so that it can swap layers first."""
