"""How pictures become what a model takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from surm_lite.data.arguments import check_count, check_flag, check_kind, check_numbers, check_pictures

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class ImageFormat(NamedTuple):
    """The pictures a model takes: side in pixels, colour channels, and the mean and deviation it was trained with."""

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def check_format(name: str, form: ImageFormat) -> None:
    """A format that pictures can be brought to; TypeError or ValueError."""
    check_kind(name, form, ImageFormat, "an ImageFormat, such as a model's image_format")
    for field in ("size", "channels"):
        check_count(f"{name}: {field}", getattr(form, field))
    for field in ("mean", "std"):
        check_numbers(f"{name}: {field}", getattr(form, field), form.channels)
        if len(getattr(form, field)) != form.channels:
            raise ValueError(f"{name}: {field} is {getattr(form, field)}, need {form.channels} numbers, one a channel")
    if 0 in form.std:
        raise ValueError(f"{name}: std is {form.std}, and pictures are divided by it; need no 0")


def prepare(images: Tensor, form: ImageFormat) -> Tensor:
    """Turns stored pictures into what a model takes: in [0, 1], resized, with its channels, normalised.

    A grey picture is repeated for each channel; a colour picture becomes its luma for a grey model.

    $$ x = (\\text{resize}(u / 255) - \\text{mean}) / \\text{std} $$

    Args:
        images: uint8 tensor of shape (count, channels, height, width).
        form: what the model takes (`model.image_format`).

    Returns:
        Tensor: float32 of shape (count, form.channels, form.size, form.size).

    Raises:
        TypeError: `images` is no tensor, or `form` no ImageFormat.
        ValueError: numbers that are no bytes; a number of channels that is neither 1, nor 3 for a grey model, nor the
            model's own; pictures or a format of another shape.

    Cost:
        One bilinear resize (with antialiasing) for each image; nothing where the size already fits.

    Example:
        >>> grey = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
        >>> prepare(grey, ImageFormat(56, 3, (0.5,) * 3, (0.5,) * 3)).shape
        torch.Size([2, 3, 56, 56])

    Taught in:
        21_finetune_vit
    """
    check_pictures("images", images)
    check_format("form", form)
    if images.dtype != torch.uint8:
        raise ValueError(f"images: got {images.dtype}, need torch.uint8, from 0 for black to 255")
    x = images.float() / 255
    if x.shape[1] == 3 and form.channels == 1:
        x = (x * _per_channel(LUMA, x)).sum(1, keepdim=True)  # (count, 1, height, width)
    if x.shape[1] not in (1, form.channels):
        raise ValueError(f"images: got {x.shape[1]} channels, the model takes {form.channels}")
    if x.shape[-2:] != (form.size, form.size):
        x = F.interpolate(x, (form.size, form.size), mode="bilinear", antialias=True)
    mean, std = _per_channel(form.mean, x), _per_channel(form.std, x)  # (c, 1, 1)
    return (x - mean) / std  # a grey picture becomes (count, form.channels, size, size) by broadcasting


def _per_channel(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """The numbers as (c, 1, 1), filled in on the device: a copy from the host would wait for all work before it."""
    return torch.stack([like.new_full((1, 1), number) for number in numbers])


def flip_and_shift(images: Tensor, generator: torch.Generator, *, flip: bool = True, shift: int = 2) -> Tensor:
    """Augments a batch: each picture is mirrored with probability 1/2 and moved by up to `shift` pixels each way.

    Args:
        images: tensor of shape (count, channels, height, width).
        generator: a CPU generator, the only source of chance.
        flip: False where left and right mean something (digits, hands).
        shift: largest move in pixels; what leaves on one side is filled with zeros on the other.

    Returns:
        Tensor: same shape and dtype.

    Raises:
        TypeError, ValueError: no pictures, no CPU generator, or a shift that is no whole number from 0.

    Cost:
        One indexed copy of the batch.

    Example:
        >>> batch = torch.ones(4, 1, 8, 8, dtype=torch.uint8)
        >>> flip_and_shift(batch, torch.Generator().manual_seed(0)).shape
        torch.Size([4, 1, 8, 8])
    """
    check_pictures("images", images)
    check_kind("generator", generator, torch.Generator, "a torch.Generator")
    check_flag("flip", flip)
    check_count("shift", shift, least=0)
    count, _, height, width = images.shape
    if shift > max(height, width):
        raise ValueError(f"shift: got {shift}, which moves every picture of {height} x {width} pixels out of itself")
    dy, dx = torch.randint(-shift, shift + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < (0.5 if flip else 0.0)
    columns = torch.arange(width).expand(count, -1)
    columns = torch.where(mirrored, columns.flip(-1), columns) + dx + shift  # (count, width), in the padded picture
    rows = torch.arange(height) + dy + shift  # (count, height)
    padded = F.pad(images, (shift,) * 4).permute(0, 2, 3, 1)  # (count, height + 2s, width + 2s, channels)
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)  # (count, channels, height, width)


AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "flip_and_shift": flip_and_shift,
    "shift": partial(flip_and_shift, flip=False),
}
"""By the names that `train` and the command line take; "shift" where left and right mean something."""
