"""Adapter files: safetensors, with a JSON header that says how to rebuild the adapters."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import write_whole
from .attach import adapters_of, build, install
from .base import Adapter, Method
from .registry import METHODS, make_method
from .targets import adaptable, plain_name

FORMAT = 1
KEY = "surm_lite"  # the one entry of the safetensors header


def save_adapter(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model, and the modules kept for training, to one small file.

    The frozen weights are not in it. The file is safetensors; its header holds, as JSON, the format and library
    versions, each method with its options, and the adapted layers with their shapes. It is written beside ``path`` and
    then renamed, so a crash never leaves half a file. A merged model is saved as what it was merged from.

    Args:
        model: an adapted model, merged or not.
        path: the file to write; an existing one is replaced.

    Raises:
        ValueError: the model has no adapter, or one whose method is not in the registry.
        OSError: the file cannot be written.

    Cost:
        ``count(model).stored`` numbers in their own dtype.

    Example:
        >>> import tempfile
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "lora", targets="0", rank=2)
        >>> path = Path(tempfile.mkdtemp()) / "lora.safetensors"
        >>> save_adapter(model, path)
        >>> load_adapter(nn.Sequential(nn.Linear(6, 4)), path)
        Sequential(
          (0): Additive(
            LoRA(rank=2, alpha=8.0, rslora=False), 20 numbers
            (base_layer): Linear(in_features=6, out_features=4, bias=True)
          )
        )

    Taught in:
        21_finetune_vit
    """
    from safetensors.torch import save

    adapters = adapters_of(model)
    if not adapters:
        raise ValueError("the model has no adapter to save; call adapt(model, ...) first")
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in saved_tensors(model).items()}
    write_whole(Path(path), save(tensors, {KEY: json.dumps(_describe(adapters))}))


def load_adapter(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Reads an adapter file into a model, in place; a plain model is adapted first, as the file says.

    Everything is checked before anything is changed: a file that is truncated, foreign or does not fit is refused by
    name and the model stays as it was.

    Args:
        model: a plain model, or one with the very adapters of the file; not merged.
        path: a file that ``save_adapter`` wrote.

    Returns:
        The same model. A plain model is frozen but for what the file holds.

    Raises:
        ValueError: the file is damaged, is not an adapter file, or does not fit the model: layer, method, option or
            shape is named.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> from surm_lite.adapters import adapt
        >>> model = adapt(nn.Sequential(nn.Linear(6, 4)), "toeplitz", targets="0")
        >>> path = Path(tempfile.mkdtemp()) / "toeplitz.safetensors"
        >>> save_adapter(model, path)
        >>> load_adapter(nn.Sequential(nn.Linear(5, 4)), path)
        Traceback (most recent call last):
        ValueError: ...toeplitz.safetensors: layer '0' is 4 x 6 in the file and 4 x 5 in the model

    Taught in:
        21_finetune_vit
    """
    path = Path(path)
    try:
        header, tensors = _read(path)
        adapters, fresh = _match(model, header)
        kept = _kept(model, tensors)
        _compare(tensors, _flat(adapters) | {f"kept:{name}": p for name, p in kept.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: malformed header ({error!r})") from error
    if fresh:
        install(model, adapters, ())
    with torch.no_grad():
        for name, tensor in _flat(adapters).items():
            tensor.copy_(tensors[name])
        for name, parameter in kept.items():
            parameter.copy_(tensors[f"kept:{name}"])
            parameter.requires_grad_(True)
    return model


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What an adapter file of this model holds: the adapters' own tensors and the parameters kept for training."""
    adapters = adapters_of(model)
    own = _flat(adapters)
    known = {id(t) for t in own.values()}
    kept = {n: p for n, p in model.named_parameters() if p.requires_grad and id(p) not in known}
    return own | {f"kept:{plain_name(name)}": p for name, p in kept.items()}


def _flat(adapters: dict[str, Adapter]) -> dict[str, Tensor]:
    """``layer:k:tensor`` -> tensor, k counting the adapters on one layer from the first attached."""
    stacks = {name: adapter.stack() for name, adapter in adapters.items()}
    return {f"{n}:{k}:{t}": v for n, stack in stacks.items() for k, a in enumerate(stack) for t, v in a.own().items()}


def _describe(adapters: dict[str, Adapter]) -> dict[str, Any]:
    """The header: enough to rebuild the adapters on a plain model."""
    methods = list({id(a.method): a.method for adapter in adapters.values() for a in adapter.stack()}.values())
    for method in methods:
        if METHODS.get(method.name) is not type(method):
            raise ValueError(f"method {method.name!r} is not in the registry, so a file of it could not be read back")
    return {
        "format": FORMAT,
        "version": version("surm-lite"),
        "methods": [{"name": m.name, "options": m.options()} for m in methods],
        "layers": {
            name: {
                "shape": [adapter.out_features, adapter.in_features],
                "methods": [next(k for k, m in enumerate(methods) if m is a.method) for a in adapter.stack()],
            }
            for name, adapter in adapters.items()
        },
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of an adapter file; ValueError where it is none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no adapter file at {path}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"damaged, or not a safetensors file ({error})") from error
    if KEY not in metadata:
        raise ValueError(f"a safetensors file, but not an adapter file: its header has no {KEY!r} entry")
    header = json.loads(metadata[KEY])
    if header.get("format") != FORMAT:
        raise ValueError(f"format {header.get('format')!r}; this version reads format {FORMAT}")
    return header, tensors


def _match(model: nn.Module, header: dict[str, Any]) -> tuple[dict[str, Adapter], bool]:
    """The adapters that the file fills: the model's own, or fresh ones that are not installed yet."""
    methods = [make_method(m["name"], {k: _tuple(v) for k, v in m["options"].items()}) for m in header["methods"]]
    layers, present = adaptable(model), adapters_of(model)
    for name, entry in header["layers"].items():
        if name not in layers:
            raise ValueError(f"the model has no linear layer {name!r}")
        here, there = [layers[name].out_features, layers[name].in_features], entry["shape"]
        if here != there:
            raise ValueError(
                f"layer {name!r} is {there[0]} x {there[1]} in the file and {here[0]} x {here[1]} in the model"
            )
    wanted = {name: [methods[k] for k in entry["methods"]] for name, entry in header["layers"].items()}
    if not present:
        return _stacked(layers, methods, wanted), True
    found = {name: [a.method for a in adapter.stack()] for name, adapter in present.items()}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise ValueError(f"layer {name!r} has {found.get(name)} in the model and {wanted.get(name)} in the file")
        if layers[name] is not present[name]:
            raise ValueError("the model is merged; call unmerge(model) first")
    return present, False


def _stacked(
    layers: dict[str, nn.Linear | Adapter], methods: list[Method], wanted: dict[str, list[Method]]
) -> dict[str, Adapter]:
    """The file's adapters around the model's layers, one method after the other."""
    layers = dict(layers)
    for method in methods:
        layers |= build(method, {name: layers[name] for name, stack in wanted.items() if method in stack})
    return {name: layer for name, layer in layers.items() if isinstance(layer, Adapter)}


def _kept(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, nn.Parameter]:
    """The model's parameters that the file has values for."""
    named = {plain_name(name): p for name, p in model.named_parameters()}
    names = [name.removeprefix("kept:") for name in tensors if name.startswith("kept:")]
    if missing := [name for name in names if name not in named]:
        raise ValueError(f"the model has no parameter {missing[0]!r}, which the file holds")
    return {name: named[name] for name in names}


def _compare(tensors: dict[str, Tensor], places: dict[str, Tensor]) -> None:
    """Every tensor of the file has its place, of the same shape, and the other way round."""
    for name in sorted(tensors.keys() ^ places.keys()):
        raise ValueError(f"tensor {name!r} is in the {'file' if name in tensors else 'model'} only")
    for name, tensor in tensors.items():
        if tensor.shape != places[name].shape:
            here, there = tuple(places[name].shape), tuple(tensor.shape)
            raise ValueError(f"tensor {name!r} has shape {there} in the file and {here} in the model")


def _tuple(value: Any) -> Any:
    """JSON has no tuples; no option is a list."""
    return tuple(value) if isinstance(value, list) else value
