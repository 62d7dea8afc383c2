"""The names that modules and tensors had before anything was put around them or in their place.

``torch.compile``, ``DataParallel``, ``DistributedDataParallel`` and averaged models add a component to every name
inside, an adapter one to those of the layer beneath it. Here, and only here, they are left out: by what the modules
are, never by how the text of a name begins or ends. A model may use any name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from surm_lite.adapters.base import Adapter

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def check_model(model: object, name: str = "model") -> None:
    """TypeError for what is no module."""
    if not isinstance(model, nn.Module):
        kind = model.__name__ if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"{name}: got {kind}, need a torch.nn.Module")


def unwrap(module: nn.Module) -> nn.Module:
    """The module that a wrapper, or several, were put around; any other module is itself."""
    while (inner := _inside(module)) is not None:
        module = inner
    return module


def _inside(module: nn.Module) -> nn.Module | None:
    if isinstance(module, WRAPPERS):
        return module.module
    compiled = sys.modules.get("torch._dynamo.eval_frame")
    if compiled is not None and isinstance(module, compiled.OptimizedModule):
        return module._modules["_orig_mod"]
    return None


def merged_from(module: nn.Module) -> Adapter | None:
    """The adapter that was folded into a plain layer; None for every other module."""
    adapter: Adapter | None = vars(module).get("surm_origin", (None,))[0]
    return adapter


def walk(model: nn.Module, *, merged: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Every module under every plain name that it has, outer ones first.

    An adapter and the layers beneath it have one name. A merged layer counts as the adapter that it was merged from,
    or with ``merged`` as itself.
    """
    check_model(model)
    return _visit("", model, merged, False)


def walk_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module once, by its first name, where an adapter and what lies beneath it are two.

    No two tensors have one name here, which is what a checkpoint needs.
    """
    seen: set[int] = set()
    for name, module in _visit("", model, True, True):
        if id(module) not in seen:
            seen.add(id(module))
            yield name, module


def _visit(name: str, module: nn.Module, merged: bool, layers: bool) -> Iterator[tuple[str, nn.Module]]:
    module = unwrap(module)
    origin = merged_from(module)
    if origin is not None and not merged:
        module = origin
    yield name, module
    for key, child in module._modules.items():
        if child is not None:
            beneath = isinstance(module, Adapter) and child is module.base_layer and not layers
            yield from _visit(name if beneath else below(name, key), child, merged, layers)


def below(name: str, key: str) -> str:
    """The name of what is inside the module of this name; that of the model itself is empty."""
    return f"{name}.{key}" if name else key


def named_parameters(model: nn.Module) -> dict[int, tuple[nn.Parameter, list[str]]]:
    """Every parameter once, by identity, with all its plain names."""
    found: dict[int, tuple[nn.Parameter, list[str]]] = {}
    for name, module in walk(model):
        for key, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), (parameter, []))[1].append(below(name, key))
    return found


def named_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Every persistent buffer once, by its first plain name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, module in walk(model):
        for key, buffer in module._buffers.items():
            if buffer is not None and key not in module._non_persistent_buffers_set:
                found.setdefault(id(buffer), (below(name, key), buffer))
    return dict(found.values())


def swap(model: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Replaces modules by identity, in every place that holds them."""
    for parent in list(model.modules()):
        for key, child in list(parent._modules.items()):
            if id(child) in new:
                put(parent, key, new[id(child)])


def put(parent: nn.Module, key: str, child: nn.Module) -> None:
    """Makes a module a child of another, in place of what was there."""
    parent._modules[key] = child
    if key == "_orig_mod" and _inside(parent) is child and hasattr(parent, "_initialize"):
        cast(Any, parent)._initialize()  # a compiled module has taken the forward of what it was put around


def plain_state(model: nn.Module) -> dict[str, Any]:
    """The ``state_dict`` of a model under plain names."""
    state: dict[str, Any] = {}
    for name, module in walk(model, merged=True):
        module._save_to_state_dict(state, f"{name}." if name else "", False)
    return state
