"""What a model knows: its accuracy, and what its frozen features alone can tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surm_lite.adapters.names import check_model, unwrap
from surm_lite.data import LabelledSet, Split
from surm_lite.data.arguments import check_choice, check_count, check_kind, check_numbers
from surm_lite.tasks import Classification, Task, check_labels, evaluating, fit, shortest_first

PRECISIONS = ("float32", "bfloat16")


def accuracy(model: nn.Module, part: Split, *, batch_size: int = 250, precision: str = "float32") -> float:
    """The share of examples whose label gets the largest logit.

    Args:
        model: gives (batch, classes); measured in eval mode and put back as it was.
        part: examples and labels.
        batch_size: examples at a time.
        precision: "float32", or "bfloat16" for autocast.

    Returns:
        float: between 0 and 1.

    Cost:
        One forward for each example.

    Example:
        >>> images = torch.tensor([10, 200], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> brightness = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
        >>> numbers = {"1.weight": torch.tensor([[0.0], [2.0]]), "1.bias": torch.tensor([1.0, 0.0])}
        >>> _ = brightness.load_state_dict(numbers)
        >>> accuracy(brightness, Split(images, torch.tensor([0, 1])))
        1.0

    Taught in:
        21_finetune_vit
    """
    total = total_score(model, part, Classification(), batch_size=batch_size, precision=precision)
    if not len(part):
        raise ValueError("part: has no example, so there is nothing to measure")
    return total / len(part)


def total_score(
    model: nn.Module, part: Split, task: Task, *, batch_size: int = 250, precision: str = "float32"
) -> float:
    """The score of a task, summed over a part; `model`, `batch_size` and `precision` are those of `accuracy`."""
    on = where(model)
    check_kind("part", part, Split, "a Split(inputs, labels)")
    check_kind("task", task, Task, "an sl.Task")
    check_count("batch_size", batch_size)
    check_choice("precision", precision, PRECISIONS)
    total, part = 0.0, shortest_first(part)
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(part), batch_size):
            ready = task.prepare(part[start : start + batch_size], model, on)
            with torch.autocast(on.type, torch.bfloat16, enabled=precision == "bfloat16"):
                outputs = model(ready.inputs)
            total += task.score(outputs, ready.targets).item()
    return total


@torch.no_grad()
def features(model: nn.Module, part: Split, *, batch_size: int = 250) -> Tensor:
    """The frozen features `model.features(inputs)` of a part, shape (count, width), on the CPU.

    Args:
        model: has `features`, as `ViT` has.
        part: examples and labels.
        batch_size: examples at a time.

    Returns:
        Tensor: float32 of shape (count, width).

    Cost:
        One forward for each example.

    Example:
        >>> from surm_lite.models import ViT, ViTConfig
        >>> part = Split(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
        >>> features(ViT(ViTConfig(width=16, depth=1)), part).shape
        torch.Size([3, 16])

    Taught in:
        21_finetune_vit
    """
    on = where(model)
    check_kind("part", part, Split, "a Split(inputs, labels)")
    check_count("batch_size", batch_size)
    if not callable(getattr(unwrap(model), "features", None)):
        raise TypeError(f"model: a {type(model).__name__} has no features(images), as ViT has")
    if not len(part):
        raise ValueError("part: has no example")
    extract = cast(Callable[[Tensor], Tensor], unwrap(model).features)
    with evaluating(model):
        pieces = [extract(fit(inputs, model, on)).float().cpu() for inputs in part.inputs.split(batch_size)]
    return torch.cat(pieces)  # (count, width)


def knn_accuracy(model: nn.Module, data: LabelledSet, *, neighbours: Sequence[int] = (1, 5, 20)) -> tuple[float, int]:
    """Accuracy of a vote among the nearest training images, by the cosine of frozen features: no training at all.

    Args:
        model: has `features`, as `ViT` has.
        data: neighbours come from `train`, their number is chosen on `validation`, the accuracy is that on `test`.
        neighbours: numbers of neighbours to choose from; those above the size of the training part are left out.

    Returns:
        tuple: test accuracy, and the chosen number.

    Cost:
        One forward for each example, and count(train) * count(test) * width multiplications.

    Example:
        >>> from surm_lite.data import load
        >>> from surm_lite.models import tiny_vit
        >>> score, k = knn_accuracy(tiny_vit(), load("digits", train=200))
        >>> score > 0.5
        True

    Taught in:
        21_finetune_vit
    """
    _check_baseline(data)
    if not isinstance(neighbours, Sequence) or isinstance(neighbours, str | bytes):
        raise TypeError(f"neighbours: got {neighbours!r}, need a tuple of whole numbers")
    for k in neighbours:
        check_count("neighbours", k)
    possible = [k for k in neighbours if 0 < k <= len(data.train)]
    if not possible:
        raise ValueError(f"neighbours: got {tuple(neighbours)}, need a number from 1 to the {len(data.train)} of train")
    train, validation, test = (F.normalize(features(model, part), dim=-1) for part in data.parts.values())

    def score(queries: Tensor, labels: Tensor, k: int) -> float:
        nearest = (queries @ train.mT).topk(k).indices  # (count, k)
        votes = F.one_hot(data.train.labels[nearest], len(data.classes)).sum(1)  # (count, classes)
        return (votes.argmax(-1) == labels).float().mean().item()

    best = max(possible, key=lambda k: score(validation, data.validation.labels, k))
    return score(test, data.test.labels, best), best


def linear_probe(
    model: nn.Module, data: LabelledSet, *, decays: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
) -> tuple[float, float, nn.Linear]:
    """Multinomial logistic regression on standardised frozen features, to convergence.

    $$ \\min_{W, b} \\; \\text{cross-entropy}(W \\hat z + b) + \\tfrac{\\lambda}{2} \\|W\\|^2 $$

    Args:
        model: has `features`, as `ViT` has.
        data: fitted on `train`; the decay is chosen on `validation`; the accuracy is that on `test`.
        decays: values of lambda to choose from.

    Returns:
        tuple: test accuracy, the chosen decay, and the head as a layer that acts on the raw features.

    Cost:
        One forward for each example, then under a second.

    Example:
        >>> from surm_lite.data import load
        >>> from surm_lite.models import tiny_vit
        >>> score, decay, head = linear_probe(tiny_vit(), load("digits", train=200))
        >>> head
        Linear(in_features=128, out_features=10, bias=True)

    Taught in:
        21_finetune_vit
    """
    _check_baseline(data)
    check_numbers("decays", decays, least=1)
    if min(decays) < 0:
        raise ValueError(f"decays: got {tuple(decays)}, need numbers of at least 0")
    train, validation, test = (features(model, part) for part in data.parts.values())
    mean, std = train.mean(0), train.std(0) + 1e-6
    best: tuple[float, float, nn.Linear] | None = None
    for decay in decays:
        head = _logistic((train - mean) / std, data.train.labels, len(data.classes), decay)
        with torch.no_grad():  # fold the standardisation into the layer: W (z - mean) / std + b
            head.weight.div_(std)
            head.bias.sub_(head.weight @ mean)
            right = (head(validation).argmax(-1) == data.validation.labels).float().mean().item()
        if best is None or right > best[0]:
            best = (right, decay, head)
    assert best is not None
    with torch.no_grad():
        score = (best[2](test).argmax(-1) == data.test.labels).float().mean().item()
    return score, best[1], best[2]


@dataclass
class Probe:
    """A linear probe that was fitted to one model and asks another the same: what has been forgotten.

    Example:
        >>> from surm_lite.data import load
        >>> from surm_lite.models import tiny_vit
        >>> Probe.of(tiny_vit(), load("digits", train=200)).forgotten(tiny_vit())
        0.0
    """

    part: Split
    head: nn.Linear
    before: float

    @classmethod
    def of(cls, model: nn.Module, data: LabelledSet) -> Probe:
        """Fitted to the features of a model, and asked on the test part."""
        before, _, head = linear_probe(model, data)
        return cls(data.test, head, before)

    @torch.no_grad()
    def forgotten(self, model: nn.Module) -> float:
        """How much accuracy the probe loses, unchanged, on the features of this model."""
        right = self.head(features(model, self.part)).argmax(-1) == self.part.labels
        return round(self.before - right.float().mean().item(), 6)


def where(model: nn.Module) -> torch.device:
    """The device of a model."""
    check_model(model)
    for parameter in model.parameters():
        if parameter.is_meta:
            raise ValueError("model: is on the meta device, so it has no numbers")
        return parameter.device
    return torch.device("cpu")


def _check_baseline(data: LabelledSet) -> None:
    """Labelled pictures that a model without training can be held against."""
    check_kind("data", data, LabelledSet, "a LabelledSet, what sl.data.load(name) returns")
    Task.check(Classification(), data)
    check_labels(data)


def _logistic(x: Tensor, labels: Tensor, classes: int, decay: float) -> nn.Linear:
    head = nn.utils.skip_init(nn.Linear, x.shape[-1], classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(head(x), labels) + 0.5 * decay * head.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return head
