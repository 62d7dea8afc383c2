"""What a run needs of its data and its model, said before it starts."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from surm_lite.data import ImageSet
from surm_lite.evaluate import fit

from .settings import check_positive


def check_checkpoint(path: str | os.PathLike[str] | None, every: int | None, resume: bool | str) -> Path | None:
    """The file of the checkpoint, None for a run without."""
    if not isinstance(resume, bool) and resume != "auto":
        raise ValueError(f"resume: got {resume!r}, need True, False or 'auto'")
    check_positive("checkpoint_every", every)
    if path is None:
        for name, given in (("checkpoint_every", every is not None), ("resume", resume)):
            if given:
                raise ValueError(f"{name}: needs checkpoint, the file that it is about")
        return None
    file = Path(path)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ValueError(f"checkpoint: got {str(file)!r}, need the name of a file in a folder that exists")
    return file


def check_data(data: ImageSet) -> None:
    """Every part has images, every class is trained on, and every label is one of the classes."""
    for name, part in data.parts.items():
        if not len(part):
            raise ValueError(f"data: the {name} part of {data.name} has no image")
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high >= len(data.classes):
            raise ValueError(
                f"data: the {name} part of {data.name} has labels from {low} to {high}, "
                f"need 0 to {len(data.classes) - 1} for its {len(data.classes)} classes"
            )
    count = data.train.labels.bincount(minlength=len(data.classes))
    if empty := [data.classes[k] for k in (count == 0).nonzero().flatten().tolist()]:
        raise ValueError(
            f"data: the train part of {data.name} has no image of class {', '.join(map(repr, empty))}; "
            "leave the class out of `classes`, or train on more images"
        )


@torch.inference_mode()
def check_outputs(model: nn.Module, data: ImageSet, on: torch.device) -> None:
    """The model takes these images and has an output for each class."""
    training, images = model.training, data.train.images[:2]
    try:
        output = model.eval()(fit(images, model, on))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"model: does not take the images of {data.name}, of shape {tuple(images.shape[1:])} "
            f"(channels, height, width): {error}"
        ) from error
    finally:
        model.train(training)
    shape = tuple(output.shape)
    if len(shape) != 2 or shape[1] < len(data.classes):
        raise ValueError(
            f"model: gives {shape} for {len(images)} images, but {data.name} has {len(data.classes)} classes"
        )
