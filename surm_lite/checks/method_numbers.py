"""Checks of what a method says about itself: counts, sizes, options, and where its random numbers come from."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import torch

from surm_lite.adapters import Update, adapt, adapters_of, count, trainable_parameters
from surm_lite.adapters.methods.registry import make_method
from surm_lite.adapters.targets import DEFAULT_KEEP, is_kept
from surm_lite.checks.method_subject import MethodSubject, Model, again, registered
from surm_lite.checks.report import CheckFailed
from surm_lite.checks.subject import expect, sizes_text


def counts(s: MethodSubject) -> str:
    """Trained, stored and deployed numbers are those of the closed formulas, through ``of`` where layers differ."""
    for m, n in s.shapes:
        if not s.method.wraps:
            _counts_of_the_model(s, m, n)
            continue
        for bias in (True, False):
            model = s.layer(m, n, bias=bias)
            adapter, method, c = model[0], again(model).of("0"), count(model)
            trained, stored, deployed = (f(m, n) for f in (method.n_params, method.n_stored, method.n_deployed))
            where = f"{m}x{n}"
            held = sum(p.numel() for p in trainable_parameters(model))
            expect(c.trained == held == trained, f"{where}: n_params says {trained}, {held} are trained")
            expect(c.stored == stored, f"{where}: n_stored says {stored}, {c.stored} are in a file")
            expect(
                c.deployed == adapter.deployed() == deployed,
                f"{where}: n_deployed says {deployed}, the layer has {c.deployed} more",
            )
            expect(c.kept == 0 and c.base == m * n + bias * m, f"{where}: numbers of the base model are counted wrong")
            if s.method.mergeable and adapter.factors() is None:
                expect(deployed == 0, f"{where}: it merges, and still n_deployed says {deployed}")
    return sizes_text(s.shapes)


def _counts_of_the_model(s: MethodSubject, m: int, n: int) -> None:
    """n_params is what is trained of one layer, with its bias or without."""
    said, found = s.method.n_params(m, n), []
    for bias in (True, False):
        model = s.plain(m, n, bias=bias)
        adapt(model, s.method, keep=())
        c = count(model)
        expect(c.stored == c.trained, f"{m}x{n}: {c.trained} numbers are trained and {c.stored} in a file")
        expect(c.deployed == 0 == s.method.n_deployed(m, n), f"{m}x{n}: the finished model is no larger")
        found.append(c.trained)
    expect(said in found, f"{m}x{n}: n_params says {said}; {found[0]} are trained with a bias, {found[1]} without")


def trained(s: MethodSubject) -> str:
    """What is trained is what the adapters and ``keep`` name, and nothing else."""
    model = s.adapted()
    own = {id(p) for a in adapters_of(model).values() for p in a.own().values()}
    patterns = (*DEFAULT_KEEP, *s.method.keep)
    for name, p in model.named_parameters():
        named = id(p) in own or (".base_layer." not in name and is_kept(name, patterns))
        expect(p.requires_grad == named, f"{name} is {'' if p.requires_grad else 'not '}trained")
    if not s.method.wraps:
        try:
            adapt(s.network(), s.method, "first")
        except ValueError as error:
            expect("targets" in str(error), f"the refusal does not name targets: {error}")
        else:
            raise CheckFailed("it wraps no layer, and takes targets all the same")
    return f"{len(trainable_parameters(model))} tensors"


def sizes(s: MethodSubject) -> str:
    """Every budget that ``sizes`` offers makes a method, with a formula that agrees; some differ in it."""
    for m, n in s.two:
        offered = list(s.method.sizes(m, n))
        expect(bool(offered), f"{m}x{n}: sizes offers nothing")
        for options in (offered[0], offered[len(offered) // 2], offered[-1]):
            other = replace(s.method, **options)
            n_params = other.n_params(m, n)
            expect(type(n_params) is int and n_params >= 0, f"{m}x{n}, {options}: n_params gives {n_params!r}")
            if s.method.wraps and other.ready():
                one = replace(s, method=other).layer(m, n)
                held = sum(p.numel() for p in trainable_parameters(one))
                expect(held == n_params, f"{m}x{n}, {options}: n_params says {n_params}, {held} are trained")
    return f"{len(offered)} at {m}x{n}"


def options(s: MethodSubject) -> str:
    """Options survive a copy and a file, and a misspelt one is refused with its near name."""
    said = s.method.options()
    expect(replace(s.method) == s.method, "a copy has other options: __post_init__ changes what it was given")
    text = json.dumps(said)  # what a file holds
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()}
    with registered(s.method):
        expect(make_method(s.method.name, values) == s.method, f"another method comes back from {text}")
        for name in [*said, "rnk"]:
            wrong = name + "x" if name in said else name
            try:
                make_method(s.method.name, {wrong: 1})
            except ValueError as error:
                expect(wrong in str(error), f"the refusal of {wrong!r} does not name it: {error}")
                expect(name not in said or repr(name) in str(error), f"{name!r} is not named as near: {error}")
            else:
                raise CheckFailed(f"option {wrong!r} is taken")
    return ", ".join(said) or "none"


def alpha(s: MethodSubject) -> str:
    """An ``Update`` with an option ``alpha`` is linear in it: at 2 it is twice what it is at 1."""
    if not isinstance(s.method, Update) or "alpha" not in {f.name for f in fields(s.method)}:
        return "no option alpha that scales an update"
    for m, n in s.two:
        adapter = s.layer(m, n)[0]
        one, two = (
            replace(adapter.method, alpha=value).operator(m, n, adapter.tensors()).to_dense() for value in (1.0, 2.0)
        )
        expect(bool(one.any()), f"{m}x{n}: the update is zero")
        close = torch.allclose(two, 2 * one, rtol=1e-9, atol=1e-12)
        expect(close, f"{m}x{n}: alpha=2 does not give twice the update of alpha=1")
    return sizes_text(s.two)


def draws(s: MethodSubject) -> str:
    """What is drawn depends on the seed, the layer and the depth of the stack, and on no global state."""

    def draw(seed: int) -> list[list[torch.Tensor]]:
        model: Model = torch.nn.Sequential(s.plain(n, n)[0], s.plain(n, n)[0])
        chance = torch.get_rng_state()
        for _ in range(2):
            s.adapt(model, "*", keep=(), seed=seed)
        expect(torch.equal(torch.get_rng_state(), chance), "adapt draws from torch's global generator")
        return [[p.detach() for p in one.tensors().values()] for layer in model for one in layer.stack()]

    n = max(s.two[-1])
    (first, again_, other) = draw(s.seed), draw(s.seed), draw(s.seed + 1)
    expect(all(map(_alike, first, again_)), "equally seeded, the second time it starts elsewhere")
    if all(map(_alike, first, other)):
        return "none"
    expect(not _alike(first[0], first[2]), "two layers get the same random numbers")
    expect(not _alike(first[0], first[1]), "two adapters on one layer get the same random numbers")
    return "by seed, layer and depth"


def _alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other))
