"""Which layers of a model get an update, by the rules of peft."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from peft.tuners.lora.model import _get_encoder
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from surm_lite.adapters.targets import DEFAULT_TARGETS
from surm_lite.hf.config import SurmConfig
from surm_lite.hf.layer import SurmLinear


class SurmModel(BaseTuner):
    """A model with structured updates: what `get_peft_model(model, SurmConfig(...))` puts around it."""

    prefix = "surm_"
    tuner_layer_cls = SurmLinear
    target_module_mapping: dict[str, Any] = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def _prepare_adapter_config(self, peft_config: Any, model_config: Any) -> SurmConfig:
        if peft_config.target_modules is None:
            kind = model_config.get("model_type", "") if isinstance(model_config, Mapping) else ""
            found = self.target_module_mapping.get(kind, DEFAULT_TARGETS)
            peft_config.target_modules = found if isinstance(found, str) else set(found)
        return peft_config

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        super().inject_adapter(model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage, state_dict)
        names = [name for name, layer in self._layers().items() if adapter_name in layer.surm_tensors]
        patterns = self.peft_config[adapter_name].options_pattern
        unused = [p for p in patterns if not any(re.match(rf"(.*\.)?({p})$", name) for name in names)]
        if unused:  # in the words that peft has for rank_pattern
            warnings.warn(
                f"The following options_pattern keys did not match any targeted module and were ignored: {unused}.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, SurmLinear):
            target.update_layer(adapter_name, peft_config, current_key)
            return
        if not isinstance(target, nn.Linear | Conv1D):
            raise ValueError(
                f"target_modules: {current_key} is a {type(target).__name__}; "
                "a structured update needs an nn.Linear or a Conv1D of transformers"
            )
        weight = target.weight
        if not weight.is_floating_point() or isinstance(weight, nn.UninitializedParameter):
            raise ValueError(f"{current_key} has a weight of dtype {weight.dtype}; it must be an initialised real one")
        layer = SurmLinear(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # a further adapter is trained once it is set active
        self._replace_module(parent, target_name, layer, target)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """peft's rule: half-precision bases train float32 adapters, or adapters of their own dtype if told so."""
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        for layer in self._layers().values():
            if adapter_name in layer.surm_tensors and not autocast_adapter_dtype:
                layer.surm_tensors[adapter_name].to(layer.base_layer.weight.dtype)

    def _check_merge_allowed(self) -> None:
        super()._check_merge_allowed()
        for layer in self._layers().values():  # all of them before the first is touched
            layer.check_merge()

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        self._check_names(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _unload_and_optionally_merge(
        self,
        merge: bool = True,
        progressbar: bool = False,
        safe_merge: bool = False,
        adapter_names: list[str] | None = None,
    ) -> Any:
        self._check_names(adapter_names)
        return super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """``model(x, adapter_names=[...])``: each row of a batch has an adapter of its own, or "__base__" for none.

        The rules and the words are those of LoRA in peft. In a beam search every row is there ``num_beams`` times, but
        an encoder sees it once.
        """
        names, beams = kwargs.get("adapter_names"), kwargs.get("num_beams")
        if kwargs.get("alora_offsets") is not None:
            raise ValueError("alora_offsets: a structured update has no invocation tokens; leave the argument out")
        if names is None:
            yield
            return
        if self.training:
            raise ValueError("Cannot pass `adapter_names` when the model is in training mode.")
        if not isinstance(names, list | tuple):
            raise TypeError(f"adapter_names is {names!r}; it must be a list of names, one for each row of the batch")
        layers = self._layers()
        known = {"__base__"}.union(*(layer.surm_tensors for layer in layers.values()))
        if unknown := sorted(set(names) - known):
            raise ValueError(f"Trying to infer with non-existing adapter(s): {', '.join(unknown)}")
        repeated = [name for name in names for _ in range(beams)] if isinstance(beams, int) else names
        encoder = _get_encoder(self.model)
        once = set() if encoder is None else set(encoder.modules())
        handles = [
            module.register_forward_pre_hook(
                partial(_with_names, adapter_names=_known(module, names if module in once else repeated)),
                with_kwargs=True,
            )
            for module in self.modules()
            if isinstance(module, SurmLinear | AuxiliaryTrainingWrapper)
        ]
        for layer in layers.values():
            layer.asked = set()
        try:
            yield
            # A model that reads weights and calls no layer cannot mix adapters in a batch.
            read = [name for name, layer in layers.items() if layer.asked == {"weight"}]
        finally:
            for handle in handles:
                handle.remove()
            for layer in layers.values():
                layer.asked = None
        if read:
            raise ValueError(f"adapter_names: {read[0]} is not called, its weight is read; one adapter a batch")

    def _layers(self) -> dict[str, SurmLinear]:
        return {name: layer for name, layer in self.model.named_modules() if isinstance(layer, SurmLinear)}

    def _check_names(self, adapter_names: Sequence[str] | None) -> None:
        """peft passes over an unknown name, and nothing is merged."""
        if isinstance(adapter_names, list | tuple) and (unknown := sorted(set(adapter_names) - set(self.peft_config))):
            raise ValueError(f"adapter_names: {', '.join(unknown)} does not exist; there are {list(self.peft_config)}")


def _known(module: nn.Module, names: Sequence[str]) -> Sequence[str]:
    """An adapter that saves no copy of a module leaves it as it was (in peft: a KeyError)."""
    if not isinstance(module, ModulesToSaveWrapper):
        return names
    return [name if name in module.modules_to_save else "__base__" for name in names]


def _with_names(module: nn.Module, args: Any, kwargs: dict[str, Any], adapter_names: Sequence[str]) -> Any:
    return args, {**kwargs, "adapter_names": adapter_names}
