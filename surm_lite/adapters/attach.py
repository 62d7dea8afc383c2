"""Put adapters on a model, merge them into it, take them out again, count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import torch
from torch import nn

from .base import Adapter, Method, near
from .registry import make_method
from .targets import DEFAULT_KEEP, Targets, as_patterns, is_kept, matches, plain_name, select


class Merged(nn.Linear):
    """A plain linear layer that remembers the adapter it was merged from."""

    def __init__(self, adapter: Adapter) -> None:
        layer = adapter.merge()
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.train(adapter.training)
        # In a tuple, so that the adapter is no submodule: the state_dict is that of the plain model.
        self.origin = (adapter,)


def adapt(
    model: nn.Module,
    method: str | Method,
    targets: Targets | None = None,
    *,
    keep: str | Sequence[str] | None = None,
    seed: int = 0,
    batches: Iterable[Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Puts a trainable adapter on chosen linear layers of a model and freezes the rest, in place.

    ``y = x (W0 + S)^T + b`` for most methods; ``methods()`` lists them. Called again, it adds a second adapter: the
    updates on one layer sum.

    A pattern is a shell glob matched against the end of a dotted module name, cut at a dot: "qkv", "attn.qkv",
    "blocks.[0-5].*".

    Args:
        model: any torch model; every ``nn.Linear`` in it can be adapted.
        method: a name of ``methods()``, or a Method object of your own.
        targets: pattern, patterns, or a predicate ``(name, module) -> bool``. None: the query, key and value
            projections ("qkv"; "query", "key", "value"; "q_proj" or "q_lin" and so on).
        keep: patterns of modules or parameters that are trained whole and never adapted. None: "head", "classifier"
            and "score", where they exist. Everything else, earlier adapters excepted, is frozen.
        seed: for the random factors; every layer draws from a stream of its own. Methods that start at zero draw none.
        batches: data for methods that look at some before they start (``needs`` says "batches"); all others ignore it.
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
    if isinstance(method, Method):
        if options:
            raise ValueError(f"options {sorted(options)} go into the Method object, or give the method by name")
        method = replace(method)
    else:
        method = make_method(method, options)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed is {seed!r}; it must be an integer")
    kept = DEFAULT_KEEP if keep is None else as_patterns("keep", keep)
    if keep is not None:
        _check_keep(model, kept)
    layers = select(model, targets, kept)
    if batches is None and "batches" in method.needs:
        raise ValueError(f"batches: method {method.name!r} looks at data before it starts; give it some batches")
    method.calibrate(model, () if batches is None else batches)
    install(model, build(method, layers, seed), kept)
    return model


def build(method: Method, layers: Mapping[str, nn.Linear | Adapter], seed: int = 0) -> dict[str, Adapter]:
    """An adapter for each layer, the layers themselves untouched. A layer under two names gets one adapter."""
    made: dict[int, Adapter] = {}
    for name, layer in layers.items():
        if id(layer) not in made:
            check_layer(name, layer)
            depth = len(layer.stack()) if isinstance(layer, Adapter) else 0
            try:
                made[id(layer)] = method.wrap(name, layer, stream(seed, name, depth))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return {name: made[id(layer)] for name, layer in layers.items()}


def stream(seed: int, name: str, depth: int = 0) -> torch.Generator:
    """Random numbers for the adapter on one layer: they depend neither on other layers nor on any global state."""
    return torch.Generator().manual_seed(seed + (crc32(f"{depth}:{name}".encode()) << 16))


def install(model: nn.Module, adapters: Mapping[str, Adapter], keep: Sequence[str]) -> None:
    """Puts finished adapters in place, freezes the model, and leaves training to them and to what ``keep`` names."""
    swap(model, {id(model.get_submodule(name)): adapter for name, adapter in adapters.items()})
    for name, adapter in adapters.items():
        for each in adapter.stack():
            each.method.layers[name] = each
        _leave_fast_path(model, name, adapter)
    own = {id(p) for adapter in adapters_of(model).values() for a in adapter.stack() for p in a.own().values()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in own:
            parameter.requires_grad_(parameter.is_floating_point() and is_kept(plain_name(name), keep))


def merge(model: nn.Module) -> nn.Module:
    """Turns every adapter into a plain ``nn.Linear`` that holds the sum of base weight and update, in place.

    ``W = W0 + S``. The merged model has the architecture, the ``state_dict`` names and the speed of the base model.
    Only this call merges; ``eval()`` never does. The adapters are remembered, W0 bit for bit, until ``unmerge``.

    Args:
        model: an adapted model. One that is merged already stays as it is.

    Returns:
        The same model.

    Raises:
        ValueError: the model has no adapter, or one whose method cannot be merged. The model is then untouched.

    Cost:
        O(m n) a layer, and the memory of a second weight.

    Example:
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> type(merge(model)[0].weight), list(model.state_dict())
        (<class 'torch.nn.parameter.Parameter'>, ['0.weight', '0.bias'])

    Taught in:
        21_finetune_vit
    """
    layers = {id(a): Merged(a) for a in require_adapters(model).values() if not isinstance(a, Merged)}
    swap(model, layers)
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Puts the adapters back that ``merge`` folded in, with the original weights bit for bit, in place.

    Args:
        model: a merged model. One that is not merged stays as it is.

    Returns:
        The same model.

    Raises:
        ValueError: the model has no adapter, merged or not.

    Cost:
        O(1) a layer.

    Example:
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> w0 = model[0].linear.weight
        >>> unmerge(merge(model))[0].linear.weight is w0
        True

    Taught in:
        21_finetune_vit
    """
    require_adapters(model)
    merged = [m for m in model.modules() if isinstance(m, Merged)]
    # The model may have moved meanwhile; on the same device and dtype, ``to`` leaves every bit alone.
    swap(model, {id(m): m.origin[0].to(m.weight.device, m.weight.dtype).train(m.training) for m in merged})
    return model


def adapters_of(model: nn.Module) -> dict[str, Adapter]:
    """The outermost adapter of each adapted layer by layer name, merged or not."""
    found: dict[str, Adapter] = {}
    inner: set[int] = set()
    for name, module in model.named_modules():
        adapter = module.origin[0] if isinstance(module, Merged) else module
        if isinstance(adapter, Adapter) and id(adapter) not in inner:
            found[name] = adapter
            inner.update(map(id, adapter.stack()))
    return found


def methods_of(model: nn.Module) -> list[Method]:
    """The Method objects attached to a model, first attached first: what a training loop calls the hooks of.

    Args:
        model: any model.

    Returns:
        Each Method once; empty for a model without adapters.

    Example:
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> methods_of(model)
        [LoRA(rank=2, alpha=8.0, rslora=False)]

    Taught in:
        21_finetune_vit
    """
    stacks = [adapter.stack() for adapter in adapters_of(model).values()]
    return list({id(a.method): a.method for stack in stacks for a in stack}.values())


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that training changes: the adapters' and those of kept modules.

    Args:
        model: any model; merged adapters are not trained, so they do not appear.

    Returns:
        The parameters with ``requires_grad``, each once, ready for an optimiser.

    Example:
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")
        >>> [tuple(p.shape) for p in trainable_parameters(model)]
        [(4,), (5,)]

    Taught in:
        19_drop_in, 21_finetune_vit, 24_what_it_costs
    """
    return [p for p in model.parameters() if p.requires_grad]


def require_adapters(model: nn.Module) -> dict[str, Adapter]:
    adapters = adapters_of(model)
    if not adapters:
        raise ValueError("the model has no adapter; call adapt(model, ...) or load_adapter(model, path) first")
    return adapters


def swap(model: nn.Module, new: Mapping[int, nn.Module]) -> None:
    """Replaces modules by identity, under every name they have."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if id(module) in new:
            model.set_submodule(name, new[id(module)])


def check_layer(name: str, layer: nn.Linear | Adapter) -> None:
    if not name:
        raise ValueError("model is itself a linear layer, which cannot be replaced in place; put it in nn.Sequential")
    if isinstance(layer, Merged):
        raise ValueError(f"{name} is merged; call unmerge(model) first")
    weight = layer.weight if isinstance(layer, nn.Linear) else layer.linear.weight
    if not weight.is_floating_point() or isinstance(weight, nn.UninitializedParameter):
        raise ValueError(f"{name} has a weight of dtype {weight.dtype}; it must be an initialised real one")


def _check_keep(model: nn.Module, keep: Sequence[str]) -> None:
    names = {plain_name(name): None for name, _ in [*model.named_modules(), *model.named_parameters()] if name}
    for pattern in keep:
        if not any(matches(name, pattern) for name in names):
            raise ValueError(near("keep pattern", pattern, [*(n.rpartition(".")[2] for n in names), *names]))


def _leave_fast_path(model: nn.Module, name: str, adapter: Adapter) -> None:
    """Keeps torch's own encoder from reading ``.weight`` of the adapted layer instead of calling it."""
    parts = name.split(".")[:-1]
    for parent in (model.get_submodule(".".join(parts[:k])) for k in range(len(parts) + 1)):
        if isinstance(parent, nn.TransformerEncoder):
            parent.use_nested_tensor = False
        if isinstance(parent, nn.TransformerEncoderLayer):
            adapter.register_forward_pre_hook(_nothing)  # a layer with a hook is called


def _nothing(module: nn.Module, inputs: Any) -> None:
    """A forward pre-hook without effect."""
