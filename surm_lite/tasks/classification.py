"""Classification: one label an example, of pictures or of sentences."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from surm_lite.data.labelled import LabelledSet
from surm_lite.tasks.base import Task


class Classification(Task):
    """One of several classes an example: cross-entropy, and the share of right answers.

    $$ \\text{loss} = -\\tfrac1b \\sum_i \\log \\text{softmax}(y_i)_{c_i}, \\quad
       \\text{score} = \\#\\{i : \\arg\\max y_i = c_i\\} $$

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
        >>> Classification().score(logits, labels)
        tensor(1)

    Taught in:
        21_finetune_vit
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).sum()

    def about(self, data: LabelledSet) -> dict[str, Any]:
        """The names of the classes."""
        return {"classes": list(data.classes)}

    def check(self, data: LabelledSet) -> None:
        """Every part has examples, every label is one of two or more classes, and every class is trained on."""
        super().check(data)
        if len(data.classes) < 2:
            raise ValueError(f"data: {data.name} has the classes {data.classes}, need two or more to tell apart")
        check_labels(data)
        count = data.train.labels.bincount(minlength=len(data.classes))
        if empty := [data.classes[k] for k in (count == 0).nonzero().flatten().tolist()]:
            raise ValueError(
                f"data: the train part of {data.name} has no example of class {', '.join(map(repr, empty))}; "
                "leave the class out of `classes`, or train on more examples"
            )

    def check_outputs(self, outputs: Tensor, targets: Tensor, data: LabelledSet) -> None:
        """An output for each class."""
        shape = tuple(outputs.shape)
        if len(shape) != 2 or shape[0] != len(targets) or shape[1] < len(data.classes):
            raise ValueError(
                f"model: gives {shape} for {len(targets)} examples, but {data.name} has {len(data.classes)} classes"
            )


def check_labels(data: LabelledSet) -> None:
    """Every label is one of the classes; a ValueError names the part where one is not."""
    for name, part in data.parts.items():
        low, high = int(part.labels.min()), int(part.labels.max())
        if low < 0 or high >= len(data.classes):
            raise ValueError(
                f"data: the {name} part of {data.name} has labels from {low} to {high}, "
                f"need 0 to {len(data.classes) - 1} for its {len(data.classes)} classes"
            )
