"""The optimiser: its groups, as methods, head and the rest ask for, and how any of torch's kind is made and resumed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from surm_lite.adapters import Method, adapters_of
from surm_lite.adapters.attached import attachment
from surm_lite.adapters.names import named_parameters
from surm_lite.adapters.targets import DEFAULT_KEEP, is_kept

Groups = list[dict[str, Any]]
Factory = Callable[[Groups], Optimizer]
"""Makes an optimiser of parameter groups: `torch.optim.SGD`, say, or a `functools.partial` of it."""


def build_optimizer(
    model: nn.Module,
    methods: Sequence[Method],
    *,
    lr: float,
    head_lr: float,
    weight_decay: float,
    factory: Factory | None = None,
    kept: Optimizer | None = None,
) -> Optimizer:
    """An optimiser over what a method groups itself, over the head, and over all else that requires a gradient.

    A group of a method may set `lr`, or `lr_scale` as a multiple of the common one. All tensors of adapters decay
    alike; of the model's own parameters matrices do, biases and norms never. Moments of parameters that `kept` already
    knew are carried over.
    """
    groups = [dict(group) for method in methods for group in method.param_groups(model)]
    for group in groups:
        group["peak_lr"] = group.pop("lr", lr * group.pop("lr_scale", 1.0))
    grouped = {id(p) for group in groups for p in group["params"]}
    head, still = _head(model), _without_decay(model)
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    for rate, params in ((lr, [p for p in rest if id(p) not in head]), (head_lr, [p for p in rest if id(p) in head])):
        groups.append({"params": [p for p in params if id(p) not in still], "peak_lr": rate})
        groups.append({"params": [p for p in params if id(p) in still], "peak_lr": rate, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("model: no parameter requires a gradient; adapt the model or unfreeze something")
    for group in groups:
        group["lr"] = group["peak_lr"]
        if weight_decay:  # without it, a factory may have a decay of its own
            group.setdefault("weight_decay", weight_decay)
    optimizer = make_optimizer(factory, groups)
    if kept is not None:
        known = {id(p) for group in groups for p in group["params"]}
        optimizer.state.update({p: value for p, value in kept.state.items() if id(p) in known})
    return optimizer


def describe(factory: Factory | None, weight_decay: float) -> dict[str, Any]:
    """Which optimiser a factory makes, and with which settings, as JSON values; refused where it makes none."""
    made = make_optimizer(factory, [{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0, "peak_lr": 1.0}])
    step = inspect.signature(type(made).step).parameters.get("closure")
    if step is not None and step.default is inspect.Parameter.empty:
        raise ValueError(f"optimizer: {type(made).__name__} needs a closure; take one that steps by gradients alone")
    if weight_decay and "weight_decay" not in made.defaults:
        raise ValueError(f"weight_decay: got {weight_decay}, but {type(made).__name__} has none")
    given = {key: value for key, value in made.defaults.items() if key != "lr" and not isinstance(value, Tensor)}
    plain: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return {"name": type(made).__name__, **plain}


def refuse_own_steps(methods: Sequence[Method], *, clip: float | None, weight_decay: float) -> None:
    """A method that moves its tensors itself never meets the optimiser, so what acts there would act on the rest."""
    for method in methods:
        if method.steps_itself:
            if clip is not None:
                raise ValueError(f"clip: got {clip}, but method {method.name!r} steps by itself; take clip=None")
            if weight_decay:
                raise ValueError(
                    f"weight_decay: got {weight_decay}, but method {method.name!r} steps by itself; take 0"
                )


def state_of(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All that an optimiser knows, as JSON values and as tensors by name."""
    whole = optimizer.state_dict()
    flat = {f"{k}/{name}": value for k, own in whole["state"].items() for name, value in own.items()}
    values = {name: value for name, value in flat.items() if not isinstance(value, Tensor)}
    return (
        {"groups": whole["param_groups"], "values": values},
        {name: value for name, value in flat.items() if isinstance(value, Tensor)},
    )


def restore_state(optimizer: Optimizer, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Gives an optimiser back what `state_of` took, bit for bit."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**header["values"], **tensors}.items():
        k, _, key = name.partition("/")
        state.setdefault(int(k), {})[key] = value
    groups = []
    for own, saved in zip(optimizer.param_groups, header["groups"], strict=True):  # JSON has no tuples
        groups.append({key: tuple(v) if isinstance(own.get(key), tuple) else v for key, v in saved.items()})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for k, own in state.items():  # torch casts moments to the dtype of the parameter
        loaded = optimizer.state[params[k]]
        for key, value in own.items():
            if isinstance(value, Tensor) and loaded[key].dtype != value.dtype:
                loaded[key] = value.to(loaded[key].device)


def make_optimizer(factory: Factory | None, groups: Groups) -> Optimizer:
    """AdamW, or what a factory makes of parameter groups; refused where that is no optimiser of them."""
    if factory is None:
        return AdamW(groups, weight_decay=0.0)
    if not callable(factory):
        raise TypeError(f"optimizer: got {factory!r}, need a function of parameter groups, such as torch.optim.SGD")
    asked = {id(p) for group in groups for p in group["params"]}
    try:
        made = factory(groups)
    except Exception as error:
        raise ValueError(f"optimizer: {factory!r} cannot be made of parameter groups ({error})") from error
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer: got a {type(made).__name__} from {factory!r}, need a torch.optim.Optimizer")
    if {id(p) for group in made.param_groups for p in group["params"]} != asked:
        raise ValueError(f"optimizer: {factory!r} makes one of other parameters than it was given")
    return made


def _head(model: nn.Module) -> set[int]:
    """The modules that `adapt` keeps, or would keep: their rate is `head_lr`."""
    attached = attachment(model)
    keep = attached.keep if attached.methods else DEFAULT_KEEP
    return {key for key, (_, names) in named_parameters(model).items() if any(is_kept(name, keep) for name in names)}


def _without_decay(model: nn.Module) -> set[int]:
    """Biases and norms, and other vectors of the model itself."""
    own = {id(t) for adapter in adapters_of(model).values() for a in adapter.stack() for t in a.own().values()}
    return {
        id(p)
        for module in model.modules()
        for name, p in module.named_parameters(recurse=False)
        if id(p) not in own and (p.ndim <= 1 or name == "bias" or "Norm" in type(module).__name__)
    }
