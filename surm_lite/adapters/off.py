"""The model without its adapters, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from surm_lite.adapters.attached import adapters_of, methods_of
from surm_lite.adapters.names import merged_from, put, swap


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Takes the adapters of a model out of the way: inside the block, adapted layers compute what they did before.

    ``y = x W0^T + b``. For a reference pass, such as that of a preference loss. Modules that are trained whole, such as
    a new head, stay as they are. Blocks may be nested, and an exception inside puts the adapters back too. Inside, the
    model is the plain one: ``state_dict`` has its names, and ``count`` finds no adapter.

    Args:
        model: an adapted model, not merged.

    Returns:
        A context that gives the same model.

    Raises:
        ValueError: the model has no adapter, is merged, or has a method that wraps no layer, such as "full": what that
            one trains has taken the place of what was there before.

    Cost:
        Nothing is computed or copied.

    Example:
        >>> import torch
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "circulant", targets="0", block=2)
        >>> _ = nn.init.ones_(model[0].kernel)
        >>> x = torch.ones(1, 6)
        >>> with disabled(model):
        ...     before = model(x)
        >>> (model(x) - before).detach().round(decimals=4)
        tensor([[6., 6., 6., 6.]])

    Taught in:
        21_finetune_vit
    """
    for method in methods_of(model):
        if not method.wraps:
            raise ValueError(f"method {method.name!r} wraps no layer, so there is nothing to take away again")
    if any(merged_from(m) is not None for m in model.modules()):
        raise ValueError("the model is merged; call unmerge(model) first")
    adapters = {id(adapter): adapter for adapter in adapters_of(model).values()}
    if not adapters and not methods_of(model):
        raise ValueError("the model has no adapter; call adapt(model, ...) or load_adapter(model, path) first")
    places = [
        (parent, key, child)
        for parent in model.modules()
        for key, child in parent._modules.items()
        if child is not None and id(child) in adapters
    ]
    swap(model, {key: adapter.linear for key, adapter in adapters.items()})
    try:
        yield model
    finally:
        for parent, key, adapter in places:
            put(parent, key, adapter)
            adapter.train(adapters[id(adapter)].linear.training)  # the mode may have changed inside
