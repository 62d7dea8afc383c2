"""Which layers of a model get an update, by the rules of peft."""

from __future__ import annotations

from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from ..adapters.attach import check_layer
from ..adapters.targets import DEFAULT_TARGETS
from .config import SurmConfig
from .layer import SurmLinear


class SurmModel(BaseTuner):
    """A model with structured updates: what `get_peft_model(model, SurmConfig(...))` puts around it."""

    prefix = "surm_"
    tuner_layer_cls = SurmLinear

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> SurmConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = set(DEFAULT_TARGETS)
        return peft_config

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
        # torch's attention reads out_proj.weight and never calls the layer: an update on it would do nothing
        if not isinstance(target, nn.Linear) or isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"target_modules: {current_key} is a {type(target).__name__}"
                f"{' of nn.MultiheadAttention' if isinstance(parent, nn.MultiheadAttention) else ''}; "
                "a structured update needs an nn.Linear that is called"
            )
        check_layer(current_key, target)
        layer = SurmLinear(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # a further adapter is trained once it is set active
        self._replace_module(parent, target_name, layer, target)
