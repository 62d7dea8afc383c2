"""Batches of token ids: without needless padding, and those by which a model shows that it takes all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from surm_lite.data.labelled import Split


def are_ids(inputs: Tensor) -> bool:
    """Whether these are token ids, with something in them."""
    return inputs.ndim == 2 and inputs.dtype == torch.int64 and bool(inputs.numel())


def trimmed(inputs: Tensor) -> Tensor:
    """Token ids without the columns at the right that are padding in every row; anything else as it is."""
    if not are_ids(inputs):
        return inputs
    used = (inputs != 0).any(0).nonzero()
    return inputs[:, : int(used[-1]) + 1 if len(used) else 1]


def shortest_first(part: Split) -> Split:
    """Sentences from the shortest to the longest, so that a batch holds little padding; anything else as it is."""
    if part.inputs.ndim != 2 or part.inputs.dtype != torch.int64:
        return part
    return part[(part.inputs != 0).sum(1).argsort(stable=True)]


def outermost(part: Split) -> Split:
    """Of sentences one with the smallest id, one with the largest and a longest one."""
    longest = (trimmed(part.inputs)[:, -1] != 0).byte().argmax()
    return part[torch.stack([part.inputs.amin(1).argmin(), part.inputs.amax(1).argmax(), longest])]


@contextmanager
def rows_checked() -> Iterator[None]:
    """Inside the block an id that an embedding has no row for is an IndexError that says which.

    The error of a CPU names no number, and that of CUDA, which comes later, leaves the process without its device. A
    compiled model runs as it was written: no graph shall hold the question.
    """
    with torch.compiler.set_stance("force_eager"), _Rows():
        yield


class _Rows(TorchFunctionMode):
    """Sees what is looked up, whoever asks: an id may reach an embedding changed, or not at all."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (F.embedding, F.embedding_bag) and args[0].numel():
            ids, rows = args[0], len(args[1])
            for one in (int(ids.min()), int(ids.max())):
                if not 0 <= one < rows:
                    raise IndexError(f"id {one} has no row in an embedding of {rows}, need ids from 0 to {rows - 1}")
        return func(*args, **(kwargs or {}))
