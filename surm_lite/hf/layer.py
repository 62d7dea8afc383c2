"""A frozen linear layer with structured updates, by the rules of peft."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from ..adapters import Update
from ..adapters.attach import stream
from ..adapters.merged import linear_sum
from ..matrices import StructuredMatrix
from .config import SurmConfig


class SurmLinear(nn.Module, BaseTunerLayer):
    """``y = x (W0 + S_1 + S_2 + ...)^T + b`` over the active adapters, each with a structure of its own.

    Args:
        base_layer: the frozen layer.
        adapter_name: name of the first adapter.
        config: what that adapter is made of.
        key: name of the layer in the model, which chooses its stream of random numbers.
    """

    base_layer: nn.Linear
    unmerged_weight: Tensor  # the base weight, while adapters are merged into it
    adapter_layer_names = ("surm_tensors",)
    other_param_names = ("surm_method",)

    def __init__(self, base_layer: nn.Linear, adapter_name: str, config: SurmConfig, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
        self.surm_method: dict[str, Update] = {}
        self.surm_tensors = nn.ModuleDict()
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self._active_adapter: str | list[str] = adapter_name
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: SurmConfig, key: str) -> None:
        """Adds an adapter under a name, or replaces the one of that name."""
        method = config.method()
        generator = stream(config.seed, key, depth=len(self.surm_tensors.keys() - {adapter_name}))
        try:
            tensors = method.start(self.out_features, self.in_features, generator)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        self.surm_method[adapter_name] = method
        self.surm_tensors[adapter_name] = nn.ParameterDict(tensors)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def operator(self, adapter_name: str) -> StructuredMatrix:
        """The update S of one adapter, over its parameters."""
        tensors = dict(self.surm_tensors[adapter_name].named_parameters())
        return self.surm_method[adapter_name].operator(self.out_features, self.in_features, tensors)

    @property
    def weight(self) -> Tensor:
        """The whole weight: some models (WavLM) read it and never call the layer, and then the update counts too."""
        weight, operators = self.base_layer.weight, self._active_operators()
        whole = weight.to(_wide(weight)) if operators else weight
        for S in operators:
            whole = whole + S.to(whole.dtype).to_dense()
        return whole.to(weight.dtype)

    def _active_operators(self) -> list[StructuredMatrix]:
        """The updates that are on and not merged into the weight."""
        if self.disable_adapters or self.merged:
            return []
        return [self.operator(name) for name in self.active_adapters if name in self.surm_tensors]

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """S, dense, in the dtype of the base weight (peft's own name for it)."""
        weight = self.base_layer.weight
        return self.operator(adapter_name).to(_wide(weight)).to_dense().to(weight.dtype)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """peft may turn the update into a LoRA: it adds to the weight."""
        return True

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters and self.merged:
            self.unmerge()
        operators = self._active_operators()
        y = linear_sum(x, self.base_layer, operators) if operators else None
        if y is None:
            y = self.base_layer(x, *args, **kwargs)
            for S in operators:
                y = y + S.apply(x.to(S.dtype)).to(y.dtype)
        return y

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Adds updates to the base weight; the old weight is kept, so that `unmerge` restores every bit.

        Args:
            safe_merge: raise ValueError instead of merging an update that is not finite.
            adapter_names: None merges the active ones.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.surm_tensors]
        if not names:
            return
        weight = self.base_layer.weight
        old = self.unmerged_weight if self.merged else weight.data
        whole = old.to(_wide(old))  # half and bfloat16 are rounded once, at the end
        for name in (*self.merged_adapters, *names):
            whole = whole + self.operator(name).to(whole.dtype).to_dense()
        if safe_merge and not whole.isfinite().all():
            raise ValueError(f"adapter {', '.join(names)}: the merged weight would not be finite")
        self.unmerged_weight, weight.data = old, whole.to(old.dtype)
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Puts the base weight back."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        weight = self.base_layer.weight
        weight.data = self.unmerged_weight.to(weight.device, weight.dtype)
        del self.unmerged_weight
        self.merged_adapters.clear()

    def __repr__(self) -> str:
        return "surm." + super().__repr__()


def _wide(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)
