"""Checks of what is kept: copies, files, buffers, and a model that was only looked at."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from surm_lite.adapters import (
    adapt,
    count,
    load_adapter,
    methods_of,
    save_adapter,
    trainable_parameters,
)
from surm_lite.adapters.attach import undisturbed
from surm_lite.adapters.targets import adaptable
from surm_lite.checks.method_subject import MethodSubject, again, bits, losses_of, registered
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import expect, sizes_text


def state(s: MethodSubject) -> str:
    """state_dict, deepcopy and pickle hold all that an adapter computes with."""
    for m, n in s.two:
        model, x = s.layer(m, n), s.numbers(5, n)
        want = model(x)
        fresh = s.plain(m, n)
        adapt(fresh, again(model), "0", keep=(), seed=s.seed + 1)
        expect(not torch.equal(fresh(x), want), f"{m}x{n}: numbers as after training change no answer")
        fresh.load_state_dict(model.state_dict())
        bits(fresh(x), want, f"{m}x{n}, from a state_dict")
        bits(copy.deepcopy(model)(x), want, f"{m}x{n}, a deepcopy")
        bits(pickle.load(io.BytesIO(pickle.dumps(model)))(x), want, f"{m}x{n}, pickled")
    return sizes_text(s.two)


def file(s: MethodSubject) -> str:
    """A saved adapter comes back bit for bit, on a plain model and on an adapted one, with all that it decided."""
    model = s.adapted(seed=s.seed + 5, moved=True).eval()
    x = s.inputs(model)
    with registered(s.method), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.safetensors"
        save_adapter(model, path)
        held = sum(t.numel() for t in load_file(path).values())
        expect(held == count(model).stored, f"{held} numbers are in the file, count says {count(model).stored}")
        adapted = s.network()
        adapt(adapted, again(model), ("first", "second") if s.method.wraps else None, seed=s.seed + 6)
        for where, other in (("a plain model", s.network()), ("an adapted model", adapted)):
            load_adapter(other.eval(), path)
            bits(other(x), model(x), f"loaded into {where}")
            expect(again(other) == again(model), f"loaded into {where}, the options are others: {again(other)}")
            expect(count(other) == count(model), f"loaded into {where}: {count(other)}")
            shapes = [[tuple(p.shape) for p in trainable_parameters(one)] for one in (other, model)]
            expect(shapes[0] == shapes[1], f"loaded into {where}, other tensors are trained")
    return f"{held} numbers"


def buffers(s: MethodSubject) -> str:
    """Buffers are frozen; persistent ones are saved, others are rebuilt as they were from weight and options."""
    kinds: dict[str, int] = {"saved": 0, "rebuilt": 0}
    for m, n in s.two:
        model = s.layer(m, n, seed=s.seed + 5)
        adapter, saved = model[0], set(model[0].state_dict())
        twin = s.plain(m, n)
        adapt(twin, again(model), "0", keep=(), seed=s.seed + 6)
        frozen = {k: t for k, t in adapter.tensors().items() if not isinstance(t, nn.Parameter)}
        for name, tensor in frozen.items():
            expect(not tensor.requires_grad, f"buffer {name!r} requires a gradient")
            if name in saved:
                kinds["saved"] += 1
            else:
                kinds["rebuilt"] += 1
                expect(name not in adapter.own(), f"{name!r} is rebuilt, and still in the file")
                bits(twin[0].tensors()[name], tensor, f"{m}x{n}: {name!r}, which is not saved, on another start")
        here, there = ({k: (t.shape, t.dtype) for k, t in a.tensors().items()} for a in (adapter, twin[0]))
        expect(here == there, f"{m}x{n}: without calibrate, begin gives {there} and not {here}")
    return ", ".join(f"{kind} {k // len(s.two)}" for kind, k in kinds.items() if k) or "none"


def groups(s: MethodSubject) -> str:
    """param_groups name trained tensors, each once, and a rate or a share of the common one."""
    model = s.adapted()
    named = methods_of(model)[0].param_groups(model)
    parameters = [p for group in named for p in group["params"]]
    trained = {id(p) for p in trainable_parameters(model)}
    expect(all(id(p) in trained for p in parameters), "param_groups names a tensor that is not trained")
    expect(len({id(p) for p in parameters}) == len(parameters), "param_groups names a tensor twice")
    for group in named:
        rate = group.get("lr", group.get("lr_scale"))
        expect(isinstance(rate, int | float) and rate > 0, f"a group has neither lr nor lr_scale: {sorted(group)}")
    return f"{len(named)} of its own" if named else "one group"


def calibrate(s: MethodSubject) -> str:
    """A look at data leaves parameters, buffers, flags, gradients, hooks, mode and chance as they were."""
    if not s.method.ready():
        _asks_for_losses(s)
    model = s.network()
    x = s.inputs(model)
    model.drop.eval()
    model.second.weight.requires_grad_(False)
    model.head.bias.grad = torch.ones_like(model.head.bias)
    losses = losses_of(model, x)
    layers = {name: layer for name, layer in adaptable(model).items() if name in ("first", "second")}
    before, looked = _everything(model), []
    for _ in range(2):
        method = again_of(s)
        with undisturbed(model):
            method.calibrate(model, layers if method.wraps else {}, losses)
        after = _everything(model)
        for name, value in before.items():
            same = torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
            expect(same, f"calibrate changes {name}")
        looked.append(method.options())
        expect(replace(method).ready(), "after calibrate a copy is not ready: what it found is no option")
    expect(looked[0] == looked[1], f"two looks at the same data find {looked[0]} and {looked[1]}")
    used = s.adapted()
    expect(not methods_of(used)[0].found, "what calibrate found is kept after the layers are in place")
    return "no data needed" if s.method.ready() else "as before"


def again_of(s: MethodSubject) -> Any:
    """A fresh copy of the method, which knows no data."""
    return copy.deepcopy(s.method)


def _asks_for_losses(s: MethodSubject) -> None:
    model = s.network()
    before = _everything(model)
    try:
        adapt(model, s.method, ("first", "second"))
    except ValueError as error:
        expect("losses" in str(error), f"the refusal does not name losses: {error}")
        expect(str(before) == str(_everything(model)), "a call without losses was refused, and has changed the model")
    else:
        raise CheckFailed("it needs losses, and starts without them")


def _everything(model: nn.Module) -> dict[str, Any]:
    """All that a look at a model could change."""
    found: dict[str, Any] = {"chance": torch.get_rng_state()}
    for name, module in model.named_modules():
        kinds = [value for key, value in vars(module).items() if key.endswith("_hooks") and value is not None]
        found[f"the mode of {name!r}"] = module.training
        found[f"the hooks of {name!r}"] = sum(map(len, kinds))
    for name, p in model.named_parameters():
        found[f"requires_grad of {name}"] = p.requires_grad
        found[f"the gradient of {name}"] = None if p.grad is None else (id(p.grad), p.grad.tolist())
        found[f"the hooks of {name}"] = len(p._backward_hooks or ()) + len(p._post_accumulate_grad_hooks or ())
    return found | {name: (id(t), t.detach().tolist()) for name, t in model.state_dict(keep_vars=True).items()}
