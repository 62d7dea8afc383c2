"""Put adapters on a model."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from zlib import crc32

import torch
from torch import nn

from surm_lite.adapters import frozen
from surm_lite.adapters.attached import Attachment, adapters_of
from surm_lite.adapters.base import Adapter, Losses, Method
from surm_lite.adapters.held import kept_parameters, remember_buffers, remember_kept
from surm_lite.adapters.methods.registry import make_method
from surm_lite.adapters.names import check_model, merged_from, named_parameters, swap, unwrap, walk
from surm_lite.adapters.options import near
from surm_lite.adapters.targets import DEFAULT_KEEP, Targets, adaptable, as_patterns, matches, select

ENCODERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
SEEDS = 2**62
"""Generators of torch take 64 bits, of which the stream of a layer takes some."""


def adapt(
    model: nn.Module,
    method: str | Method,
    targets: Targets | None = None,
    *,
    keep: str | Sequence[str] | None = None,
    seed: int = 0,
    losses: Losses | None = None,
    **options: Any,
) -> nn.Module:
    """Puts a trainable adapter on chosen linear layers of a model and freezes the rest, in place.

    ``y = x (W0 + S)^T + b`` for most methods; ``methods()`` lists them. Called again, it adds a second adapter: the
    updates on one layer sum.

    A pattern is a shell glob matched against the end of a dotted module name, cut at a dot: "qkv", "attn.qkv",
    "blocks.[0-5].*"; with a dot in front it is matched against the whole name: ".fc" is no "block.fc".

    Args:
        model: any torch model; every linear layer in it can be adapted: ``nn.Linear``, transformers' ``Conv1D``, and
            layers with a weight in few bits, on whose output the update is added. Torch's own quantised layers
            have no gradient unless they are adapted; a warning names those that are left.
        method: a name of ``methods()``, or a Method object of your own.
        targets: pattern, patterns, or a predicate ``(name, module) -> bool``. None: the query, key and value
            projections ("qkv"; "query", "key", "value"; "q_proj" or "q_lin" and so on).
        keep: patterns of modules or parameters that are trained whole and never adapted. None: "head", "classifier",
            "pre_classifier" and "score", where they exist. Everything else, earlier adapters and what they kept
            excepted, is frozen.
        seed: for the random factors; every layer draws from a stream of its own. Methods that start at zero draw none.
        losses: for methods that look at data before they start (``needs`` says "losses", or an option such as LoRA's
            ``init="lora_ga"``): what `Task.losses` returns, functions of which each computes the loss of the model on
            one training batch. All others ignore it.
        options: the method's own options, as ``methods()`` shows them.

    Returns:
        The same model.

    Raises:
        ValueError: an unknown method, option, pattern or value (near names are listed), an option that does not fit a
            layer, or a merged model. The model is then untouched.

    Cost:
        The numbers of the update a layer, see the method.

    Example:
        >>> model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
        >>> adapt(model, "toeplitz", targets="0")
        Sequential(
          (0): Additive(
            ToeplitzUpdate(alpha=1.0), 9 numbers
            (base_layer): Linear(in_features=6, out_features=4, bias=True)
          )
          (1): GELU(approximate='none')
          (2): Linear(in_features=4, out_features=2, bias=True)
        )

    Taught in:
        21_finetune_vit
    """
    check_model(model)
    if isinstance(method, Method):
        if options:
            raise ValueError(f"options {sorted(options)} go into the Method object, or give the method by name")
        method = replace(method)
    elif isinstance(method, str):
        method = make_method(method, options)
    else:
        raise TypeError(f"method is {method!r}; it must be a name of methods() or a Method object")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed is {seed!r}; it must be an integer")
    if not abs(seed) < SEEDS:
        raise ValueError(f"seed is {seed!r}; it must lie between -2^62 and 2^62")
    kept = DEFAULT_KEEP if keep is None else as_patterns("keep", keep)
    if keep is not None:
        _check_keep(model, kept)
    if not method.wraps and targets is not None:
        raise ValueError(f"targets is {targets!r}, but method {method.name!r} wraps no layer; it must be None")
    layers = select(model, targets, kept) if method.wraps else {}
    if losses is not None and not (isinstance(losses, Sequence) and losses and all(map(callable, losses))):
        raise TypeError(f"losses is {losses!r}; it must be a sequence of functions, as Task.losses returns it, or None")
    if losses is None and not method.ready():
        raise ValueError(
            f"losses: method {method.name!r} looks at data before it starts; "
            "give it losses=data.task.losses(model, data)"
        )
    if losses is not None:
        began = time.perf_counter()
        with undisturbed(model):
            method.calibrate(model, layers, losses)
        method.seconds = time.perf_counter() - began
    adapters = build(method, layers, seed)
    method.found.clear()
    install(model, adapters, kept, [method])
    adapted = adapters_of(model)
    left = [name for name, m in walk(model) if frozen.is_dynamic(m) and name not in adapted]
    if adapters and left:
        warnings.warn(
            f"no gradient passes through {', '.join(left[:3])}{', ...' if left[3:] else ''}: torch's own quantised "
            "layers have none unless they are adapted, so adapters that come before learn nothing through them; name "
            "them in targets too, and not in keep",
            stacklevel=2,
        )
    return model


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """A look at a model that leaves flags, gradients, modes and chance as they were."""
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            for p, _, _ in parameters:
                p.requires_grad_(False)
            yield
        finally:
            for p, needed, gradient in parameters:
                p.requires_grad_(needed)
                p.grad = gradient
            for m, mode in modes:
                m.training = mode


def build(method: Method, layers: Mapping[str, nn.Module], seed: int = 0) -> dict[str, Adapter]:
    """An adapter for each layer, the layers themselves untouched. A layer under two names gets one adapter.

    Layers that the method leaves plain are left out.
    """
    made: dict[int, Adapter | None] = {}
    for name, layer in layers.items():
        if id(layer) not in made:
            check_layer(name, layer)
            depth = len(layer.stack()) if isinstance(layer, Adapter) else 0
            try:
                made[id(layer)] = method.wrap(name, layer, stream(seed, name, depth))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    found = {name: made[id(layer)] for name, layer in layers.items()}
    return {name: adapter for name, adapter in found.items() if adapter is not None}


def stream(seed: int, name: str, depth: int = 0) -> torch.Generator:
    """Random numbers for the adapter on one layer: they depend neither on other layers nor on any global state."""
    return torch.Generator().manual_seed(seed + (crc32(f"{depth}:{name}".encode()) << 16))


def install(model: nn.Module, adapters: Mapping[str, Adapter], keep: Sequence[str], methods: Sequence[Method]) -> None:
    """Puts finished adapters in place, freezes the model, and leaves training to them and to what ``keep`` names."""
    remember_buffers(model)
    places = adaptable(model)
    swap(model, {id(places[name]): adapter for name, adapter in adapters.items()})
    known = {id(a) for adapter in adapters.values() for each in adapter.stack() for a in each.method.layers.values()}
    for name, adapter in adapters.items():
        for each in adapter.stack():
            if id(each) not in known:  # a layer under two names is one layer
                each.method.layers[name] = each
                known.add(id(each))
    _leave_fast_path(model, set(map(id, adapters.values())))
    before: Attachment = vars(unwrap(model)).setdefault("surm", Attachment())
    before.methods.extend(methods)
    before.keep = tuple(dict.fromkeys((*before.keep, *keep)))
    own = {id(p) for adapter in adapters_of(model).values() for a in adapter.stack() for p in a.own().values()}
    trained = {id(p) for p in kept_parameters(model).values()}
    for parameter, _ in named_parameters(model).values():
        if id(parameter) not in own:
            parameter.requires_grad_(id(parameter) in trained)
    remember_kept(model)


def check_layer(name: str, layer: nn.Module) -> None:
    if not name:
        raise ValueError("model is itself a linear layer, which cannot be replaced in place; put it in nn.Sequential")
    if merged_from(layer) is not None:
        raise ValueError(f"{name} is merged; call unmerge(model) first")
    held: Any = layer.linear if isinstance(layer, Adapter) else layer
    if frozen.is_dynamic(held):
        return
    if (
        isinstance(held.weight, nn.UninitializedParameter)
        or held.weight.is_complex()
        or (type(held) is nn.Linear and (not held.weight.is_floating_point()))
    ):
        raise ValueError(f"{name} has a weight of dtype {held.weight.dtype}; it must be an initialised real one")


def _check_keep(model: nn.Module, keep: Sequence[str]) -> None:
    names = dict.fromkeys(name for name, _ in walk(model) if name)
    names |= dict.fromkeys(name for _, all_names in named_parameters(model).values() for name in all_names)
    for pattern in keep:
        if not any(matches(name, pattern) for name in names):
            raise ValueError(near("keep pattern", pattern, [*(n.rpartition(".")[2] for n in names), *names]))


def _leave_fast_path(model: nn.Module, new: set[int]) -> None:
    """Keeps torch's own encoder from reading ``.weight`` of an adapted layer instead of calling it."""
    for parent in model.modules():
        adapters = [m for m in parent.modules() if id(m) in new] if isinstance(parent, ENCODERS) else []
        if adapters and isinstance(parent, nn.TransformerEncoder):
            parent.use_nested_tensor = False
        if isinstance(parent, nn.TransformerEncoderLayer):
            for adapter in adapters:
                adapter.register_forward_pre_hook(frozen.nothing)  # a layer with a hook is called
