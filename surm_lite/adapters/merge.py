"""Fold adapters into plain layers, and take them out again."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from surm_lite.adapters import frozen
from surm_lite.adapters.attached import require_adapters
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.held import forget
from surm_lite.adapters.names import merged_from, named_parameters, swap


def merge(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Turns every adapter into a plain layer that holds the sum of base weight and update, in place.

    ``W = W0 + S``. The merged model has the architecture, the ``state_dict`` names and the speed of the base model.
    Only this call merges; ``eval()`` never does. The adapters are remembered, W0 bit for bit, until ``unmerge``.

    In half precision the sum is rounded, and a warning says how much of the update that loses. A weight that was tied
    to another one no longer is: a warning names both.

    Args:
        model: an adapted model. One that is merged already stays as it is.
        dtype: of the whole merged model, such as ``torch.float32``, which keeps all of an update. It also turns layers
            whose weight is held in few bits into plain ones. None: every layer stays in its own.

    Returns:
        The same model.

    Raises:
        ValueError: the model has no adapter, or one whose method cannot be merged; a layer has hooks or a forward of
            its own, which a plain one would lose; a weight is quantised and no dtype given. The model stays as it was.

    Cost:
        O(m n) a layer, and the memory of a second weight.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> type(merge(model)[0].weight), list(model.state_dict())
        (<class 'torch.nn.parameter.Parameter'>, ['0.weight', '0.bias'])

    Taught in:
        21_finetune_vit
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype is {dtype!r}; it must be None or a real floating dtype such as torch.float32")
    adapters = require_adapters(model)
    done = {id(merged_from(m)) for m in model.modules()}
    new = {name: adapter for name, adapter in adapters.items() if id(adapter) not in done}
    for warning in [*untied(model, new), *_rounded(new, dtype)]:
        warnings.warn(f"merge: {warning}", stacklevel=2)
    swap(model, {id(adapter): folded(name, adapter, dtype) for name, adapter in new.items()})
    return model if dtype is None else model.to(dtype)


def folded(name: str, adapter: Adapter, dtype: torch.dtype | None = None) -> nn.Module:
    """The plain layer for an adapter, which it remembers."""
    try:
        layer = adapter.merge(dtype)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    # In a tuple, so that the adapter is no submodule: the state_dict is that of the plain model.
    vars(layer)["surm_origin"] = (adapter,)
    return layer


def untied(model: nn.Module, adapters: dict[str, Adapter]) -> list[str]:
    """What merging these adapters tears apart, in words: a weight that something else in the model uses too."""
    found = []
    named = named_parameters(model)
    for name, adapter in adapters.items():
        held = getattr(adapter.linear, "weight", None)
        uses = {id(m) for m in model.modules() if any(p is held for p in m._parameters.values())}
        if len(uses) > 1:
            names = " and ".join(named[id(held)][1])
            found.append(f"{names} are one tensor; merging {name} gives it a weight of its own")
    return found


@torch.no_grad()
def _rounded(adapters: dict[str, Adapter], dtype: torch.dtype | None) -> list[str]:
    """What rounding leaves of the updates, in words."""
    lost = whole = 0.0
    to = None
    for adapter in adapters.values():
        if frozen.is_quantised(adapter.linear) or not all(a.method.mergeable for a in adapter.stack()):
            continue
        W0, W = frozen.wide(frozen.weight(adapter.linear)), adapter.whole()[0]
        own = frozen.weight(adapter.linear).dtype if dtype is None else dtype
        if own in (torch.float16, torch.bfloat16):
            to = own
            lost += float((W.to(own).to(W.dtype) - W).norm() ** 2)
            whole += float((W - W0).norm() ** 2)
    if not lost:
        return []
    error = (lost / whole) ** 0.5 if whole else float("inf")
    return [
        f"rounding to {str(to).rpartition('.')[2]} changes the update by {100 * error:.2g} % of its size and keeps "
        f"{max(0.0, 100 * (1 - error)):.2g} %; merge(model, dtype=torch.float32) keeps all"
    ]


def unmerge(model: nn.Module) -> nn.Module:
    """Puts the adapters back that ``merge`` folded in, with the original weights bit for bit, in place.

    Args:
        model: a merged model. One that is not merged stays as it is.

    Returns:
        The same model.

    Raises:
        ValueError: the model has no adapter, merged or not.

    Cost:
        O(1) a layer.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> w0 = model[0].linear.weight
        >>> unmerge(merge(model))[0].linear.weight is w0
        True

    Taught in:
        21_finetune_vit
    """
    require_adapters(model)
    swap(model, {id(m): _back(m, adapter) for m in model.modules() if (adapter := merged_from(m)) is not None})
    return model


def _back(merged: nn.Module, adapter: Adapter) -> Adapter:
    """The adapter, moved to where the merged layer is by now. Where nothing has moved, every bit stays."""
    at: torch.Tensor = merged.weight  # type: ignore[assignment]
    adapter.to(at.device)
    if not frozen.is_quantised(adapter.linear) and frozen.weight(adapter.linear).dtype != at.dtype:
        adapter.linear.to(at.dtype)
        wide = torch.promote_types(at.dtype, torch.float32)  # adapters do not go down to half precision
        for each in adapter.stack():
            for tensor in (*each.parameters(recurse=False), *each.buffers(recurse=False)):
                tensor.data = tensor.data.to(wide) if tensor.is_floating_point() else tensor.data
    return adapter.train(merged.training)


def thin(model: nn.Module) -> nn.Module:
    """Turns every adapter that has come down to two factors into two thin layers, in place and for good.

    ``y = B (A x) + b``. The counterpart of ``merge`` for methods that compress; adapters that have no factors are
    merged. The base weights are dropped, so nothing can be taken back.

    Args:
        model: an adapted model, not merged.

    Returns:
        The same model; each such layer is now an ``nn.Sequential`` of two ``nn.Linear``.

    Raises:
        ValueError: the model has no adapter, none with factors, or one that can neither be thinned nor merged. The
            model is then untouched.

    Cost:
        r (m + n) numbers a layer instead of m n.

    Example:
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> thin(model)
        Traceback (most recent call last):
        ValueError: no adapter of the model ends in two thin layers (lora); call merge(model) instead

    Taught in:
        25_your_own_model
    """
    adapters = require_adapters(model)
    if all(adapter.factors() is None for adapter in adapters.values()):
        names = ", ".join(dict.fromkeys(a.method.name for adapter in adapters.values() for a in adapter.stack()))
        raise ValueError(f"no adapter of the model ends in two thin layers ({names}); call merge(model) instead")
    swap(model, {id(adapter): _thin(name, adapter) for name, adapter in adapters.items()})
    forget(model)
    return model


@torch.no_grad()
def _thin(name: str, adapter: Adapter) -> nn.Module:
    factors = adapter.factors()
    if factors is None:
        try:
            return adapter.merge()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    B, A = (factor.to(frozen.weight(adapter.linear).dtype) for factor in factors)
    return nn.Sequential(frozen.linear(A, None), frozen.linear(B, adapter.bias)).train(adapter.training)
