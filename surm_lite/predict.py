"""What a trained model says of pictures that nobody has labelled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surm_lite.adapters.held import about, class_names
from surm_lite.adapters.names import check_model, unwrap
from surm_lite.data.arguments import check_count
from surm_lite.data.arrays import as_inputs
from surm_lite.data.pictures import UnreadableError, check_left_out, entries, left_out, need_pillow, read_picture, shown
from surm_lite.data.tokens import tokenize
from surm_lite.evaluate import where
from surm_lite.files import as_path
from surm_lite.tasks import evaluating, fit


@dataclass(frozen=True)
class Prediction:
    """The classes that a model holds for likely, and how likely; it prints as a line.

    Args:
        name: the file, or the place of an example among those that were given.
        guesses: pairs of a class and its probability, the likeliest first.

    Example:
        >>> print(Prediction("rex.jpg", (("dog", 0.953), ("cat", 0.047))))
        rex.jpg: dog 95.3 %, cat 4.7 %

    Taught in:
        25_your_own_model
    """

    name: str
    guesses: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.guesses[0][0]

    def __str__(self) -> str:
        return f"{self.name}: " + ", ".join(f"{label} {share:.1%}".replace("%", " %") for label, share in self.guesses)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "guesses": [{"class": one, "probability": share} for one, share in self.guesses]}


def predict(model: nn.Module, things: Any, *, top: int = 3, batch_size: int = 64) -> list[Prediction]:
    """Names the classes of pictures or sentences by a trained model, and says how sure it is.

    $$ p = \\text{softmax}(y) $$

    The names are those that the model was trained on, here or in the adapter file that was loaded into it; without any,
    they are numbers. The probabilities are the model's own: after training on few examples it is often surer than it
    is right.

    Args:
        model: what `train` or `load_adapter` returned or changed. Files need its `image_format`.
        things: a picture file, a folder of them (with all folders below it), or a list of such; for a model that reads
            sentences, a sentence or a list of them; or examples as one array, as in `sl.data.from_arrays`.
        top: how many classes to name.
        batch_size: examples at a time.

    Returns:
        list: a `Prediction` for each example, in order; those of a folder by name.

    Raises:
        TypeError: no model, or things of another kind.
        ValueError: a file that is no picture (in a folder a few are left out with a warning), a sentence without a
            word, nothing to predict, or a model that gives no number for each class.
        FileNotFoundError: there is no such file.

    Cost:
        One forward an example.

    Example:
        >>> from surm_lite.models import ViT, ViTConfig
        >>> model = ViT(ViTConfig(width=8, depth=1, heads=2, num_classes=2))
        >>> _ = nn.init.zeros_(model.head.weight)
        >>> print(*predict(model, torch.zeros(2, 1, 28, 28, dtype=torch.uint8)), sep="\\n")
        0: 0 50.0 %, 1 50.0 %
        1: 0 50.0 %, 1 50.0 %

    Taught in:
        25_your_own_model, 42_your_own_data
    """
    check_model(model)
    check_count("top", top)
    check_count("batch_size", batch_size)
    said = about(model)
    if said.get("task", "Classification") != "Classification":
        raise ValueError(f"model: was trained for {said['task']}, and only a Classification has classes to predict")
    try:
        named = class_names(said)
    except ValueError as error:
        raise ValueError(f"model: {error}") from None
    on, found = where(model), []
    with evaluating(model), torch.inference_mode():
        for names, inputs in _batches(model, things, batch_size):
            try:
                outputs = model(fit(inputs, model, on))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise ValueError(f"things: the model does not take {_kind(inputs)} ({error})") from error
            _check_outputs(outputs, names, named)
            labels = [*named, *(str(k) for k in range(len(named), outputs.shape[1]))]
            shares, places = outputs.float().softmax(-1).topk(min(top, outputs.shape[1]))
            for name, share, place in zip(names, shares.tolist(), places.tolist()):
                found.append(Prediction(name, tuple((labels[k], p) for k, p in zip(place, share))))
    return found


def _batches(model: nn.Module, things: Any, size: int) -> Iterator[tuple[list[str], Tensor]]:
    """Names and inputs, so many at a time."""
    if isinstance(things, Tensor | np.ndarray):
        things = as_inputs("things", things)
        for start in range(0, len(things), size):
            batch = things[start : start + size]
            yield [str(start + k) for k in range(len(batch))], batch
        return
    if getattr(unwrap(model), "reads", None) == "sentences":
        sentences = [things] if isinstance(things, str) else list(things) if isinstance(things, Sequence) else things
        for start in range(0, len(sentences), size) if isinstance(sentences, list) else ():
            batch = sentences[start : start + size]
            yield batch, _tokens(batch)
        if not isinstance(sentences, list) or not sentences:
            raise TypeError(f"things: got a {type(things).__name__}, need a sentence, or a list of them")
        return
    form: Any = getattr(unwrap(model), "image_format", None)
    files, skipped = _files(things), []
    if form is None:
        raise ValueError("model: has no image_format, so files cannot be fitted to it; give pictures as one array")
    need_pillow("things")
    names: list[str] = []
    pictures: list[Tensor] = []
    for path, named in files:
        try:
            pictures.append(torch.from_numpy(read_picture(path, form.size).copy()))
            names.append(shown(path))
        except UnreadableError as error:
            if named:
                raise ValueError(f"things: {shown(path)}: {error}") from None
            skipped.append((shown(path), str(error)))
        if len(pictures) == size:
            yield names, torch.stack(pictures)
            names, pictures = [], []
    if pictures:
        yield names, torch.stack(pictures)
    if len(skipped) == len(files):
        raise ValueError(f"things: no file can be used: {left_out(skipped)}")
    check_left_out("things", "folder", skipped, len(files))


def _tokens(sentences: list[str]) -> Tensor:
    """Token ids; a sentence without any but its two marks is refused, since the answer would be about nothing."""
    ids = tokenize(sentences)
    for one, count in zip(sentences, (ids != 0).sum(1).tolist()):
        if count <= 2:
            raise ValueError(f"things: got {one!r}, need a sentence with a word in it")
    return ids


def _files(things: Any) -> list[tuple[Path, bool]]:
    """Every file that is meant, and whether it was named itself."""
    given = [things] if isinstance(things, str | os.PathLike) else things
    if not isinstance(given, Sequence) or isinstance(given, bytes):
        raise TypeError(f"things: got a {type(things).__name__}, need paths, or pictures as one array")
    found: list[tuple[Path, bool]] = []
    for one in given:
        path = as_path("things", one)
        if path.is_dir():
            found += [(below, False) for below in _below(path)]
        elif path.exists():
            found.append((path, True))
        else:
            raise FileNotFoundError(f"things: there is no file {shown(path)}")
    if not found:
        raise ValueError("things: there is no file to predict")
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Every file of a folder and of those below it; links are not followed."""
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        elif not entry.is_symlink():
            yield Path(entry.path)


def _kind(inputs: Tensor) -> str:
    return f"{inputs.dtype} of shape {tuple(inputs.shape[1:])}"


def _check_outputs(outputs: Any, names: list[str], classes: list[str]) -> None:
    """A finite number for each class and example."""
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"model: gives a {type(outputs).__name__} and no tensor; `surm_lite.models.logits` wraps a classifier of "
            "transformers"
        )
    if outputs.ndim != 2 or len(outputs) != len(names) or outputs.shape[1] < max(len(classes), 1):
        need = f"numbers for its {len(classes)} classes" if classes else "a number for each class"
        raise ValueError(f"model: gives {tuple(outputs.shape)} for {len(names)} examples, need {need}")
    for name, row in zip(names, outputs):
        if not row.isfinite().all():
            raise ValueError(f"model: gives numbers that are not finite for {name}")
