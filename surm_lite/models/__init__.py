"""A small Vision Transformer, and pretrained weights for it."""

from surm_lite.models.pretrained import VIT_S14_CREDIT, resize_positions, tiny_vit, tiny_vit_card, vit_s14
from surm_lite.models.split import split_qkv
from surm_lite.models.vit import ViT, ViTConfig

__all__ = [
    "VIT_S14_CREDIT",
    "ViT",
    "ViTConfig",
    "resize_positions",
    "split_qkv",
    "tiny_vit",
    "tiny_vit_card",
    "vit_s14",
]
