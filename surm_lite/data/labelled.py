"""What a data set is: examples with their labels, in three parts, and what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from surm_lite.data.arguments import check_kind

INPUTS = {(torch.uint8, 4): "(count, channels, height, width)", (torch.int64, 2): "(count, length)"}
"""Pictures, and token ids padded with 0."""


@dataclass(frozen=True)
class Split:
    """Examples and labels that are used for one purpose.

    Args:
        inputs: uint8 pictures of shape (count, channels, height, width), or int64 token ids of shape (count, length),
            padded with 0.
        labels: int64 tensor of shape (count,).
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        for name, given in (("inputs", self.inputs), ("labels", self.labels)):
            if not isinstance(given, Tensor):
                kind = f"{type(given).__module__}.{type(given).__qualname__}"
                raise TypeError(f"{name}: got a {kind}, need a torch.Tensor; torch.as_tensor(...) makes one")
            if given.is_meta or given.is_sparse:
                raise ValueError(f"{name}: got a tensor that is {'sparse' if given.is_sparse else 'without numbers'}")
        if (self.inputs.dtype, self.inputs.ndim) not in INPUTS:
            need = ", or ".join(f"{dtype} of shape {shape}" for (dtype, _), shape in INPUTS.items())
            raise ValueError(f"inputs: got {self.inputs.dtype} of shape {tuple(self.inputs.shape)}, need {need}")
        if self.labels.shape != self.inputs.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels: got {self.labels.dtype} of shape {tuple(self.labels.shape)}, "
                f"need torch.int64 of shape ({len(self.inputs)},), one for each example"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Split:
        return Split(self.inputs[index], self.labels[index])


@dataclass(frozen=True)
class LabelledSet:
    """Labelled examples in three disjoint parts, and the task they are for.

    Hyper-parameters are chosen on `validation`; `test` is looked at once they are fixed.

    Args:
        name: short name, as `load` takes it.
        train, validation, test: the three parts.
        classes: one name for each label.
        credit: who made it, and under which licence.
        task: what a model is trained for, an `sl.Task`; None: classification.
    """

    usual_task: ClassVar[Any]  # tasks stand on data, so it is they who fill it in

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    credit: str
    task: Any = None

    def __post_init__(self) -> None:
        check_kind("name", self.name, str, "a short name")
        for name in ("train", "validation", "test"):
            check_kind(name, getattr(self, name), Split, "a Split(inputs, labels)")
        if isinstance(self.classes, str) or not isinstance(self.classes, Sequence):
            raise TypeError(f"classes: got {self.classes!r}, need a tuple of names, one for each label")
        for one in self.classes:
            check_kind("classes", one, str, "names")
        check_kind("credit", self.credit, str, "who made it, in words")
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.task is None:
            object.__setattr__(self, "task", self.usual_task)

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(part)} {name}" for name, part in self.parts.items())
        shape = "x".join(str(side) for side in self.train.inputs.shape[1:])
        return f"LabelledSet({self.name!r}: {parts}; {shape}; {len(self.classes)} classes)"

    @property
    def parts(self) -> dict[str, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}
