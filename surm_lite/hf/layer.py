"""A frozen linear layer with structured updates, by the rules of peft."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from surm_lite.adapters import Update, frozen
from surm_lite.adapters.attach import stream
from surm_lite.adapters.base import register
from surm_lite.adapters.one_product import linear_sum
from surm_lite.hf.config import SurmConfig
from surm_lite.matrices import StructuredMatrix


class OwnTensors(nn.Module):
    """The tensors of one adapter, float32 at least: trained ones are parameters, frozen ones buffers."""

    def __init__(self, tensors: Mapping[str, Tensor], like: Tensor) -> None:
        super().__init__()
        self.names = tuple(tensors)
        register(self, tensors, like)

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name. By attribute, so that pruned ones and those of a replica are found too."""
        return {name: getattr(self, name) for name in self.names}


class SurmLinear(nn.Module, BaseTunerLayer):
    """``y = x (W0 + S_1 + S_2 + ...)^T + b`` over the active adapters, each with a structure of its own.

    Args:
        base_layer: the frozen layer: an ``nn.Linear``, or a ``Conv1D`` of transformers, whose weight is the transpose.
        adapter_name: name of the first adapter.
        config: what that adapter is made of.
        key: name of the layer in the model, which chooses its stream of random numbers.
    """

    base_layer: nn.Linear | Conv1D
    unmerged_weight: Tensor  # the base weight, while adapters are merged into it
    adapter_layer_names = ("surm_tensors",)
    other_param_names = ("surm_method",)

    def __init__(self, base_layer: nn.Linear | Conv1D, adapter_name: str, config: SurmConfig, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.out_features, self.in_features = self._turned(base_layer.weight).shape
        self.surm_method: dict[str, Update] = {}
        self.surm_tensors = nn.ModuleDict()
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self._active_adapter: str | list[str] = adapter_name
        self.asked: set[str] | None = None  # within a mixed batch: what the model asked of this layer
        self.key = key
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: SurmConfig, key: str) -> None:
        """Adds an adapter under a name, or replaces the one of that name."""
        method = config.method(key)
        generator = stream(config.seed, key, depth=len(self.surm_tensors.keys() - {adapter_name}))
        try:
            tensors = method.begin(key, frozen.wide(self._turned(self.base_layer.weight.detach())), generator)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
        self.surm_method[adapter_name] = method
        self.surm_tensors[adapter_name] = OwnTensors(tensors, like=self.base_layer.weight)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def operator(self, adapter_name: str) -> StructuredMatrix:
        """The update S of one adapter, over its parameters."""
        own = cast(OwnTensors, self.surm_tensors[adapter_name])
        tensors = own.tensors()
        return self.surm_method[adapter_name].operator(self.out_features, self.in_features, tensors)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """To the device of the base layer; not to its dtype, as in peft, which would round a float32 adapter."""
        if adapter_name not in self.surm_tensors:
            return
        own = self.surm_tensors[adapter_name]
        if not any(p.is_meta for p in own.parameters()):
            own.to(self.base_layer.weight.device if device is None else device)

    def _turned(self, matrix: Tensor) -> Tensor:
        """From the layout of the base weight to (m, n), or back."""
        return matrix.mT if isinstance(self.base_layer, Conv1D) else matrix

    def _does_more(self) -> bool:
        """Whether the base layer does more than ``x W^T + b``: a forward of its own, or hooks on it.

        accelerate sets the forward of instances and marks them; it moves tensors and changes no numbers.
        """
        base = self.base_layer
        return bool(
            type(base).forward not in (nn.Linear.forward, Conv1D.forward)
            or ("forward" in vars(base) and not hasattr(base, "_hf_hook"))
            or base._forward_hooks
            or base._forward_pre_hooks
        )

    @property
    def weight(self) -> Tensor:
        """The whole weight: some models (WavLM) read it and never call the layer, and then the update counts too."""
        if self.asked is not None:
            self.asked.add("weight")
        weight, operators = self.base_layer.weight, self._active_operators()
        whole = weight.to(_wide(weight)) if operators else weight
        for S in operators:
            whole = whole + self._turned(S.to(whole.dtype).to_dense())
        return whole.to(weight.dtype)

    def _active_operators(self) -> list[StructuredMatrix]:
        """The updates that are on and not merged into the weight."""
        if self.disable_adapters or self.merged:
            return []
        return [self.operator(name) for name in self.active_adapters if name in self.surm_tensors]

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """S, dense, in the layout and dtype of the base weight (peft's own name for it)."""
        weight = self.base_layer.weight
        return self._turned(self.operator(adapter_name).to(_wide(weight)).to_dense()).to(weight.dtype)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """peft may turn the update into a LoRA: it adds to the weight."""
        return True

    def forward(self, x: Tensor, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any) -> Tensor:
        if adapter_names is not None:
            self._check_names(x, adapter_names)
        if self.disable_adapters and self.merged:
            self.unmerge()
        if adapter_names is not None and not self.disable_adapters:
            return self._mixed(x, *args, adapter_names=adapter_names, **kwargs)
        operators, base = self._active_operators(), self.base_layer
        plain = operators and isinstance(base, nn.Linear) and "forward" not in vars(base)
        y = linear_sum(x, base, operators) if plain else None
        if y is None:
            y = base(x, *args, **kwargs)
            for S in operators:
                y = y + S.apply(x.to(S.dtype)).to(y.dtype)
        return y

    def _mixed(self, x: Tensor, *args: Any, adapter_names: Sequence[str], **kwargs: Any) -> Tensor:
        """Each row with an adapter of its own; one that this layer does not have leaves its rows alone."""
        if self.asked is not None:
            self.asked.add("forward")
        y = self.base_layer(x, *args, **kwargs)
        for name in dict.fromkeys(adapter_names):
            if name != "__base__" and name in self.surm_tensors:
                rows = torch.tensor([i for i, each in enumerate(adapter_names) if each == name], device=x.device)
                S = self.operator(name)
                y = y.index_add(0, rows, S.apply(x[rows].to(S.dtype)).to(y.dtype))
        return y

    def _check_names(self, x: Tensor, adapter_names: Sequence[str]) -> None:
        """The rules and words of LoRA in peft."""
        if len(x) != len(adapter_names):
            raise ValueError(
                "Length of `adapter_names` should be the same as the number of inputs, but got "
                f"{len(adapter_names)} and {len(x)} respectively."
            )
        if self.merged:
            raise ValueError(
                "Cannot pass `adapter_names` when there are merged adapters, please call `unmerge_adapter` first."
            )

    def check_merge(self) -> None:
        """ValueError where a merged weight would give other answers."""
        if self._does_more():
            raise ValueError(
                f"{self.key} cannot be merged: its base layer has hooks or a forward of its own, and the update is "
                "added to what they give"
            )

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Adds updates to the base weight; the old weight is kept, so that `unmerge` restores every bit.

        Args:
            safe_merge: raise ValueError instead of merging an update that is not finite.
            adapter_names: None merges the active ones.

        Raises:
            ValueError: the base layer has hooks or a forward of its own; a merged weight would give other answers.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.surm_tensors]
        if not names:
            return
        self.check_merge()
        weight = self.base_layer.weight
        old = self.unmerged_weight if self.merged else weight.data
        whole = old.to(_wide(old))  # half and bfloat16 are rounded once, at the end
        for name in (*self.merged_adapters, *names):
            whole = whole + self._turned(self.operator(name).to(whole.dtype).to_dense())
            if safe_merge and not whole.to(old.dtype).isfinite().all():  # in the words of peft
                raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
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
