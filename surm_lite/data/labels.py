"""Labels of one's own, words or whole numbers, as numbers from 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_labels(name: str, values: Any, count: int) -> np.ndarray:
    """Labels as an array of words or of whole numbers."""
    try:
        found = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: got a {type(values).__name__} that is no list of labels ({error})") from None
    words = found.dtype.kind == "O" and all(isinstance(one, str) for one in found.flat)
    if found.shape != (count,) or not (words or found.dtype.kind in "iubU"):
        raise ValueError(
            f"{name}: got {found.dtype} of shape {found.shape}, need a word or a whole number for each of {count} "
            "examples"
        )
    return found


def known_labels(labels: np.ndarray, classes: Sequence[str] | None) -> tuple[dict[Any, int], list[str]]:
    """What a label may be -> its number, and the names by number."""
    if classes is None:
        distinct = sorted(set(labels.tolist()))
        return {one: k for k, one in enumerate(distinct)}, [str(one) for one in distinct]
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        raise TypeError(f"classes: got {classes!r}, need names, one for each number")
    if len(set(classes)) < len(classes):
        raise ValueError(f"classes: got {classes!r}, in which a name comes twice")
    return {one: k for k, name in enumerate(classes) for one in (k, name)}, list(classes)


def numbers(name: str, labels: np.ndarray, known: dict[Any, int]) -> Tensor:
    """The number of each label."""
    for one in labels.tolist():
        if one not in known:
            raise ValueError(f"{name}: has the label {one!r}, which is none of the classes")
    return torch.tensor([known[one] for one in labels.tolist()], dtype=torch.int64)
