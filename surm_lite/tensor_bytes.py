"""How many bytes of tensors are alive, and how many were at most."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive inside the block: each storage once, from its birth to its end.

    Args:
        tensors: those that are there before, such as the model's own.

    Example:
        >>> model = torch.zeros(10)
        >>> with TensorBytes([model]) as memory:
        ...     _ = torch.ones(100).sum()
        >>> memory.peak
        444
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()
        self._count(tensors)

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._count(leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out

    def _count(self, tensors: Iterable[Tensor]) -> None:
        for storage in (tensor.untyped_storage() for tensor in tensors):
            if id(storage) not in self._alive:
                self._alive.add(id(storage))
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._end, id(storage), storage.nbytes()).atexit = False

    def _end(self, which: int, size: int) -> None:
        self._alive.discard(which)
        self.now -= size
