"""What a classifier made of a part: who is taken for whom, and where it was sure and wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from surm_lite.data import LabelledSet
from surm_lite.data.arguments import check_choice, check_count, check_kind
from surm_lite.evaluate import where
from surm_lite.tasks import evaluating


@dataclass(frozen=True)
class Outcome:
    """The answers of a classifier to the examples of one part.

    Args:
        classes: their names.
        labels: (count,), the right answers.
        guesses: (count,), the model's.
        sureness: (count,), the probability that it gave to its guess.

    Example:
        >>> seen = Outcome(("cat", "dog"), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([.9, .8, .6]))
        >>> seen.confusion.tolist(), seen.per_class.tolist(), seen.mistakes().tolist()
        ([[1, 1], [0, 1]], [0.5, 1.0], [1])
        >>> print(seen)
                   cat  dog  right
        cat          1    1   50 %
        dog          0    1  100 %

    Taught in:
        42_your_own_data
    """

    classes: tuple[str, ...]
    labels: Int[Tensor, " n"]
    guesses: Int[Tensor, " n"]
    sureness: Float[Tensor, " n"]

    @property
    def confusion(self) -> Int[Tensor, "c c"]:
        """How often row was taken for column."""
        size = len(self.classes)
        return (self.labels * size + self.guesses).bincount(minlength=size**2).view(size, size)

    @property
    def per_class(self) -> Float[Tensor, " c"]:
        """The share of each class that was recognised; nan where the part has none of it."""
        return self.confusion.diagonal() / self.confusion.sum(1)

    def mistakes(self, most: int | None = None) -> Int[Tensor, " k"]:
        """Places of the wrong answers, the surest first."""
        if most is not None:
            check_count("most", most)
        wrong = (self.labels != self.guesses).nonzero().flatten()
        return wrong[self.sureness[wrong].argsort(descending=True, stable=True)][:most]

    def __str__(self) -> str:
        width = max(map(len, self.classes))
        wide = max(width, 10)
        lines = [" " * wide + "".join(f"  {name:>3}" for name in self.classes) + "  right"]
        for name, row, share in zip(self.classes, self.confusion.tolist(), self.per_class.tolist()):
            cells = "".join(f"  {count:{max(3, len(other))}}" for count, other in zip(row, self.classes))
            lines.append(
                f"{name:<{wide}}{cells}  " + ("    -" if share != share else f"{share:3.0%}".replace("%", " %"))
            )
        return "\n".join(lines)


def outcome(model: nn.Module, data: LabelledSet, part: str = "test", *, batch_size: int = 250) -> Outcome:
    """Asks a classifier about every example of a part.

    Args:
        model: gives (batch, classes); asked in eval mode and put back as it was.
        data: a labelled set whose task is a classification.
        part: "test", "validation" or "train".
        batch_size: examples at a time.

    Returns:
        Outcome: confusion, shares by class and mistakes.

    Raises:
        TypeError, ValueError: data that is no labelled set, or another part.

    Cost:
        One forward for each example.

    Example:
        >>> from surm_lite.data import load
        >>> from surm_lite.models import tiny_vit
        >>> outcome(tiny_vit(), load("digits", train=50)).confusion.sum().item()
        400

    Taught in:
        42_your_own_data
    """
    check_kind("data", data, LabelledSet, "a LabelledSet, what sl.data.load(name) returns")
    check_choice("part", part, tuple(data.parts))
    check_count("batch_size", batch_size)
    on, asked, outputs = where(model), data.parts[part], []
    data.task.check_model(model, data, on)
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(asked), batch_size):
            ready = data.task.prepare(asked[start : start + batch_size], model, on)
            outputs.append(model(ready.inputs).float().cpu()[:, : len(data.classes)])
    sureness, guesses = torch.cat(outputs).softmax(-1).max(-1)
    return Outcome(data.classes, asked.labels.cpu(), guesses.clone(), sureness.clone())
