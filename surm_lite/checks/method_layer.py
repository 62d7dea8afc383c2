"""Checks of one adapted layer: where it starts, what it computes, its gradients, merging and stacking."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surm_lite.adapters import Adapter, adapt, merge, thin, trainable_parameters, unmerge
from surm_lite.checks.method_subject import MethodSubject, Model, bits, dense, near, size_of
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import expect, same, sizes_text

BATCHES = ((), (1,), (3,), (2, 40), (0,), (2, 0))
"""One vector, few, many in two dimensions, none."""


def start(s: MethodSubject) -> str:
    """Where ``exact_at_init``, the adapted layer and model compute, to the bit, what they did before."""
    if not s.method.exact_at_init:
        return "the method does not start at the base model"
    if s.method.wraps:
        for m, n in s.shapes:
            for dtype in (torch.float32, torch.float64):
                for bias in (True, False):
                    model = s.layer(m, n, bias=bias, dtype=dtype, moved=False)
                    linear = model[0].linear
                    for tokens in (1, 64):
                        x = s.numbers(tokens, n, dtype=dtype)
                        want = F.linear(x, linear.weight, linear.bias)
                        bits(model(x), want, f"{m}x{n}, {dtype}, {tokens} rows of x")
    plain, model = s.network().eval(), s.adapted().eval()
    bits(model(s.inputs(plain)), plain(s.inputs(plain)), "a model with a head")
    return sizes_text(s.shapes) if s.method.wraps else "a model with a head"


def forward(s: MethodSubject) -> str:
    """The cheap forward is ``x W^T + b`` with the adapter's own dense weight and bias, for every kind of batch."""
    for m, n in s.shapes:
        for dtype in (torch.float32, torch.float64):
            for bias in (True, False):
                model = s.layer(m, n, bias=bias, dtype=dtype)
                adapter = model[0]
                for batch in BATCHES:
                    x = s.numbers(*batch, n, dtype=dtype)
                    where, y = f"{m}x{n}, {dtype}, x of shape {tuple(x.shape)}", model(x)
                    expect(y.shape == (*batch, m), f"{where}: the output has shape {tuple(y.shape)}")
                    if s.linear_map:
                        near(y, dense(adapter, x), where, s.method.tolerance, size_of(adapter, x))
                    elif x.ndim > 1 and x.numel():
                        few = torch.stack([model(row) for row in x.flatten(0, -2)[:3]])
                        same(y.flatten(0, -2)[:3], few, f"{where} against its rows one by one", slack=1000)
    if not s.linear_map:
        _unweighted(s)
        return "not linear: rows one by one"
    return sizes_text(s.shapes)


def _unweighted(s: MethodSubject) -> None:
    adapter = s.layer(*s.two[-1])[0]
    try:
        weight = adapter.weight
    except ValueError as error:
        expect(len(str(error)) > 20, f"weight says only {str(error)!r}; it must say why there is none")
    else:  # shape and dtype alone, for a model that reads them, are no weight
        expect(weight.is_meta, "mergeable is False, but the adapter has a weight")


def gradients(s: MethodSubject) -> str:
    """Gradients of x and of every trained tensor are those of the dense weight, on every path of the forward."""
    for m, n in s.shapes:
        model = s.layer(m, n)
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        if not s.linear_map:
            _numerical(model, s.numbers(2, n))
            continue
        for tokens in (1, 64):
            x, g = s.numbers(tokens, n).requires_grad_(), s.numbers(tokens, m)
            wanted = [x, *trainable_parameters(model)]
            got, right = (torch.autograd.grad(y, wanted, g, allow_unused=True) for y in (model(x), dense(model[0], x)))
            for name, a, b in zip(["x", *names], got, right, strict=True):
                where = f"{m}x{n}, {tokens} rows, gradient of {name}"
                if a is None or b is None:
                    raise CheckFailed(f"{where}: there is none in the {'forward' if a is None else 'dense weight'}")
                near(a, b, where, 500 * s.method.tolerance, 1 + float(b.norm()))
    return sizes_text(s.shapes)


def _numerical(model: nn.Module, x: Tensor) -> None:
    """Against finite differences, where there is no dense weight."""
    named = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters() if p.requires_grad}

    def call(x: Tensor, *values: Tensor) -> Any:
        return torch.func.functional_call(model, dict(zip(named, values)), (x,))

    torch.autograd.gradcheck(call, (x.requires_grad_(), *named.values()), fast_mode=True)


def merging(s: MethodSubject) -> str:
    """A merged layer is plain and computes the same; unmerging gives every bit back; thin layers compute the same."""
    for m, n in s.shapes:
        model, x = s.layer(m, n, bias=m != n, dtype=torch.float32), s.numbers(64, n, dtype=torch.float32)
        said = _merge_and_back(s, model, x, f"{m}x{n}")
        _thin(s, copy.deepcopy(model), x, f"{m}x{n}")
    return said


def _merge_and_back(s: MethodSubject, model: Model, x: Tensor, where: str) -> str:
    adapter, before, trained = model[0], model(x), trainable_parameters(model)
    frozen = [t.detach().clone() for t in adapter.linear.state_dict().values()]
    if not s.method.mergeable:
        try:
            merge(model)
        except ValueError as error:
            expect(s.method.name in str(error), f"merge does not name the method: {error}")
            expect(model[0] is adapter, "a merge that was refused has changed the model")
            return f"refused: {error}"
        raise CheckFailed("mergeable is False, but merge does it")
    scale, chance = size_of(adapter, x), torch.get_rng_state()
    alone = adapter.merge()
    expect(type(alone) is nn.Linear and not alone.weight.requires_grad, f"{where}: merge() gives no plain frozen layer")
    for mode in (True, False):
        merge(merge(model.train(mode)))
        expect(not any(isinstance(part, Adapter) for part in model.modules()), f"{where}: an adapter is left")
        expect(model[0].training == mode, f"{where}: merging changes the mode")
        near(model(x), before, f"{where}, merged", 4 * s.method.tolerance, scale)
        plain = s.plain(*adapter.weight.shape, bias=adapter.bias is not None, dtype=torch.float32)
        plain.load_state_dict(model.state_dict())
        bits(plain(x), model(x), f"{where}, the merged state_dict in a plain model")
        unmerge(unmerge(model))
        expect(model[0] is adapter and adapter.training == mode, f"{where}: unmerge gives another adapter or mode")
    expect(torch.equal(torch.get_rng_state(), chance), f"{where}: merging draws from torch's global generator")
    for old, new in zip(frozen, adapter.linear.state_dict().values(), strict=True):
        bits(new, old, f"{where}: the base layer after unmerge")
    bits(model(x), before, f"{where}: the output after unmerge")
    expect(all(a is b for a, b in zip(trainable_parameters(model), trained, strict=True)), f"{where}: other parameters")
    return "merged and back"


def _thin(s: MethodSubject, model: Model, x: Tensor, where: str) -> None:
    adapter = model[0]
    if adapter.factors() is None:
        return
    before, scale = model(x), size_of(adapter, x)
    thin(model)
    near(model(x), before, f"{where}, as two thin layers", 4 * s.method.tolerance, scale)
    held = sum(p.numel() for p in model.parameters()) - adapter.out_features * (adapter.bias is not None)
    m, n = adapter.out_features, adapter.in_features
    expect(held - m * n == adapter.deployed(), f"{where}: {held - m * n} numbers more, deployed() says otherwise")


def modes(s: MethodSubject) -> str:
    """train() and eval() return the layer and change no answer and no weight: only merge merges."""
    m, n = s.two[-1]
    model, x = s.layer(m, n), s.numbers(3, n)
    layer, before, frozen = model[0], model(x), model[0].linear.weight.clone()
    for mode in (layer.eval, layer.train):
        expect(mode() is layer, f"{mode.__name__}() does not return the layer")
        bits(model(x), before, f"after {mode.__name__}()")
        bits(layer.linear.weight, frozen, f"the base weight after {mode.__name__}()")
    return sizes_text(((m, n),))


def stacking(s: MethodSubject) -> str:
    """On top of another adapter and beneath one, it computes what the dense weights say, and all of it is trained."""
    m, n = s.two[0]
    for other in ("lora", "toeplitz"):
        for on_top in (True, False):
            model = s.plain(m, n)
            if not s.linear_map and not on_top:
                _refused_on_top(s, model, other)
                continue
            for mine in (not on_top, on_top):
                s.adapt(model, "0", keep=()) if mine else adapt(model, other, "0", keep=(), seed=s.seed)
            stack = model[0].stack()
            expect(len(stack) == 2, f"{other} and the method make a stack of {len(stack)}")
            for adapter in stack:
                adapter.method.stir(adapter, s.generator())
            where = f"{'on' if on_top else 'beneath'} {other}"
            for tokens in (1, 64):
                x = s.numbers(tokens, n)
                y = model(x)
                if s.linear_map:
                    near(y, dense(model[0], x), f"{where}, {tokens} rows", s.method.tolerance, size_of(model[0], x))
                grads = torch.autograd.grad(y.square().sum(), trainable_parameters(model), allow_unused=True)
                expect(
                    all(g is not None and bool(g.any()) for g in grads), f"{where}: a trained tensor has no gradient"
                )
            if s.linear_map:
                near(merge(model)(x), y, f"{where}, merged", 4 * s.method.tolerance, 10 * float(y.detach().norm()))
    return "lora, toeplitz"


def _refused_on_top(s: MethodSubject, model: Model, other: str) -> None:
    """Other methods start from the dense weight beneath them, and here there is none."""
    s.adapt(model, "0", keep=())
    below = model[0]
    try:
        adapt(model, other, "0", keep=())
    except ValueError:
        expect(model[0] is below, f"{other} on top was refused, and has changed the model")
    else:
        raise CheckFailed(f"it is not linear in x, and {other} starts on top of it all the same")
