"""What a method can do, found by doing it on a tiny layer: the rows of the capability table."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from surm_lite.adapters import METHODS, adapt, export, merge, trainable_parameters
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.options import near as near_name
from surm_lite.checks.method_subject import MethodSubject, Model, losses_of, near, steps
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.together import agrees_with_one_process
from surm_lite.training.run import State

REFUSALS = (CheckFailed, ValueError, TypeError, NotImplementedError, RuntimeError)
"""What a probe ends in where the answer is no; anything else is a mistake of the library."""


def merges(s: MethodSubject) -> bool:
    """It ends in plain layers that compute the same, by `merge` where it has adapters."""
    model, x = _moved(s), _inputs(s)
    want = model(x).detach()
    near((merge(model) if s.method.wraps else model)(x).detach(), want, "merged", 100 * s.method.tolerance)
    return not any(isinstance(module, Adapter) for module in model.modules())


def exact_start(s: MethodSubject) -> bool:
    """The adapted model computes the bits of the plain one."""
    plain, x = _plain(s), _inputs(s)
    return torch.equal(_adapted(s)(x), plain(x))


def stackable(s: MethodSubject) -> bool:
    """A LoRA beneath it goes on working, and both are trained."""
    model: Model = adapt(_plain(s), "lora", "0", rank=2, keep=())
    x = _inputs(s)
    with torch.no_grad():
        model[0].B.fill_(0.1)
    before = model(x).detach()
    _adapt(s, model)
    if not isinstance(model[0], Adapter) or len(model[0].stack()) < 2:
        return False
    if s.method.exact_at_init:
        near(model(x).detach(), before, "over a LoRA", 1e-5)
    return _gradients(model, x)


def bfloat16(s: MethodSubject) -> bool:
    """A step on a base in bfloat16 is finite, and what is trained is float32."""
    model, x = _adapted(s, torch.bfloat16), _inputs(s, torch.bfloat16)
    trained = trainable_parameters(model)
    for _ in steps(model, partial(_error, model, x), torch.optim.AdamW(trained, lr=s.method.lr), 2):
        pass
    kinds = {torch.float32} if s.method.wraps else {torch.bfloat16}
    return model(x).dtype == torch.bfloat16 and all(p.dtype in kinds and bool(p.isfinite().all()) for p in trained)


def quantised(s: MethodSubject) -> bool:
    """It trains on torch's dynamically quantised linear layer all that it trains on a plain one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer ways to quantise, in a package of their own
        model = torch.ao.quantization.quantize_dynamic(_plain(s), {"0"}, torch.qint8)
        _adapt(s, model)
        return _gradients(model, _inputs(s)) and len(trainable_parameters(model)) == len(
            trainable_parameters(_adapted(s))
        )


def compiles(s: MethodSubject) -> bool:
    """`torch.compile` takes its forward and backward as one graph; the numbers are the same."""
    torch._dynamo.reset()
    model, x = _moved(s), _inputs(s)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    outputs = [net(x) for net in (model, compiled)]
    grads = [torch.autograd.grad(y.square().sum(), trainable_parameters(model)) for y in outputs]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)
    return True


def checkpointed(s: MethodSubject) -> bool:
    """Recomputing its forward in the backward pass gives the same gradients."""
    model, x = _moved(s), _inputs(s).requires_grad_(True)
    outputs = [model(x), checkpoint(model, x, use_reentrant=False)]
    grads = [torch.autograd.grad(y.square().sum(), trainable_parameters(model)) for y in outputs]
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*grads, strict=True))


def processes(s: MethodSubject) -> bool:
    """Two processes that share each batch train what one process trains."""
    return agrees_with_one_process(s.method.name)


def exports_to_peft(s: MethodSubject) -> bool:
    """`export(form="lora")` writes its update without loss, at the rank that this takes: for most the full one."""
    with tempfile.TemporaryDirectory() as folder:
        return export(_moved(s), Path(folder) / "lora", "lora").error < 1e-3


def needs_data(s: MethodSubject) -> bool:
    """`adapt` refuses it without losses."""
    try:
        adapt(_plain(s), METHODS[s.method.name](**s.method.options()), _targets(s), keep=())
    except ValueError as error:
        if "losses" not in str(error):
            raise
        return True
    return False


def needs_total_steps(s: MethodSubject) -> bool:
    """A hook asks how many steps the run has."""
    asked: list[str] = []

    class Watched(State):
        def __getattribute__(self, name: str) -> Any:
            asked.append(name)
            return super().__getattribute__(name)

    model = _adapted(s)
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=1e-3)
    for _ in steps(model, partial(_error, model, _inputs(s)), optimizer, 3, kind=Watched):
        pass
    return "total_steps" in asked


CAPABILITIES: dict[str, Callable[[MethodSubject], bool]] = {
    "merges": merges,
    "exact start": exact_start,
    "stackable": stackable,
    "bfloat16": bfloat16,
    "quantised layers": quantised,
    "compile": compiles,
    "gradient checkpointing": checkpointed,
    "several processes": processes,
    "exports to peft": exports_to_peft,
    "needs data": needs_data,
    "needs total steps": needs_total_steps,
}
"""Columns of the table, each with the probe that fills it."""


def capabilities(method: str, only: Iterable[str] | None = None) -> dict[str, bool]:
    """What a method can do, each answer found by doing it on a layer of 16 x 16.

    Args:
        method: a name of ``methods()``, with its default options.
        only: names of ``CAPABILITIES``; None is all of them.

    Returns:
        dict: an answer a capability.

    Raises:
        ValueError: an unknown method or capability.

    Cost:
        Some ten milliseconds each; "compile" and "several processes" take seconds.

    Example:
        >>> capabilities("bottleneck", ["merges", "exact start"])
        {'merges': False, 'exact start': True}

    Taught in:
        26_choose_a_structure
    """
    if method not in METHODS:
        raise ValueError(near_name("method", method, METHODS))
    found = {}
    for name in CAPABILITIES if only is None else only:
        if name not in CAPABILITIES:
            raise ValueError(near_name("capability", name, CAPABILITIES))
        try:
            found[name] = CAPABILITIES[name](MethodSubject(METHODS[method](), ((16, 16),)))
        except REFUSALS:
            found[name] = False
    return found


def _plain(s: MethodSubject, dtype: torch.dtype = torch.float32) -> Model:
    """An adapted layer, and a head beside it that bears the names of one."""
    first, second = s.plain(16, 16, dtype=dtype)[0], s.plain(4, 16, dtype=dtype)[0]
    model = nn.Sequential(first, nn.GELU())
    model.add_module("head", second)
    return model.requires_grad_(False) if s.method.wraps else model


def _targets(s: MethodSubject) -> str | None:
    return "0" if s.method.wraps else None


def _adapt(s: MethodSubject, model: Model) -> Model:
    method = METHODS[s.method.name](**s.method.options())
    losses = None if method.ready() else losses_of(model, _inputs(s, next(iter(model.parameters())).dtype))
    keep = () if s.method.wraps else None
    return adapt(model, method, _targets(s), keep=keep, losses=losses)


def _adapted(s: MethodSubject, dtype: torch.dtype = torch.float32) -> Model:
    return _adapt(s, _plain(s, dtype))


def _moved(s: MethodSubject) -> Model:
    return s.stirred(_adapted(s))


def _inputs(s: MethodSubject, dtype: torch.dtype = torch.float32) -> Tensor:
    return s.numbers(24, 16, dtype=dtype)


def _error(model: Model, x: Tensor) -> Tensor:
    return (model(x).float() - 1).square().mean()


def _gradients(model: Model, x: Tensor) -> bool:
    """Whether every trained tensor gets a finite gradient."""
    _error(model, x).backward()
    grads = [p.grad for p in trainable_parameters(model)]
    return bool(grads) and all(g is not None and bool(g.isfinite().all()) for g in grads)
