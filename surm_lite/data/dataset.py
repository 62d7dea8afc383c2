"""A `torch.utils.data.Dataset` of one's own, torchvision's among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from surm_lite.data.arrays import as_bytes, assemble
from surm_lite.data.labelled import LabelledSet
from surm_lite.data.memory import check_fits


def from_dataset(
    dataset: Any, *, validation: Any = 0.2, test: Any = 0.2, classes: Sequence[str] | None = None, seed: int = 0
) -> LabelledSet:
    """Reads every item of a `torch.utils.data.Dataset` of pictures and labels, such as torchvision's, into memory.

    An item is a pair: a picture (of Pillow, an array or a tensor, bytes or floats from 0 to 1, all of one size), and a
    label (a whole number or a word). Random transforms are drawn once; leave them to `train(augment=...)`.

    Args:
        dataset: has a length and items.
        validation, test: the share of each class that goes to that part; or that part itself, as another dataset.
        classes: names of the classes by number; None: `dataset.classes` where there are any, else the labels.
        seed: decides which examples go to which part, and their order.

    Returns:
        LabelledSet: what `train` takes.

    Raises:
        TypeError: no dataset with a length, or items that are no pairs.
        ValueError: pictures of several sizes, or what `from_arrays` refuses.

    Cost:
        Each item once, one after the other.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from_dataset(TensorDataset(torch.rand(20, 3, 8, 8), torch.arange(20) % 2))
        LabelledSet('TensorDataset': 12 train, 4 validation, 4 test; 3x8x8; 2 classes)

    Taught in:
        42_your_own_data
    """
    X, y = _items("dataset", dataset)
    parts = {
        name: _items(name, part) if isinstance(part, Dataset | DataLoader) else part
        for name, part in (("validation", validation), ("test", test))
    }
    named = getattr(dataset, "classes", None) if classes is None else classes
    whole = list(named) if isinstance(named, Sequence) and not isinstance(named, str) else named
    called = ("dataset", "dataset: labels")
    return assemble(X, y, parts, classes=whole, seed=seed, name=type(dataset).__name__, called=called)


def _items(name: str, dataset: Any) -> tuple[Tensor, list[Any]]:
    """All pictures, stacked, and all labels."""
    if isinstance(dataset, DataLoader):
        raise TypeError(f"{name}: got a DataLoader, need its dataset: loader.dataset")
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(f"{name}: got a {type(dataset).__name__}, need a dataset with a length and items")
    pictures: list[Tensor] = []
    labels: list[Any] = []
    for k in range(len(dataset)):
        item = dataset[k]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise TypeError(f"{name}: item {k} is a {type(item).__name__}, need a pair of a picture and a label")
        picture, label = item
        if hasattr(picture, "convert") and picture.mode not in (
            "L",
            "RGB",
        ):  # Pillow: numbers of a palette are no colours
            picture = picture.convert("RGB")
        try:
            made = picture if isinstance(picture, Tensor) else torch.from_numpy(np.array(picture))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: the picture of item {k} is a {type(picture).__name__} ({error})") from None
        pictures.append(made if made.ndim < 2 else as_bytes(f"{name}: item {k}", made))
        if isinstance(label, Tensor) and label.numel() != 1:
            raise TypeError(f"{name}: the label of item {k} has shape {tuple(label.shape)}, need one number")
        labels.append(label.item() if isinstance(label, Tensor | np.generic) else label)
        if not k:
            size = len(dataset) * pictures[0].nbytes
            check_fits(f"{name}: {len(dataset):,} items", size, lambda room: "take fewer, or smaller ones")
        if made.shape != pictures[0].shape:
            raise ValueError(
                f"{name}: item {k} has shape {tuple(made.shape)} and item 0 {tuple(pictures[0].shape)}, need one size; "
                "a transform such as torchvision's Resize gives it, and from_folder reads files at a size"
            )
    if not pictures:
        raise ValueError(f"{name}: has no items")
    return torch.stack(pictures), labels
