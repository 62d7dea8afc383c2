"""Arrays of one's own: pictures or token ids, and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surm_lite.data.arguments import check_kind, check_seed
from surm_lite.data.labelled import LabelledSet, Split
from surm_lite.data.labels import as_labels, known_labels, numbers
from surm_lite.data.split import check_shares, cut


def from_arrays(
    X: Any,
    y: Any,
    *,
    validation: float | tuple[Any, Any] = 0.2,
    test: float | tuple[Any, Any] = 0.2,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> LabelledSet:
    """Makes a data set of arrays of your own: numpy, torch, or nested lists.

    Pictures are bytes from 0 to 255, or floats from 0 to 1, which become bytes. They come in any of the usual layouts:
    (count, channels, height, width), (count, height, width, channels) with one or three of them, or (count, height,
    width) for grey ones. Do not normalise them: the model does (`model.image_format`). Whole numbers of shape (count,
    length) are token ids, padded with 0.

    Args:
        X: the examples.
        y: a label for each, words or whole numbers.
        validation, test: the share of each class that goes to that part; or that part itself, as a pair (X, y).
        classes: names in the order of the numbers in `y`; None: the distinct labels, sorted.
        seed: decides which examples go to which part, and their order.
        name: what records call it.

    Returns:
        LabelledSet: what `train` takes.

    Raises:
        TypeError, ValueError: arrays of another kind, shape or range, parts of different kinds or shapes, a single
            class, a label that is none of the classes, or a class with too few examples; the message says which and
            what to do.

    Cost:
        A copy.

    Example:
        >>> import numpy as np
        >>> X, y = np.random.default_rng(0).random((30, 8, 8)), ["left", "right", "up"] * 10
        >>> from_arrays(X, y)
        LabelledSet('arrays': 18 train, 6 validation, 6 test; 1x8x8; 3 classes)

    Taught in:
        42_your_own_data
    """
    check_kind("name", name, str, "what records call it")
    given = {"validation": validation, "test": test}
    return assemble(X, y, given, classes=classes, seed=seed, name=name, called=("X", "y"))


def assemble(
    X: Any,
    y: Any,
    given: Mapping[str, Any],
    *,
    classes: Sequence[str] | None,
    seed: int,
    name: str,
    called: tuple[str, str],
) -> LabelledSet:
    """As `from_arrays`, for every reader: `given` is what other parts get, `called` what its users know as X and y."""
    examples, answers = called
    check_seed("seed", seed)
    shares = {part: share for part, share in given.items() if not isinstance(share, tuple)}
    check_shares(shares)
    inputs = as_inputs(examples, X)
    words = as_labels(answers, y, len(inputs))
    known, names = known_labels(words, classes)
    labels = numbers(answers, words, known)
    if len(names) < 2:
        raise ValueError(f"{answers}: every example has the label {names[0]!r}, need two or more classes")
    places = cut(answers, labels, names, shares, seed)
    parts = {part: Split(inputs[index], labels[index]) for part, index in places.items()}
    for part, pair in given.items():
        if isinstance(pair, tuple):
            if len(pair) != 2:
                raise ValueError(f"{part}: got a tuple of {len(pair)}, need a share, or a pair (X, y)")
            own = as_inputs(part, pair[0])
            if _kind(own) != _kind(inputs):
                raise ValueError(f"{part}: got {_kind(own)}, need {_kind(inputs)} as in {examples}")
            parts[part] = Split(own, numbers(part, as_labels(part, pair[1], len(own)), known))
    return LabelledSet(name=name, classes=tuple(names), credit="arrays of your own", **parts)


def _kind(inputs: Tensor) -> str:
    """What must be the same in every part; sentences may be longer in one than in another."""
    return "token ids" if inputs.ndim == 2 else f"pictures of shape {tuple(inputs.shape[1:])}"


def as_inputs(name: str, values: Any) -> Tensor:
    """Pictures as bytes, (count, channels, height, width), or token ids, (count, length), of an array of them."""
    try:
        tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: got a {type(values).__name__} that is no array of numbers ({error})") from None
    if tensor.is_meta or tensor.is_sparse:
        raise ValueError(f"{name}: got a tensor {'without numbers' if tensor.is_meta else 'that is sparse'}")
    tensor = tensor.cpu()
    if not tensor.ndim or not tensor.numel():
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, need one or more examples, none of them empty")
    if tensor.ndim == 2 and tensor.dtype == torch.int64:
        return tensor
    if tensor.ndim not in (3, 4):
        raise ValueError(
            f"{name}: got {tensor.dtype} of shape {tuple(tensor.shape)}, need pictures, (count, height, width) with or "
            "without channels, or int64 token ids, (count, length)"
        )
    tensor = as_bytes(name, tensor)
    if tensor.ndim == 3 and tensor.shape[-1] in (1, 3, 4) and tensor.shape[1] > 4:
        raise ValueError(
            f"{name}: got shape {tuple(tensor.shape)}, which is one picture with its channels, and not (count, height, "
            "width); [None] makes it a set of one"
        )
    if tensor.ndim == 3:
        return tensor[:, None]  # (count, 1, height, width)
    if tensor.shape[-1] in (2, 4) and tensor.shape[1] > 4:
        raise ValueError(
            f"{name}: got shape {tuple(tensor.shape)}, pictures with an alpha channel, need one or three channels; "
            f"[..., :{tensor.shape[-1] - 1}] drops the alpha"
        )
    return tensor.movedim(-1, 1) if tensor.shape[1] not in (1, 3) and tensor.shape[-1] in (1, 3) else tensor


def as_bytes(name: str, pictures: Tensor) -> Tensor:
    """Bytes as they are; floats from 0 to 1 as bytes; nothing else can be told."""
    if not pictures.numel():
        raise ValueError(f"{name}: got shape {tuple(pictures.shape)}, need one or more pixels")
    if pictures.dtype == torch.uint8:
        return pictures
    if not pictures.is_floating_point():
        raise ValueError(f"{name}: got {pictures.dtype}, need bytes; X.astype('uint8') if they go from 0 to 255")
    low, high = pictures.min().item(), pictures.max().item()
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"{name}: got floats from {low:.3g} to {high:.3g}, need bytes, or floats from 0 to 1, not normalised (the "
            "model does that): divide by the largest value that there can be"
        )
    return (pictures.float() * 255).round().to(torch.uint8)
