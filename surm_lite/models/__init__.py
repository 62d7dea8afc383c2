"""A small Vision Transformer, a small BERT, and pretrained weights for them."""

from collections.abc import Callable

from surm_lite.models.bert import Bert, BertConfig
from surm_lite.models.hf_classifier import logits
from surm_lite.models.pretrained import VIT_S14_CREDIT, resize_positions, tiny_vit, tiny_vit_card, vit_s14
from surm_lite.models.pretrained_text import MINILM_CREDIT, minilm
from surm_lite.models.split import split_qkv
from surm_lite.models.vit import ViT, ViTConfig

MODELS: dict[str, Callable[..., ViT | Bert]] = {"vit_s14": vit_s14, "tiny_vit": tiny_vit, "minilm": minilm}
"""The pretrained models by the names that the command line takes."""
PICTURES, SENTENCES = ("vit_s14", "tiny_vit"), ("minilm",)
"""What they read."""
TARGETS = {
    "vit_s14": ("q_proj", "k_proj", "v_proj"),
    "tiny_vit": ("q_proj", "k_proj", "v_proj"),
    "minilm": ("query", "key", "value"),
}
"""Their layers of queries, keys and values, once `apart` has made layers of them."""


def apart(model: ViT | Bert) -> ViT | Bert:
    """A model of ours whose queries, keys and values are layers of their own, as comparisons adapt them, in place.

    A ViT is given to `split_qkv`; a BERT has them so.

    Example:
        >>> apart(tiny_vit()).get_submodule("blocks.0.attn.qkv.q_proj").out_features
        128

    Taught in:
        42_your_own_data
    """
    return split_qkv(model) if isinstance(model, ViT) else model


__all__ = [
    "MINILM_CREDIT",
    "MODELS",
    "PICTURES",
    "SENTENCES",
    "TARGETS",
    "VIT_S14_CREDIT",
    "Bert",
    "BertConfig",
    "ViT",
    "ViTConfig",
    "apart",
    "logits",
    "minilm",
    "resize_positions",
    "split_qkv",
    "tiny_vit",
    "tiny_vit_card",
    "vit_s14",
]
