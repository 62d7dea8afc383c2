"""Adapter files: safetensors, with a JSON header that says how to rebuild the adapters."""

from __future__ import annotations

import os
import warnings
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.attach import build, install
from surm_lite.adapters.attached import Attachment, adapters_of, attachment, attachments, methods_of, tell
from surm_lite.adapters.base import Adapter, Method
from surm_lite.adapters.header import FORMAT, KEY, read_adapter
from surm_lite.adapters.held import (
    BUFFER,
    KEPT,
    about,
    check_no_extra_state,
    check_ordinary,
    check_same,
    fingerprint,
    flat,
    kept_parameters,
    saved_tensors,
)
from surm_lite.adapters.layouts import arrange_as, layout_of, remember
from surm_lite.adapters.methods.registry import METHODS, make_method
from surm_lite.adapters.names import named_buffers, named_parameters, walk
from surm_lite.adapters.targets import adaptable
from surm_lite.files import as_path, check_output, write_sealed


def save_adapter(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes the adapters of a model, and the modules kept for training, to one small file.

    Buffers that training changed, such as the running statistics of a norm, are in it, the frozen weights are not. The
    file is safetensors; its header holds, as JSON, the format and library versions, each method with its options, the
    adapted layers with their shapes, a fingerprint of the frozen weights, what the base model says of itself, and
    whether its queries, keys and values were split; a digest covers all. It is written beside ``path`` and then
    renamed, so a crash never leaves half a file. A merged model is saved as what it was merged from, a wrapped one
    (compiled, parallel, averaged) as what is in the wrapper.

    Args:
        model: an adapted model, merged or not.
        path: the file to write; an existing one is replaced.

    Raises:
        ValueError: the model has no adapter, or one whose method is not in the registry; a tensor has no numbers here
            (meta device, DTensor), or a kept module has extra state.
        OSError: the file cannot be written, or its folder does not exist.

    Cost:
        ``count(model).stored`` numbers in their own dtype.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from copy import deepcopy
        >>> from surm_lite.adapters import adapt
        >>> plain = nn.Sequential(nn.Linear(6, 4))
        >>> model = adapt(deepcopy(plain), "lora", targets="0", rank=2)
        >>> path = Path(tempfile.mkdtemp()) / "lora.safetensors"
        >>> save_adapter(model, path)
        >>> load_adapter(plain, path)
        Sequential(
          (0): Additive(
            LoRA(rank=2, alpha=8.0, rslora=False, init='kaiming', lr_ratio=1.0), 20 numbers
            (base_layer): Linear(in_features=6, out_features=4, bias=True)
          )
        )

    Taught in:
        21_finetune_vit
    """
    if not methods_of(model):
        raise ValueError("the model has no adapter to save; call adapt(model, ...) first")
    path = as_path("path", path)
    check_output("path", path)
    check_no_extra_state(model)
    tensors = saved_tensors(model)
    for name, tensor in tensors.items():
        check_ordinary(name, tensor)
    write_sealed(path, KEY, _describe(model, tensors), tensors)


def load_adapter(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Reads an adapter file into a model, in place; a plain model is adapted first, as the file says.

    Everything is checked before anything is changed: a file that is truncated, foreign or does not fit is refused by
    name and the model stays as it was. A ViT is given split queries, keys and values where the file's model had them. A
    warning says where the frozen weights are not those that the adapter was trained on.

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
        >>> from pathlib import Path
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
    path = as_path("path", path)
    put_back = remember(model)
    try:
        header, tensors, sealed = read_adapter(path)
        if not sealed and "kept" in header:
            raise ValueError("damaged: its digest is missing")
        kept, buffers = _names(header, tensors)
        arrange_as(model, header)
        methods, adapters, fresh = _match(model, header)
        parts = _parts(model, header, methods)
        places = _places(model, adapters, kept, buffers)
        check_same(tensors, places)
        base = fingerprint(model, set(kept))
        here, said = about(model), dict(header.get("model", {}))
    except Exception as error:
        put_back()
        if isinstance(error, ValueError):
            raise ValueError(f"{path}: {error}") from error
        if isinstance(error, LookupError | TypeError | AttributeError):
            raise ValueError(f"{path}: malformed header ({error!r})") from error
        raise
    if "image_format" in here and here["image_format"] != said.get("image_format", here["image_format"]):
        warnings.warn(
            f"{path}: trained on pictures of the format {said['image_format']}; this model takes "
            f"{here['image_format']}",
            stacklevel=2,
        )
    if not sealed:
        warnings.warn(
            f"{path}: written by version {header.get('version')} without a digest of its contents or a fingerprint of "
            "its base model, so damage, or another base model, cannot be told; save it again",
            stacklevel=2,
        )
    elif base != header.get("frozen", base):
        warnings.warn(
            f"{path}: trained on a base model whose frozen weights have the fingerprint {header['frozen'][:16]}; those "
            f"of this model have {base[:16]}",
            stacklevel=2,
        )
    if fresh:
        for part, own in parts:
            vars(part)["surm"] = Attachment(own)
        install(model, adapters, header.get("keep", kept), [])
    tell(model, **said)
    with torch.no_grad():
        for name, tensor in places.items():
            tensor.copy_(tensors[name])
    return model


def _describe(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The header: enough to rebuild the adapters on a plain model."""
    attached = attachment(model)
    for method in attached.methods:
        if METHODS.get(method.name) is not type(method):
            raise ValueError(
                f"method {method.name!r} is not in the registry, so a file of it could not be read back; "
                "surm_lite.register(...) puts it there"
            )
    kept, own = kept_parameters(model), flat(adapters_of(model)).keys()
    place = {id(method): k for k, method in enumerate(attached.methods)}  # equal methods are not the same method
    for name, adapter in adapters_of(model).items():
        if outer := [a.method for a in adapter.stack() if id(a.method) not in place]:
            raise ValueError(f"layer {name!r} has {outer[0]} of a larger model that this one is part of; save that one")
    return {
        "format": FORMAT,
        "version": version("surm-lite"),
        "methods": [{"name": m.name, "options": m.options()} for m in attached.methods],
        "parts": {name: [place[id(m)] for m in part.methods] for name, part in attachments(model).items()},
        "keep": attached.keep,
        "kept": list(kept),
        "buffers": [name.removeprefix(BUFFER) for name in tensors.keys() - own if name.startswith(BUFFER)],
        "model": about(model),
        "layout": layout_of(model),
        "frozen": fingerprint(model, set(kept)),
        "layers": {
            name: {
                "shape": [adapter.out_features, adapter.in_features],
                "methods": [place[id(a.method)] for a in adapter.stack()],
            }
            for name, adapter in adapters_of(model).items()
        },
    }


def _match(model: nn.Module, header: dict[str, Any]) -> tuple[list[Method], dict[str, Adapter], bool]:
    """The methods and adapters that the file fills: the model's own, or fresh ones that are not installed yet."""
    methods = [make_method(m["name"], {k: _tuple(v) for k, v in m["options"].items()}) for m in header["methods"]]
    if any(k not in range(len(methods)) for entry in header["layers"].values() for k in entry["methods"]):
        raise LookupError("a layer has a method that is not in the file")
    layers, present = adaptable(model), adapters_of(model)
    for name, entry in header["layers"].items():
        if name not in layers:
            raise ValueError(f"the model has no linear layer {name!r}")
        here, there = _shape(layers[name]), entry["shape"]
        if here != there:
            raise ValueError(
                f"layer {name!r} is {there[0]} x {there[1]} in the file and {here[0]} x {here[1]} in the model"
            )
    stacks: dict[str, list[int]] = {name: entry["methods"] for name, entry in header["layers"].items()}
    attached = methods_of(model)
    if not attached:
        return methods, _stacked(layers, methods, stacks), True
    if attached != methods:
        raise ValueError(f"the model has {attached} and the file {methods}")
    found = {name: [_place(attached, a.method) for a in adapter.stack()] for name, adapter in present.items()}
    for name in [*stacks, *found]:
        if stacks.get(name) != found.get(name):
            mine, theirs = ([methods[k] for k in some.get(name, [])] for some in (found, stacks))
            raise ValueError(f"layer {name!r} has {mine} in the model and {theirs} in the file")
        if layers[name] is not present[name]:
            raise ValueError("the model is merged; call unmerge(model) first")
    return attached, present, False


def _parts(model: nn.Module, header: dict[str, Any], methods: list[Method]) -> list[tuple[nn.Module, list[Method]]]:
    """Which part of the model each method was attached to; the whole model, where the file does not say."""
    there, said = dict(walk(model)), header.get("parts", {"": range(len(methods))})
    for name in said:
        if name not in there:
            raise ValueError(f"the model has no part {name!r}, to which the file's methods were attached")
    return [(there[name], [methods[k] for k in own]) for name, own in said.items()]


def _place(methods: list[Method], method: Method) -> int:
    return next(k for k, one in enumerate(methods) if one is method)


def _stacked(layers: dict[str, nn.Module], methods: list[Method], stacks: dict[str, list[int]]) -> dict[str, Adapter]:
    """The file's adapters around the model's layers, one method after the other."""
    layers = dict(layers)
    for k, method in enumerate(methods):
        layers |= build(method, {name: layers[name] for name, stack in stacks.items() if k in stack})
    return {name: layer for name, layer in layers.items() if isinstance(layer, Adapter)}


def _names(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names of the kept parameters and of the buffers in a file; version 0.1.0 told them by their keys alone."""
    kept = header.get("kept", [name.removeprefix(KEPT) for name in tensors if name.startswith(KEPT)])
    return kept, header.get("buffers", [])


def _places(model: nn.Module, adapters: dict[str, Adapter], kept: list[str], buffers: list[str]) -> dict[str, Tensor]:
    """Where the tensors of a file go, by their keys in it."""
    parameters = {name: p for p, names in named_parameters(model).values() for name in names}
    found = named_buffers(model)
    places: dict[str, Tensor] = dict(flat(adapters))
    for prefix, names, there, what in ((KEPT, kept, parameters, "parameter"), (BUFFER, buffers, found, "buffer")):
        for name in names:
            if name not in there:
                raise ValueError(f"the model has no {what} {name!r}, which the file holds")
            places[f"{prefix}{name}"] = there[name]
    for adapter in adapters.values():
        for each in adapter.stack():
            if pruned := each.saved().keys() - {**each._parameters, **each._buffers}.keys():
                raise ValueError(f"tensor {pruned.pop()!r} of an adapter is pruned or parametrised; remove that first")
    for name, tensor in places.items():
        check_ordinary(name, tensor)
    return places


def _shape(layer: nn.Module) -> list[int]:
    return list(frozen.shape(layer.linear if isinstance(layer, Adapter) else layer))


def _tuple(value: Any) -> Any:
    """JSON has no tuples; no option is a list."""
    return tuple(value) if isinstance(value, list) else value
