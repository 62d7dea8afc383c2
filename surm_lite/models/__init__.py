"""A small Vision Transformer, and pretrained weights for it."""

from collections.abc import Callable

from surm_lite.models.hf_classifier import logits
from surm_lite.models.pretrained import VIT_S14_CREDIT, resize_positions, tiny_vit, tiny_vit_card, vit_s14
from surm_lite.models.split import split_qkv
from surm_lite.models.vit import ViT, ViTConfig

MODELS: dict[str, Callable[..., ViT]] = {"vit_s14": vit_s14, "tiny_vit": tiny_vit}
"""The pretrained models by the names that the command line takes."""

__all__ = [
    "MODELS",
    "VIT_S14_CREDIT",
    "ViT",
    "ViTConfig",
    "logits",
    "resize_positions",
    "split_qkv",
    "tiny_vit",
    "tiny_vit_card",
    "vit_s14",
]
