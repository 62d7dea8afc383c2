"""What an adapter needs to know of the frozen layer beneath it, whatever kind of linear layer that is.

Kinds: ``nn.Linear`` and its subclasses; the ``Conv1D`` of transformers (GPT-2), whose weight lies transposed; layers
whose weight is held in few bits: torch's own dynamically quantised linear, weights of torchao, and subclasses of
``nn.Linear`` with a weight of integers, as bitsandbytes has them.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.weight_norm import WeightNorm


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer of a kind that can carry an adapter."""
    return isinstance(module, nn.Linear) or is_conv1d(module) or is_dynamic(module)


def is_conv1d(module: nn.Module) -> bool:
    """Whether it is transformers' layer with a weight of shape (n, m)."""
    known = sys.modules.get("transformers.pytorch_utils")
    return known is not None and isinstance(module, known.Conv1D)


def is_dynamic(module: nn.Module) -> bool:
    """Whether it is torch's own quantised linear, whose weight and bias are methods."""
    known = sys.modules.get("torch.ao.nn.quantized.dynamic")
    return known is not None and isinstance(module, known.Linear)


def is_quantised(layer: nn.Module) -> bool:
    """Whether the weight is held in fewer bits than the layer computes with."""
    if is_dynamic(layer):
        return True
    held: Any = layer.weight
    return _is_packed(held) or not (held.is_floating_point() or held.is_complex())


def _is_packed(held: Tensor) -> bool:
    if type(held) in (Tensor, nn.Parameter):  # the usual case; torch.compile cannot read the rest
        return False
    return type(held).__module__.partition(".")[0] == "torchao" or type(held.data).__module__.startswith("torchao.")


def unpacked(held: Tensor) -> Tensor:
    """A tensor, or the plain one that a packed tensor of torchao stands for: it has few of torch's functions itself."""
    return held.dequantize() if _is_packed(held) else held


def shape(layer: nn.Module) -> tuple[int, int]:
    """(m, n): outputs and inputs."""
    found: Any = layer
    return (found.nf, found.nx) if is_conv1d(layer) else (found.out_features, found.in_features)


def weight(layer: nn.Module) -> Inexact[Tensor, "m n"]:
    """The weight as an (m, n) matrix: the parameter itself, its transpose, or what its few bits stand for."""
    held: Any = layer.weight
    if is_dynamic(layer):
        return held().dequantize()
    if _is_packed(held):
        return unpacked(held)
    if not (held.is_floating_point() or held.is_complex()):
        return _asked(layer)
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):  # old style: the attribute is what the last forward computed
            held = hook.compute_weight(layer)
    return held.mT if is_conv1d(layer) else held


@torch.no_grad()
def _asked(layer: nn.Module) -> Tensor:
    """The weight of a layer that can only be called: what it makes of the unit vectors, less what it makes of zero."""
    n, b = shape(layer)[1], bias(layer)
    x = torch.eye(n, dtype=torch.float32 if b is None else b.dtype, device=layer.weight.device)  # type: ignore[arg-type]
    both: Tensor = layer(torch.cat([x, torch.zeros_like(x[:1])]))
    return (both[:-1] - both[-1]).mT


def bias(layer: nn.Module) -> Inexact[Tensor, " m"] | None:
    """The bias, or None."""
    held: Any = layer.bias
    return held() if is_dynamic(layer) else held


def own_weight(layer: nn.Module) -> nn.Parameter:
    """The parameter itself, (m, n) or (n, m); ValueError where the layer has none that could get a gradient."""
    if is_quantised(layer):
        raise ValueError("its weight is quantised, so it has no gradient")
    held: Any = layer.weight
    return held


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)``, with a gradient for x also where torch's quantised layer gives none."""
    if is_dynamic(layer) and torch.is_grad_enabled() and x.requires_grad:
        y: Tensor = _StraightThrough.apply(x, layer)
        return y
    y = layer(x)
    return y


class _StraightThrough(torch.autograd.Function):
    """A quantised layer forward, its dequantised weight backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer = layer
        y: Tensor = layer(x)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return g @ weight(ctx.layer).to(g.dtype), None


def is_plain(layer: nn.Module) -> bool:
    """Whether calling the layer is ``x W^T + b`` and nothing else, so that it need not be called."""
    return not (has_own_forward(layer) or is_quantised(layer) or is_watched(layer))


def has_own_forward(layer: nn.Module) -> bool:
    """Whether it computes in a way of its own: a subclass, or an instance whose forward was replaced."""
    if is_dynamic(layer):
        return False
    usual = sys.modules["transformers.pytorch_utils"].Conv1D if is_conv1d(layer) else nn.Linear
    return "forward" in vars(layer) or type(layer).forward is not usual.forward


def is_watched(module: nn.Module) -> bool:
    """Whether calling the module does more than the forward of its class."""
    return "forward" in vars(module) or has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks are called with it, its own or those of all modules."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or torch_module._has_any_global_hook()
    )


def nothing(module: nn.Module, inputs: Any) -> None:
    """A forward pre-hook without effect."""


def lost_by_merging(layer: nn.Module) -> str | None:
    """What a plain layer with the same weight would not do; None where it computes the same."""
    if has_own_forward(layer) and not _only_unpacks(layer):
        return f"its layer has a forward of its own ({type(layer).__name__}), which a plain layer would lose"
    return hooks_lost(layer)


@torch.no_grad()
def _only_unpacks(layer: nn.Module) -> bool:
    """Whether a class keeps its weight as integers, and its forward adds just the bias to the product with it."""
    held: Any = layer.weight
    if is_dynamic(layer) or held.is_floating_point() or held.is_complex() or "forward" in vars(layer):
        return False
    W, b = weight(layer), bias(layer)
    zero = torch.zeros(1, W.shape[1], dtype=W.dtype, device=W.device)
    return bool(torch.equal(layer(zero)[0], torch.zeros_like(W[:, 0]) if b is None else b.to(W.dtype)))


def hooks_lost(module: nn.Module) -> str | None:
    """Whether a module has hooks that do something a plain layer would not do."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    if any(h is not nothing and not isinstance(h, WeightNorm) for h in hooks) or (
        module._backward_hooks or module._backward_pre_hooks or "forward" in vars(module)
    ):
        return "it has hooks or a forward of its own, which a plain layer would lose; take them off first"
    return None


def plain(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A frozen layer with copies of this (m, n) weight and bias, and the names and shapes of ``layer``."""
    if not is_conv1d(layer):
        return linear(weight, bias)
    with torch.device("meta"):  # nothing is initialised, so no random number is drawn
        made: Any = sys.modules["transformers.pytorch_utils"].Conv1D(*weight.shape)
    made.weight = nn.Parameter(weight.detach().mT.clone(memory_format=torch.contiguous_format), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    found: nn.Module = made
    return found


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen ``nn.Linear`` with copies of this weight and bias."""
    m, n = weight.shape
    # On the meta device nothing is initialised, so no random number is drawn.
    layer = nn.Linear(n, m, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def wide(tensor: Tensor) -> Tensor:
    """In at least float32: sums of half-precision numbers are rounded once, at the end."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
