"""Adapters: what is attached, merged, saved, exported, against the plain model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from random import Random
from typing import Any

import torch
from engine import Draw, Target
from matrices import always
from samples import BAD, X, adapted, close, net, pictures, saved
from torch import Tensor, nn

import surm_lite as sl
from surm_lite.adapters import METHODS, methods_of

__all__ = ["BAD", "COUNT", "TARGETS"]
COUNT = 350


def attach(name: str | None) -> Callable[..., Any]:
    def call(model: Any, targets: Any, keep: Any, seed: Any, losses: Any, method: Any = name, **options: Any) -> Any:
        return sl.adapt(model, method, targets, keep=keep, seed=seed, losses=losses, **options)

    return call


def attached(arguments: dict[str, Any], model: nn.Module) -> str | None:
    """It starts where the base does, has the options that were given, and trains what was asked for."""
    method = methods_of(model)[-1]
    own = method.options()
    for name, value in arguments.items():
        if name in own and own[name] != value and name != "ranks":  # which the data decided
            return f"{name} became {own[name]!r}"
    if any(p.is_meta for p in model.parameters()):
        return None
    if type(model) is nn.Sequential and len(model) and model[1].linear.weight.dtype == torch.float32:
        if type(method).exact_at_init and (said := close(model(X), net()(X))) and len(methods_of(model)) == 1:
            return said
        trained = {id(p) for p in sl.trainable_parameters(model)}
        kept = ("head",) if arguments["keep"] is None else arguments["keep"]
        if ("head" in kept) != (id(model.head.weight) in trained) and "head" not in arguments["targets"]:
            return f"the head is {'not ' if 'head' in kept else ''}trained"
    return None


def losses(random: Random) -> Any:
    data = pictures(random)
    return data.task.losses(net(), data, count=2, batch_size=4)


def method(name: str) -> Target:
    good: dict[str, Draw] = {"model": net, "targets": always(("hidden",)), "keep": always(None, ("head",), ())}
    good |= {"seed": always(0, 7), "losses": losses if METHODS[name].needs else always(None)}
    if not METHODS[name].wraps:
        good["targets"] = always(None)
    for field in fields(METHODS[name]):
        if field.init:
            good[field.name] = always(getattr(METHODS[name](), field.name))
    return Target(
        f"adapt, {name}", attach(name), good, None if name in ("full", "head", "bitfit") else attached, (name,)
    )


def merged(arguments: dict[str, Any], model: nn.Module) -> str | None:
    return None


def same_outputs(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, and what the model computed before it."""

    def both(**arguments: Any) -> Any:
        before = call_model(arguments["model"])
        return before, call(**arguments)

    return both


def call_model(model: Any) -> Tensor | None:
    """What a model of ours computes; None for anything else."""
    if not isinstance(model, nn.Sequential) or not len(model) or any(p.is_meta for p in model.parameters()):
        return None
    dtype = model.head.weight.dtype
    with torch.no_grad():
        y: Tensor = model(X.to(dtype))
    return y if dtype == torch.float32 else None


def unchanged(arguments: dict[str, Any], found: tuple[Tensor | None, nn.Module]) -> str | None:
    before, model = found
    return None if before is None else close(model(X.to(next(model.parameters()).dtype)).float(), before)


def saves(model: Any, path: Any) -> Any:
    """Saved, and loaded onto the plain model."""
    before = call_model(model)
    sl.save_adapter(model, path)
    return before, sl.load_adapter(net(), path)


def exports(model: Any, path: Any, form: Any, rank: Any) -> Any:
    return call_model(model), sl.export(model, path, form, rank=rank)


def exported(arguments: dict[str, Any], found: Any) -> str | None:
    from safetensors.torch import load_file

    before, done = found
    if done.form == "lora":
        return None if max(done.ranks.values()) <= (arguments["rank"] or 8) else f"ranks {done.ranks}"
    model = net()
    model.load_state_dict(load_file(done.path))
    return None if before is None else close(model(X), before)


TARGETS: list[Target] = [
    *map(method, METHODS),
    Target(
        "adapt",
        attach(None),
        {
            "model": net,
            "method": always("lora", sl.adapters.LoRA(2)),
            "targets": always(("hidden",)),
            "keep": always(None),
        }
        | {"seed": always(0), "losses": always(None)},
        attached,
    ),
    Target(
        "merge",
        same_outputs(sl.merge),
        {"model": adapted, "dtype": always(None, torch.float32)},
        unchanged,
        ("merged",),
    ),
    *(
        Target(call.__name__, call, {"model": adapted}, words=("adapter",))
        for call in (sl.unmerge, sl.thin, sl.count, sl.trainable_parameters, methods_of)
    ),
    Target("disabled", lambda model: sl.disabled(model).__enter__(), {"model": adapted}),
    Target("save_adapter", saves, {"model": adapted, "path": always("a.st")}, unchanged, refusals=(OSError,)),
    Target(
        "load_adapter", sl.load_adapter, {"model": net, "path": saved}, refusals=(OSError,), words=("adapter file",)
    ),
    Target(
        "export",
        exports,
        {"model": adapted, "path": lambda r: f"e{r.random()}", "form": always("merged", "lora"), "rank": always(None)},
        exported,
        refusals=(OSError,),
        words=("adapter", "merged"),
    ),
    Target("register", sl.register, {"cls": always(sl.Circulant, sl.adapters.LoRA)}),
]
