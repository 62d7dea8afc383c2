"""A small Vision Transformer with timm's parameter names, so that timm's checkpoints load by `load_state_dict`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from surm_lite.data.arguments import check_choice, check_count, check_kind, check_numbers, check_positive
from surm_lite.data.images import ImageFormat


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a `ViT`, and the pictures that it takes.

    Args:
        image_size: side of the (square) picture in pixels, a multiple of `patch_size`.
        patch_size: side of one patch in pixels.
        channels: 1 for grey, 3 for colour.
        num_classes: outputs of the head; 0 leaves the head out.
        width: length of a token.
        depth: number of blocks.
        heads: attention heads, a divisor of `width`.
        mlp_ratio: hidden width of the MLP over `width`.
        layer_scale: start value of LayerScale; None leaves it out.
        pool: what the head sees: "token", the class token, or "avg", the mean of the patch tokens.
        mean, std: one number for each channel.

    Raises:
        ValueError: a pool of another name, sizes that do not divide each other, or a mean or std of another length.

    Example:
        >>> ViTConfig(image_size=56, patch_size=14).grid
        4

    Taught in:
        17_small_vit
    """

    image_size: int = 28
    patch_size: int = 7
    channels: int = 1
    num_classes: int = 10
    width: int = 128
    depth: int = 6
    heads: int = 4
    mlp_ratio: float = 2.0
    layer_scale: float | None = None
    pool: str = "token"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        for name in ("image_size", "patch_size", "channels", "width", "depth", "heads"):
            check_count(name, getattr(self, name), most=2**31)
        check_count("num_classes", self.num_classes, least=0)
        check_positive("mlp_ratio", self.mlp_ratio)
        if not 1 <= self.mlp_ratio * self.width < 2**31:
            raise ValueError(f"mlp_ratio: got {self.mlp_ratio}, need one that gives the MLP a width of at least 1")
        if self.layer_scale is not None:
            check_numbers("layer_scale", (self.layer_scale,))
        check_choice("pool", self.pool, ("token", "avg"))
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size: got {self.image_size}, need a multiple of patch_size = {self.patch_size}")
        if self.width % self.heads:
            raise ValueError(f"heads: got {self.heads}, need a divisor of width = {self.width}")
        for name in ("mean", "std"):
            check_numbers(name, getattr(self, name))
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, need one number for each of {self.channels} channels"
                )

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


class PatchEmbed(nn.Module):
    """Cuts the picture into patches and maps each one linearly to a token."""

    def __init__(self, patch_size: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b t d"]:
        return self.proj(x).flatten(2).mT  # (b, t, d)


class Attention(nn.Module):
    """Multi-head self-attention, with queries, keys and values from one linear layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv: nn.Module = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (b, heads, t, d/heads)
        y = F.scaled_dot_product_attention(q, k, v)  # (b, heads, t, d/heads)
        return self.proj(y.transpose(1, 2).flatten(2))  # (b, t, d)


class Mlp(nn.Module):
    """Two linear layers with a GELU between, on each token alone."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return self.fc2(F.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """One learnt factor for each channel of a residual branch."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        return x * self.gamma


def _scale(c: ViTConfig) -> nn.Module:
    return nn.Identity() if c.layer_scale is None else LayerScale(c.width, c.layer_scale)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, c: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.width, eps=1e-6)
        self.attn = Attention(c.width, c.heads)
        self.ls1 = _scale(c)
        self.norm2 = nn.LayerNorm(c.width, eps=1e-6)
        self.mlp = Mlp(c.width, int(c.mlp_ratio * c.width))
        self.ls2 = _scale(c)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


def _start(layer: nn.Linear | nn.Conv2d, generator: torch.Generator | None) -> nn.Module:
    nn.init.trunc_normal_(layer.weight, std=0.02, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ViT(nn.Module):
    """A Vision Transformer: patches, a class token, positions, pre-norm blocks, and a linear head.

    $$ z_0 = [c; E x_1; \\dots; E x_t] + P, \\quad
       z_{l+1} = \\text{Block}_l(z_l), \\quad y = W_\\text{head} \\, \\text{pool}(\\text{LN}(z_L)) $$

    Args:
        config: shapes, and the pictures that the model takes.
        generator: makes the start weights reproducible; None draws from torch's global generator.

    Returns:
        Logits of shape (b, num_classes) for images of shape (b, channels, image_size, image_size).

    Raises:
        ValueError: images of another shape.

    Cost:
        About parameters * tokens multiplications an image; parameters = depth * (4 + 2 mlp_ratio) * width^2 and a few.

    Example:
        >>> model = ViT(ViTConfig(width=32, depth=2), generator=torch.Generator().manual_seed(0))
        >>> model(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 10])

    Source:
        Dosovitskiy et al. 2021 (arXiv:2010.11929), eqs. 1-4; LayerScale: Touvron et al. 2021 (arXiv:2103.17239), eq. 6.

    Taught in:
        17_small_vit, 21_finetune_vit
    """

    name: str | None = None
    """What pretrained weights it has; an adapter file says so."""

    def __init__(self, config: ViTConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_kind("config", config, ViTConfig, "a ViTConfig")
        if generator is not None:
            check_kind("generator", generator, torch.Generator, "a torch.Generator")
        c = self.config = config
        with torch.random.fork_rng(devices=[]):  # torch's layers draw start weights at birth, which are replaced below
            self.patch_embed = PatchEmbed(c.patch_size, c.channels, c.width)
            self.cls_token = nn.Parameter(torch.empty(1, 1, c.width))
            self.pos_embed = nn.Parameter(torch.empty(1, 1 + c.grid**2, c.width))
            self.blocks = nn.ModuleList([Block(c) for _ in range(c.depth)])
            self.norm = nn.LayerNorm(c.width, eps=1e-6)
        for parameter in (self.pos_embed, self.cls_token):
            nn.init.trunc_normal_(parameter, std=0.02, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                _start(module, generator)
        self.reset_classifier(c.num_classes, generator=generator)

    def reset_classifier(self, num_classes: int, *, generator: torch.Generator | None = None) -> None:
        """Replaces the head by a fresh one for `num_classes` classes; 0 takes it away."""
        self.config = replace(self.config, num_classes=num_classes)
        self.head: nn.Module = nn.Identity()
        if num_classes:
            with torch.random.fork_rng(devices=[]):
                head = nn.Linear(self.config.width, num_classes)
            self.head = _start(head, generator).to(self.cls_token.device, self.cls_token.dtype)

    @property
    def image_format(self) -> ImageFormat:
        """What `surm_lite.data.prepare` must make of a picture for this model."""
        c = self.config
        return ImageFormat(c.image_size, c.channels, c.mean, c.std)

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens after the last norm, shape (b, 1 + patches, width); the class token is the first."""
        c = self.config
        check_kind("images", images, Tensor, "a torch.Tensor")
        wanted = (c.channels, c.image_size, c.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
            raise ValueError(
                f"images: got shape {tuple(images.shape)}, need (batch, {wanted[0]}, {wanted[1]}, {wanted[2]})"
            )
        if images.dtype != self.pos_embed.dtype and not torch.is_autocast_enabled(images.device.type):
            raise TypeError(f"images: got {images.dtype}, the model computes in {self.pos_embed.dtype}")
        x = self.patch_embed(images)  # (b, t, d)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed  # (b, 1 + t, d)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)  # (b, 1 + t, d)

    def fresh(self, generator: torch.Generator) -> ViT:
        """Another of the same shape, untrained."""
        return ViT(self.config, generator=generator)

    def features(self, images: Tensor) -> Tensor:
        """What the head sees, after the last norm, shape (b, width)."""
        z = self.tokens(images)  # (b, 1 + t, d)
        return z[:, 0] if self.config.pool == "token" else z[:, 1:].mean(1)  # (b, d)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # (b, num_classes)
