"""Models of `transformers`, as this library's training loop wants them: images in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from surm_lite.adapters.attached import attachment
from surm_lite.adapters.names import check_model
from surm_lite.adapters.targets import DEFAULT_KEEP
from surm_lite.data.arguments import check_numbers
from surm_lite.data.images import ImageFormat


class Logits(nn.Module):
    """A classifier of `transformers` whose forward returns its logits alone; everything else is the model's own."""

    def __init__(self, model: nn.Module, image_format: ImageFormat) -> None:
        super().__init__()
        self.model = model
        self.image_format = image_format

    @property
    def config(self) -> Any:
        """The model's own, which knows its name and those of the classes."""
        return self.model.config

    @property
    def head(self) -> nn.Module:
        """The classification head, which may learn at a rate of its own."""
        heads = (getattr(self.model, name, None) for name in DEFAULT_KEEP)
        return next((head for head in heads if isinstance(head, nn.Module)), nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, channels, size, size) -> logits (b, classes)."""
        return self.model(images).logits


def logits(model: nn.Module, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> Logits:
    """An image classifier of `transformers` for `train` and `accuracy`: it takes images and returns plain logits.

    The model is wrapped, not copied: adapt, merge and save the model itself, and hand the wrapper to the training loop.

    Args:
        model: its output has `logits`, and its `config` has `image_size` and `num_channels`, as
            `ViTForImageClassification` and `Dinov2ForImageClassification` have them.
        mean: what is subtracted from pictures in [0, 1], one number a channel: the `image_mean` of the model's image
            processor. None: what the adapter file that was loaded says, else 0.5 each, which is right for ViT but not
            for DINOv2.
        std: what they are then divided by: the processor's `image_std`. None: likewise.

    Returns:
        Logits: a module with `model`, `image_format` and `head`.

    Raises:
        TypeError: `model` is no module, or a mean or std no numbers.
        ValueError: a model whose config says no image size, or a mean or std of another length.

    Example:
        >>> from types import SimpleNamespace
        >>> class Classifier(nn.Module):
        ...     config = SimpleNamespace(image_size=2, num_channels=1)
        ...     def forward(self, pixel_values):
        ...         return SimpleNamespace(logits=pixel_values.flatten(1))
        >>> logits(Classifier())(torch.zeros(5, 1, 2, 2)).shape
        torch.Size([5, 4])

    Taught in:
        25_your_own_model
    """
    check_model(model)
    config = getattr(model, "config", None)
    size, channels = (getattr(config, name, None) for name in ("image_size", "num_channels"))
    if not isinstance(size, int) or not isinstance(channels, int):
        raise ValueError(
            f"model: {type(model).__name__}.config gives image_size = {size!r} and num_channels = {channels!r}, "
            "need two integers, as the image classifiers of transformers have them"
        )
    told = attachment(model).about.get("image_format", {})
    found = []
    for name, given in (("mean", mean), ("std", std)):
        numbers = told.get(name, (0.5,) * channels) if given is None else given
        check_numbers(name, numbers)
        if len(numbers) != channels:
            raise ValueError(f"{name}: got {numbers}, need one number for each of {channels} channels")
        found.append(tuple(numbers))
    return Logits(model, ImageFormat(size, channels, *found))
