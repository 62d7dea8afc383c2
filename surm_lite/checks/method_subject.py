"""The method under test: the layers and the small model that it is put on, and how numbers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surm_lite.adapters import METHODS, Adapter, Method, adapt, adapters_of, frozen, methods_of, trainable_parameters
from surm_lite.adapters.base import Losses
from surm_lite.checks.subject import Sizes, expect
from surm_lite.training.run import State

SHAPES: Sizes = ((8, 8), (7, 7), (12, 8), (6, 9), (5, 7), (1, 1))
"""Layers m x n: square, prime, tall, wide, coprime, one number."""


Model = Any
"""An ``nn.Sequential``, without the types that say nothing about its parts."""


@dataclass(frozen=True)
class MethodSubject:
    """A method with everything needed to put it on layers; what every check is given."""

    method: Method
    shapes: Sizes = SHAPES
    seed: int = 0

    @property
    def two(self) -> Sizes:
        """The two largest shapes: for the checks whose subject is not the size."""
        return tuple(sorted(self.shapes, key=lambda shape: shape[0] * shape[1]))[-2:]

    @property
    def linear_map(self) -> bool:
        """Whether there is a dense weight that does what an adapter does."""
        return self.method.mergeable

    def numbers(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Seeded Gaussian numbers."""
        return torch.randn(*shape, generator=self.generator(sum(shape)), dtype=torch.float64).to(dtype)

    def generator(self, more: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + 7 + more)

    def plain(self, m: int, n: int, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> Model:
        """One linear layer in a model, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1009 * m + n)
            return nn.Sequential(nn.Linear(n, m, bias=bias, dtype=torch.float64).to(dtype))

    def layer(
        self,
        m: int,
        n: int,
        *,
        bias: bool = True,
        dtype: torch.dtype = torch.float64,
        moved: bool = True,
        seed: int | None = None,
    ) -> Model:
        """That layer with an adapter on it; ``moved`` gives its numbers values as after training."""
        model = self.plain(m, n, bias=bias, dtype=dtype)
        self.adapt(model, "0", keep=(), seed=seed)
        plain = not isinstance(model[0], Adapter)
        expect(not plain, f"wrap leaves a {m}x{n} layer plain, so there is nothing to check; give other options")
        return self.stirred(model) if moved else model

    def network(self) -> Network:
        """The small plain model, always the same."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Network(self.two)

    def adapted(self, *, seed: int | None = None, moved: bool = False, keep: Any = None) -> Network:
        """The small model with the method on it, and with its head in training unless ``keep`` says otherwise."""
        model = self.network()
        self.adapt(model, ("first", "second") if self.method.wraps else None, keep, seed)
        return self.stirred(model) if moved else model

    def adapt(self, model: nn.Module, targets: Any, keep: Any = None, seed: int | None = None) -> None:
        """As a reader would, with losses where the method asks for them."""
        losses = None if self.method.ready() else losses_of(model, self.inputs(model))
        adapt(model, self.method, targets, keep=keep, seed=self.seed if seed is None else seed, losses=losses)

    def inputs(self, model: Model) -> Tensor:
        """A batch of 24, in the dtype of the model."""
        n = model.width if isinstance(model, Network) else model[0].in_features
        return self.numbers(24, int(n), dtype=next(model.parameters()).dtype)

    def stirred(self, model: Model) -> Model:
        """Numbers as after training, in adapters and in what is trained beside them."""
        generator = self.generator()
        inside = set()
        for adapter in adapters_of(model).values():
            adapter.method.stir(adapter, generator)
            inside |= {id(p) for p in adapter.parameters(recurse=False)}
        with torch.no_grad():
            for p in trainable_parameters(model):
                if id(p) not in inside:
                    p.add_(torch.randn(p.shape, generator=generator).to(p.dtype), alpha=0.1)
        return model


class Network(nn.Module):
    """Two layers side by side, with what a real model has beside them: a norm with running averages, chance, a head."""

    def __init__(self, shapes: Sizes) -> None:
        super().__init__()
        (m, n), (p, q) = shapes[0], shapes[-1]
        self.width = max(n, q)
        self.first = nn.Linear(n, m)
        self.second = nn.Linear(q, p, bias=False)
        self.norm = nn.BatchNorm1d(m + p)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(m + p, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # pictures of one row, or vectors
        first, second = self.first(x[:, : self.first.in_features]), self.second(x[:, : self.second.in_features])
        return self.head(self.drop(self.norm(torch.cat([first, second], 1))))


def losses_of(model: nn.Module, x: Tensor, count: int = 3) -> Losses:
    """What a task gives a method that looks at data: losses on batches, in eval mode."""

    def loss(part: Tensor) -> Tensor:
        modes = [(module, module.training) for module in model.modules()]
        try:
            y = model.eval()(part).float()
            return F.cross_entropy(torch.cat([y, -y], 1), torch.arange(len(y)) % (2 * y.shape[1]))
        finally:
            for module, mode in modes:
                module.training = mode

    return [partial(loss, part) for part in x.chunk(count)]


@contextmanager
def registered(method: Method) -> Iterator[None]:
    """The method is in the registry inside the block, whether or not it is there by itself."""
    before = METHODS.get(method.name)
    METHODS[method.name] = type(method)
    try:
        yield
    finally:
        if before is None:
            del METHODS[method.name]
        else:
            METHODS[method.name] = before


def steps(
    model: nn.Module,
    loss: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    count: int,
    kind: type[State] = State,
) -> Iterator[tuple[int, Tensor]]:
    """Optimiser steps with every hook in its place; yields where gradients are ready and not yet used."""
    methods = methods_of(model)
    state = kind(model=model, optimizer=optimizer, total_steps=count, lr=optimizer.param_groups[0]["lr"])
    for step in range(count):
        for method in methods:
            method.before_step(state)
        optimizer.zero_grad()
        value = loss()
        whole = value
        for method in methods:
            whole = whole + method.penalty(state)
        whole.backward()
        yield step, value.detach()
        for method in methods:
            method.after_backward(state)
        optimizer.step()
        state.step += 1
        for method in methods:
            method.after_step(state)


def again(model: Model) -> Method:
    """The method of an adapted model, with all that it found as options: what a file or a resumed run starts from."""
    (method,) = methods_of(model)
    return replace(method)


def dense(adapter: Adapter, x: Tensor) -> Tensor:
    """What the adapter must compute, by its dense weight and bias."""
    return F.linear(x, adapter.weight, adapter.bias)


def near(got: Tensor, want: Tensor, where: str, tolerance: float, scale: float | None = None) -> None:
    """Same shape and dtype; numbers equal up to ``tolerance``, which is stated for float32, times ``scale``."""
    expect(got.shape == want.shape, f"{where}: shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    expect(got.dtype == want.dtype, f"{where}: dtype {got.dtype}, expected {want.dtype}")
    if want.numel() == 0:
        return
    scale = float(want.abs().max()) if scale is None else scale
    allowed = tolerance * torch.finfo(want.dtype).eps / torch.finfo(torch.float32).eps * scale
    error = float((got - want).abs().max())
    expect(error <= allowed, f"{where}: off by {error:.2g} where {allowed:.2g} is allowed")


def size_of(adapter: Adapter, x: Tensor) -> float:
    """A bound of the numbers of the product, term by term: W0 and the update may cancel, but their roundings do not."""
    base, bias = frozen.weight(adapter.linear).detach(), adapter.bias
    W = float(base.norm() + (adapter.weight.detach() - base).norm())
    W += 0.0 if bias is None else float(bias.detach().norm())
    return W * float(torch.linalg.vector_norm(x.detach(), dim=-1).max()) if x.numel() else 0.0


def bits(got: Tensor, want: Tensor, where: str) -> None:
    expect(torch.equal(got, want), f"{where}: not the same bits")
