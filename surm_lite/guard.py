"""Proof that a path never forms an n x n tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_GUARDED: ContextVar[bool] = ContextVar("surm_lite_guarded", default=False)


class DenseTensorError(RuntimeError):
    """An operation under ``no_dense`` produced a tensor as large as the matrix it must not form."""


def active() -> bool:
    """True inside ``no_dense``: code that may choose between a dense and a structured path takes the structured one.

    Not while a graph is compiled: the compiler knows no context variable, and what it makes runs outside as well.
    """
    return not torch.compiler.is_compiling() and _GUARDED.get()


@contextmanager
def no_dense(n: int, m: int | None = None) -> Iterator[None]:
    """A context in which forming an m x n matrix is an error.

    Every operation that creates a tensor of m * n elements or more raises; views and in-place operations create none.
    Multiply a batch of fewer than min(m, n) / log n vectors inside it, or the batch itself is that large.

    Args:
        n: number of columns.
        m: number of rows; default n.

    Raises:
        DenseTensorError: inside the context, with the name of the operation and the shape.
        ValueError: m or n is not an integer of at least 1.

    Cost:
        A Python call for each operation: for tests, not for training.

    Example:
        >>> from surm_lite.matrices import Circulant
        >>> C = Circulant(torch.ones(64))
        >>> with no_dense(64):
        ...     y = C.apply(torch.ones(64))
        >>> with no_dense(64):
        ...     y = C.to_dense()
        Traceback (most recent call last):
            ...
        surm_lite.guard.DenseTensorError: ...

    Source:
        The three-operand einsum trap: contracted left to right it forms the Kronecker product it should avoid.

    Taught in:
        04_full_rank_from_n
    """
    m = n if m is None else m
    if any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in (m, n)):
        raise ValueError(f"m, n are {m!r}, {n!r}; both must be integers of at least 1")
    token = _GUARDED.set(True)
    try:
        with _Watch(m * n):
            yield
    finally:
        _GUARDED.reset(token)


def _storage(t: Tensor) -> int:
    """Identity of the memory behind a tensor; unlike ``data_ptr`` it tells tensors on the meta device apart."""
    return StorageWeakRef(t.untyped_storage()).cdata


class _Watch(TorchDispatchMode):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {_storage(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor) and t.numel() >= self.limit and _storage(t) not in before:
                raise DenseTensorError(
                    f"{func} formed a tensor of shape {tuple(t.shape)}: {t.numel():,} elements or more "
                    f"than the {self.limit:,} that no_dense forbids"
                )
        return out
