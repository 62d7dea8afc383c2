"""The best epoch of a run, by the validation score: kept while it lasts, put back at the end."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import Method
from surm_lite.adapters.names import below, walk_layers
from surm_lite.training.record import Record


@dataclass
class Best:
    """Copies of what training changes, as it was after the best epoch so far.

    Args:
        patience: looks at the validation part, one after the other, that may be no better.
    """

    patience: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def look(self, model: nn.Module, record: Record) -> None:
        """After an epoch was evaluated: keeps it where it is better than all before."""
        last, scores = max(record.validation_score), record.validation_score
        if record.best_epoch is None or scores[last] > scores[record.best_epoch]:
            record.best_epoch = last
            self.tensors = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
            self.extra = {name: deepcopy(module.get_extra_state()) for name, module in with_extra_state(model).items()}

    def spent(self, record: Record) -> bool:
        """Whether the run is to end."""
        if record.best_epoch is None:
            return False
        return sum(epoch > record.best_epoch for epoch in record.validation_score) >= self.patience

    @torch.no_grad()
    def put_back(self, model: nn.Module) -> None:
        """Makes the model what it was after the best epoch."""
        for name, tensor in tensors_of(model).items():
            tensor.copy_(self.tensors[name])
        modules = with_extra_state(model)
        for name, state in self.extra.items():
            modules[name].set_extra_state(state)


def check_patience(methods: Sequence[Method], patience: int | None) -> None:
    """A method that changes layers as it trains, or at the end, cannot be put back to an earlier epoch."""
    for method in methods if patience is not None else ():
        if type(method).after_epoch is not Method.after_epoch or type(method).finish is not Method.finish:
            raise ValueError(
                f"patience: got {patience}, but method {method.name!r} changes layers after an epoch or at the end, so "
                "no earlier epoch can be put back; take None"
            )


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """What training may change, by name: parameters that require a gradient, and buffers that are saved."""
    found: dict[str, Tensor] = {}
    for name, module in walk_layers(model):
        trained = {key: p for key, p in module._parameters.items() if p is not None and p.requires_grad}
        for key, tensor in (trained | module._buffers).items():
            if tensor is not None and key not in module._non_persistent_buffers_set:
                found[below(name, key)] = tensor
    return found


def with_extra_state(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with state that is no tensor; it has to be JSON where there is a checkpoint."""
    own = nn.Module.get_extra_state
    return {name: module for name, module in walk_layers(model) if type(module).get_extra_state is not own}
