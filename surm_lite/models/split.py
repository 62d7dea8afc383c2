"""Queries, keys and values as three layers instead of one."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from surm_lite.adapters.layouts import LAYOUTS, Layout, set_layout
from surm_lite.adapters.names import check_model, walk
from surm_lite.models.vit import Attention, ViT

PARTS = ("q_proj", "k_proj", "v_proj")
NAME = "split qkv"


class SplitQKV(nn.Module):
    """Three linear layers side by side: what a fused `qkv` computes, with each third open to an adapter of its own."""

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        for name, weight, bias in zip(PARTS, fused.weight.chunk(3), fused.bias.chunk(3)):
            part = nn.Linear(fused.in_features, len(weight), device="meta")
            part.weight = nn.Parameter(weight.detach().clone(), requires_grad=fused.weight.requires_grad)
            part.bias = nn.Parameter(bias.detach().clone(), requires_grad=fused.weight.requires_grad)
            self.add_module(name, part)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t e"]:
        return torch.cat([self.get_submodule(name)(x) for name in PARTS], dim=-1)  # (b, t, 3 d)


def split_qkv(model: ViT) -> ViT:
    """Replaces every fused `attn.qkv` by the three layers `attn.qkv.q_proj`, `.k_proj` and `.v_proj`, in place.

    $$ W_{qkv} = [W_q; W_k; W_v] $$

    A structured update of a square layer is another thing than the same structure on the 3d x d stack of three, and the
    papers speak of the square ones.

    Args:
        model: a ViT with fused layers.

    Returns:
        ViT: the same model; it computes what it did.

    Raises:
        ValueError: no attention of a ViT, or a layer that is not a plain `nn.Linear` (already split, or adapted).

    Cost:
        One copy of the weights.

    Example:
        >>> from surm_lite.models import ViTConfig
        >>> model = split_qkv(ViT(ViTConfig(width=8, depth=1, heads=2)))
        >>> model.blocks[0].attn.qkv.q_proj
        Linear(in_features=8, out_features=8, bias=True)

    Taught in:
        17_small_vit, 21_finetune_vit
    """
    check_model(model)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, Attention)}
    for name, layer in layers.items():
        if type(layer.qkv) is not nn.Linear:
            raise ValueError(f"model: {name}.qkv is {type(layer.qkv).__name__}, need a plain nn.Linear")
    if not layers:
        raise ValueError(f"model: a {type(model).__name__} has no attention of a ViT to split")
    for layer in layers.values():
        layer.qkv = SplitQKV(cast(nn.Linear, layer.qkv))
    set_layout(model, NAME)
    return model


def fused_state(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The ``state_dict`` of a split model as that of the plain one: each three layers stacked into one."""
    whole = dict(state)
    for name, module in walk(model, merged=True):
        if isinstance(module, SplitQKV):
            for kind in ("weight", "bias"):
                whole[f"{name}.{kind}"] = torch.cat([whole.pop(f"{name}.{part}.{kind}") for part in PARTS])
    return whole


LAYOUTS[NAME] = Layout(split_qkv, fused_state)
