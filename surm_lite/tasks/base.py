"""What every task does: make a batch ready, say how wrong the outputs are and how good, refuse what cannot work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from surm_lite.adapters.names import check_model, unwrap
from surm_lite.data import LabelledSet, Split, prepare
from surm_lite.data.arguments import check_count, check_kind, check_seed
from surm_lite.tasks.token_ids import are_ids, outermost, rows_checked, trimmed


class Ready(NamedTuple):
    """A batch made ready: what the model takes, and what its outputs are held against."""

    inputs: Tensor
    targets: Tensor


class Task(ABC):
    """What a model is trained for. The data set carries it (`LabelledSet.task`), and every loop asks it.

    A task of your own is a class with `loss`, `score` and, where there is something to refuse, `check` and
    `check_outputs`. It has no state: what a run learns is in the model.

    Example:
        >>> class Brightness(Task):  # one output: the mean of the picture
        ...     def prepare(self, batch, model, on):
        ...         inputs = fit(batch.inputs, model, on)
        ...         return Ready(inputs, inputs.flatten(1).mean(1, keepdim=True))
        ...
        ...     def loss(self, outputs, targets):
        ...         return (outputs - targets).square().mean()
        ...
        ...     def score(self, outputs, targets):
        ...         return -(outputs - targets).square().sum()
        >>> from dataclasses import replace
        >>> from surm_lite.data import load
        >>> from surm_lite.training.train import train
        >>> digits = replace(load("digits", train=64), task=Brightness())
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
        >>> _ = [nn.init.zeros_(parameter) for parameter in model.parameters()]
        >>> train(model, digits, lr=1e-2, epochs=30, progress=False).test_score > -1e-3
        True

    Taught in:
        21_finetune_vit
    """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How wrong the outputs are: the mean over the examples, differentiable, no dimensions."""

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How good they are: the **sum** over the examples, larger is better. So pieces and processes add up."""

    def prepare(self, batch: Split, model: nn.Module, on: torch.device) -> Ready:
        """A batch as the model takes it, on the device, and what its outputs are held against: the labels.

        Token ids are cut to the longest sentence of the batch.
        """
        return Ready(fit(to_device(trimmed(batch.inputs), on), model, on), to_device(batch.labels, on))

    def n_outputs(self, data: LabelledSet) -> int:
        """How many outputs a fresh head needs."""
        return len(data.classes)

    def about(self, data: LabelledSet) -> dict[str, Any]:
        """What an adapter file is to say of what its outputs mean, as JSON values; nothing, as it stands."""
        return {}

    def check(self, data: LabelledSet) -> None:
        """Refuses data that cannot be trained on, before there is a model."""
        for name, part in data.parts.items():
            if not len(part):
                raise ValueError(f"data: the {name} part of {data.name} has no example")

    def check_outputs(self, outputs: Tensor, targets: Tensor, data: LabelledSet) -> None:
        """Refuses a model by what it gives for a few examples; as it stands: anything but an output an example."""
        if outputs.shape[:1] != targets.shape[:1]:
            raise ValueError(f"model: gives {tuple(outputs.shape)} for {len(targets)} examples of {data.name}")

    def check_model(self, model: nn.Module, data: LabelledSet, on: torch.device) -> None:
        """The model takes these examples, and gives what the task needs; ValueError otherwise."""
        for part, few in _few(data):
            watched = rows_checked() if are_ids(few.inputs) else nullcontext()
            with evaluating(model), torch.inference_mode(), watched:
                try:
                    ready = self.prepare(few, model, on)
                    outputs = model(ready.inputs)
                except (RuntimeError, ValueError, TypeError, IndexError) as error:
                    raise ValueError(
                        f"model: does not take the examples of {data.name}, {few.inputs.dtype} of shape "
                        f"{tuple(few.inputs.shape[1:])} each: {error} (in the {part} part)"
                    ) from error
            if not isinstance(outputs, Tensor):
                raise ValueError(
                    f"model: gives a {type(outputs).__name__} and no tensor; `surm_lite.models.logits` wraps a "
                    "classifier of transformers"
                )
            self.check_outputs(outputs, ready.targets, data)

    def losses(
        self, model: nn.Module, data: LabelledSet, *, count: int = 8, batch_size: int = 32, seed: int = 0
    ) -> list[Callable[[], Tensor]]:
        """Repeatable forwards on batches of the training part: what a method that looks at data before it starts gets.

        Each function without arguments computes the loss of one batch in eval mode and float32, differentiably, with
        the model as it is at that moment: its layers may have been replaced meanwhile. The mode is put back.

        Args:
            model: what is looked at.
            data: only its training part is used.
            count: how many batches.
            batch_size: examples in each; all there are, where there are fewer.
            seed: decides which; no example comes twice before all have come once.

        Returns:
            list: functions that return a loss.

        Raises:
            TypeError, ValueError: a count, size or seed that is none.

        Cost:
            None; a call of a function is a forward of one batch.

        Example:
            >>> from surm_lite.data import load
            >>> from surm_lite.models import tiny_vit
            >>> digits, model = load("digits", train=64), tiny_vit()
            >>> first, second = digits.task.losses(model, digits, count=2)
            >>> first().item() == first().item(), first().item() == second().item(), first().requires_grad
            (True, False, True)

        Taught in:
            21_finetune_vit
        """
        check_model(model)
        check_kind("data", data, LabelledSet, "a LabelledSet, what sl.data.load(name) returns")
        Task.check(self, data)
        check_count("count", count)
        check_count("batch_size", batch_size)
        check_seed("seed", seed)
        size, chance = min(batch_size, len(data.train)), torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.int64)
        while len(order) < count * size:
            order = torch.cat([order, torch.randperm(len(data.train), generator=chance)])
        return [partial(self._loss, model, data.train[index]) for index in order[: count * size].split(size)]

    def _loss(self, model: nn.Module, batch: Split) -> Tensor:
        on = next(model.parameters()).device
        with evaluating(model), torch.enable_grad(), torch.autocast(on.type, enabled=False):
            ready = self.prepare(batch, model, on)
            return self.loss(model(ready.inputs).float(), ready.targets)


def _few(data: LabelledSet) -> Iterator[tuple[str, Split]]:
    """A few examples of the training part, and of every other part that a model could take otherwise."""
    for name, part in data.parts.items():
        if are_ids(part.inputs):
            yield name, outermost(part)
        elif name == "train" or (len(part) and part.inputs.shape[1:] != data.train.inputs.shape[1:]):
            yield name, part[:2]


def fit(inputs: Tensor, model: nn.Module, on: torch.device) -> Tensor:
    """Inputs as a model takes them, on the device.

    Pictures are fitted to `model.image_format`, or are in [0, 1] where it has none; token ids stay as they are.
    """
    form = getattr(unwrap(model), "image_format", None)
    if inputs.dtype == torch.uint8:
        inputs = inputs.to(on)
        return inputs.float() / 255 if form is None else prepare(inputs, form)
    if form is not None or inputs.dtype != torch.int64:
        takes = "uint8 pictures or int64 token ids" if form is None else "uint8 pictures"
        raise ValueError(f"inputs: got {inputs.dtype}, the model takes {takes}")
    return inputs.to(on)


def to_device(tensor: Tensor, on: torch.device) -> Tensor:
    """A copy on the device; to CUDA from pinned memory, because a copy from ordinary memory makes the host wait."""
    if on.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(on, non_blocking=True)
    return tensor.to(on)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
