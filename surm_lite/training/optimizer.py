"""AdamW over the groups that methods, head and the rest ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from surm_lite.adapters import Method


def build_optimizer(
    model: nn.Module,
    methods: Sequence[Method],
    *,
    lr: float,
    head_lr: float,
    weight_decay: float,
    kept: torch.optim.Optimizer | None = None,
) -> torch.optim.AdamW:
    """AdamW over what a method groups itself, over the head, and over all else that requires a gradient.

    A group of a method may set `lr`, or `lr_scale` as a multiple of the common one. Moments of parameters that `kept`
    already knew are carried over.
    """
    head = {id(p) for p in getattr(model, "head", nn.Identity()).parameters()}
    groups = [dict(group) for method in methods for group in method.param_groups(model)]
    for group in groups:
        group["peak_lr"] = group.pop("lr", lr * group.pop("lr_scale", 1.0))
    grouped = {id(p) for group in groups for p in group["params"]}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    for rate, params in ((lr, [p for p in rest if id(p) not in head]), (head_lr, [p for p in rest if id(p) in head])):
        groups.append({"params": [p for p in params if p.ndim > 1], "peak_lr": rate})
        groups.append({"params": [p for p in params if p.ndim <= 1], "peak_lr": rate, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("model: no parameter requires a gradient; adapt the model or unfreeze something")
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    if kept is not None:
        known = {id(p) for group in groups for p in group["params"]}
        optimizer.state.update({p: value for p, value in kept.state.items() if id(p) in known})
    return optimizer
