"""Checks of training: every tensor lives, half precision holds, a loss falls, a stopped run goes on unchanged."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters import adapt, trainable_parameters
from surm_lite.checks.method_subject import MethodSubject, Model, Network, again, losses_of, registered, steps
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import expect, sizes_text
from surm_lite.data import LabelledSet, Split
from surm_lite.training.record import Record
from surm_lite.training.settings import Augment
from surm_lite.training.train import train


def alive(s: MethodSubject) -> str:
    """Within two steps, hooks included, every trained tensor gets a gradient that is not zero."""
    for m, n in s.two:
        model = s.layer(m, n, moved=False)
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        x, y, touched = s.numbers(16, n), s.numbers(16, m), set()
        optimizer = torch.optim.SGD(named.values(), lr=0.1)
        for _ in steps(model, partial(_error, model, x, y), optimizer, 2):
            touched |= {name for name, p in named.items() if p.grad is not None and bool(p.grad.any())}
        dead = sorted(named.keys() - touched)
        expect(not dead, f"{m}x{n}: {', '.join(dead)} {'has' if len(dead) == 1 else 'have'} no gradient in two steps")
    return sizes_text(s.two)


def _error(model: Model, x: Tensor, y: Tensor) -> Tensor:
    return (model(x).to(y.dtype) - y).square().mean()


def learns(s: MethodSubject) -> str:
    """A few steps of the adapters alone lower the loss, and change no frozen number."""
    model = s.adapted(keep=() if s.method.wraps else None)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    x = s.inputs(model)
    optimizer = torch.optim.AdamW(trainable_parameters(model), lr=max(3e-2, s.method.lr))
    seen = [float(value) for _, value in steps(model, losses_of(model, x, 1)[0], optimizer, 30)]
    expect(seen[-1] < 0.95 * seen[0], f"30 steps take the loss from {seen[0]:.3f} to {seen[-1]:.3f}")
    for name, p in model.named_parameters():
        expect(name not in frozen or torch.equal(p, frozen[name]), f"{name} is frozen, and training changes it")
    return f"loss {seen[0]:.2f} -> {seen[-1]:.2f}"


def half(s: MethodSubject) -> str:
    """On a base in half precision the adapter is float32, near the exact answer, and no step makes a NaN."""
    m, n = s.two[0]
    for dtype, tolerance in ((torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        model, x = _uniform(s, s.layer(m, n, dtype=dtype)), s.numbers(40, n, dtype=dtype)
        kinds = {p.dtype for p in trainable_parameters(model)}
        expect(kinds <= {torch.float32}, f"{dtype}: the trained tensors are {kinds}, not float32")
        y = model(x)
        expect(y.dtype == dtype, f"{dtype}: the output is {y.dtype}")
        exact = copy.deepcopy(model).double()(x.double())
        close = torch.allclose(y.double(), exact, rtol=tolerance, atol=tolerance)
        expect(close, f"{dtype}: off by {float((y.double() - exact).abs().max()):.2g}")
        optimizer = torch.optim.AdamW(trainable_parameters(model), lr=1e-2)
        for step, value in steps(model, partial(_error, model, x, torch.zeros(())), optimizer, 5):
            grads = [p.grad for p in trainable_parameters(model)]
            good = bool(value.isfinite()) and all(g is None or bool(g.isfinite().all()) for g in grads)
            expect(good, f"{dtype}: a number is not finite in step {step}")
        expect(all(bool(p.isfinite().all()) for p in model.parameters()), f"{dtype}: a weight is not finite")
    _autocast(s, m, n)
    return "bfloat16, float16, autocast"


def _autocast(s: MethodSubject, m: int, n: int) -> None:
    model, x = _uniform(s, s.layer(m, n, dtype=torch.float32)), s.numbers(40, n, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    expect(y.dtype == torch.bfloat16, f"under autocast the output is {y.dtype}")
    close = torch.allclose(y.float(), model(x), rtol=5e-2, atol=5e-2)
    expect(close, f"under autocast it is off by {float((y - model(x)).abs().max()):.2g}")
    y.float().sum().backward()
    expect(all(p.grad is not None and bool(p.grad.any()) for p in trainable_parameters(model)), "autocast: no gradient")


def _uniform(s: MethodSubject, model: Model) -> Model:
    """Trained numbers of at most 0.2: half precision has few digits."""
    with torch.no_grad():
        for p in trainable_parameters(model):
            p.copy_(torch.rand(p.shape, generator=s.generator()) * 0.4 - 0.2)
    return model


class Stop(Exception):
    """Raised in the middle of an epoch."""


SETTINGS: dict[str, Any] = {
    "epochs": 3, "lr": 1e-2, "batch_size": 8, "accumulate": 2, "weight_decay": 0.01, "seed": 3, "clip": 1.0,
    "device": "cpu", "progress": False, "checkpoint_every": 1,
}  # fmt: skip


def resume(s: MethodSubject) -> str:
    """A run that stops in the middle of an epoch, and goes on from its file, ends with the same bits and record."""
    first = s.adapted()
    data = _pictures(s, first.width)
    with registered(s.method), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.ckpt"
        whole = _trained(s, first, data, _stop_at(None))
        for stop in (2, 7):  # in the first epoch of four steps, and in the second
            path = file.with_suffix(f".{stop}")
            try:
                _trained(s, s.adapted(), data, _stop_at(stop), checkpoint=path)
            except Stop:
                pass
            else:
                raise CheckFailed(f"the run did not come to step {stop}")
            model = s.network()
            adapt(model, again(s.adapted()), ("first", "second") if s.method.wraps else None, seed=s.seed)
            record = _trained(s, model, data, _stop_at(None), checkpoint=path, resume=True)
            for name, tensor in first.state_dict().items():
                expect(name in model.state_dict(), f"stopped at step {stop}: {name} is not there after resuming")
                expect(torch.equal(tensor, model.state_dict()[name]), f"stopped at step {stop}: {name} has other bits")
            expect(
                len(model.state_dict()) == len(first.state_dict()), f"stopped at step {stop}: more tensors than before"
            )
            for field, value in whole.items():
                expect(record[field] == value, f"stopped at step {stop}: {field} of the record is another")
    return f"stopped at steps 2 and 7 of {len(whole['loss'])}"


def _trained(
    s: MethodSubject,
    model: Network,
    data: LabelledSet,
    augment: Augment,
    **more: Any,
) -> dict[str, Any]:
    """The record of a run, without what a clock measures."""
    settings = SETTINGS | more
    if s.method.steps_itself:  # clip and weight decay belong to the optimiser, which has nothing to do
        settings |= {"clip": None, "weight_decay": 0.0}
    if "checkpoint" not in more:
        settings.pop("checkpoint_every")
    record: Record = train(model, data, augment=augment, **settings)
    return {k: v for k, v in dataclasses.asdict(record).items() if k not in ("seconds", "peak_memory")}


def _stop_at(step: int | None) -> Augment:
    """An augmentation, so that a resumed run has chance to go on with; it ends the run before a step."""
    calls = 0

    def flip(inputs: Tensor, chance: torch.Generator) -> Tensor:
        nonlocal calls
        if calls == step:
            raise Stop
        calls += 1
        return inputs.flip(-1) if torch.rand((), generator=chance) < 0.5 else inputs

    return flip


def _pictures(s: MethodSubject, width: int) -> LabelledSet:
    """Pictures of one row, in four classes."""

    def part(count: int, more: int) -> Split:
        shape = (count, 1, 1, width)
        return Split(
            torch.randint(0, 256, shape, generator=s.generator(more), dtype=torch.uint8), torch.arange(count) % 4
        )

    return LabelledSet("rows", part(32, 0), part(8, 1), part(8, 2), ("a", "b", "c", "d"), "made up")
