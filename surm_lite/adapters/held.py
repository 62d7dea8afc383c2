"""What an adapter file holds of a model, and what it says about the base model that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite.adapters import frozen
from surm_lite.adapters.attached import adapters_of, attachment
from surm_lite.adapters.base import Adapter
from surm_lite.adapters.names import below, named_buffers, named_parameters, unwrap, walk
from surm_lite.adapters.targets import is_kept
from surm_lite.files import digest

KEPT, BUFFER = "kept:", "buffer:"
KEPT_BEFORE, BUFFERS_BEFORE = "surm_kept", "surm_buffers"
"""Notes on a module: which of its parameters are trained whole, and the digests that its buffers had at first."""


def saved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What an adapter file of this model holds: all that training changed and that an output depends on.

    The adapters' own tensors, the parameters trained whole beside them, and buffers that are no longer what they were
    when the first method was attached, such as the running statistics of norms.
    """
    parts = [flat(adapters_of(model)), _named(KEPT, kept_parameters(model)), _named(BUFFER, changed_buffers(model))]
    whole: dict[str, Tensor] = {}
    for part in parts:
        if twice := whole.keys() & part.keys():
            raise ValueError(f"two tensors of the model would both be {twice.pop()!r} in the file; rename a module")
        whole |= part
    return whole


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def check_ordinary(name: str, tensor: Tensor) -> None:
    """ValueError where a tensor has no numbers here."""
    if tensor.is_meta:
        raise ValueError(f"{name} is on the meta device, so it has no numbers")
    if hasattr(tensor, "full_tensor"):
        raise ValueError(f"{name} is a DTensor, of which each process holds a part; gather the model first")


def flat(adapters: dict[str, Adapter]) -> dict[str, Tensor]:
    """``layer:k:tensor`` -> tensor, k counting the adapters on one layer from the first attached."""
    stacks = {name: adapter.stack() for name, adapter in adapters.items()}
    return {f"{n}:{k}:{t}": v for n, stack in stacks.items() for k, a in enumerate(stack) for t, v in a.saved().items()}


def kept_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Parameters that are trained whole, each once, by the first name by which they are: what ``adapt`` was told.

    That includes what it was told for a larger model that this one is a part of.
    """
    inside, whole = _inside(model), attachment(model).trained_whole
    told: dict[int, tuple[str, Tensor]] = {}
    before: dict[int, tuple[str, Tensor]] = {}
    for name, module in walk(model):
        for key, p in module._parameters.items():
            if p is not None and id(p) not in inside and (p.is_floating_point() or p.is_complex()):
                for found, there in (
                    (told, is_kept(below(name, key), whole)),
                    (before, key in vars(module).get(KEPT_BEFORE, ())),
                ):
                    if there:
                        found.setdefault(id(p), (below(name, key), p))
    return dict((before | told).values())


def remember_kept(model: nn.Module) -> None:
    """Notes on every module which of its parameters are trained whole: a part does not know what it is a part of."""
    kept = {id(p) for p in kept_parameters(model).values()}
    for _, module in walk(model):
        if names := {key for key, p in module._parameters.items() if id(p) in kept}:
            vars(module)[KEPT_BEFORE] = names


def remember_buffers(model: nn.Module) -> None:
    """Notes on every module the digests that its buffers had when the first method was attached."""
    for _, module in walk(model):
        if BUFFERS_BEFORE not in vars(module):
            there = {key: b for key, b in module._buffers.items() if b is not None and not b.is_meta}
            vars(module)[BUFFERS_BEFORE] = {key: digest({"": buffer}) for key, buffer in there.items()}


def forget(model: nn.Module) -> None:
    """Takes all notes away."""
    for module in model.modules():
        for note in ("surm", KEPT_BEFORE, BUFFERS_BEFORE):
            vars(module).pop(note, None)


def check_no_extra_state(model: nn.Module) -> None:
    """ValueError where a module that is trained whole has state beside its tensors."""
    whole = attachment(model).trained_whole
    for name, module in walk(model):
        if type(module).get_extra_state is not nn.Module.get_extra_state and is_kept(name, whole):
            raise ValueError(f"{name} ({type(module).__name__}) is kept and has extra state, which no file can hold")


def changed_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Buffers outside of adapters that are not what they were before the first method was attached."""
    if not attachment(model).methods:
        return {}
    inside = _inside(model)
    before = {
        id(buffer): vars(module).get(BUFFERS_BEFORE, {}).get(key)
        for _, module in walk(model)
        for key, buffer in module._buffers.items()
        if buffer is not None
    }
    return {
        name: buffer
        for name, buffer in named_buffers(model).items()
        if id(buffer) not in inside and not buffer.is_meta and before[id(buffer)] != digest({"": buffer})
    }


def _inside(model: nn.Module) -> set[int]:
    """Identities of all tensors that belong to adapters."""
    stacks = [adapter.stack() for adapter in adapters_of(model).values()]
    return {id(t) for stack in stacks for a in stack for t in (*a.own().values(), *a.tensors().values())}


def fingerprint(model: nn.Module, kept: set[str]) -> str:
    """Digest of the frozen numbers of a model, to the precision of bfloat16: a copy in bfloat16 is the same model.

    Args:
        model: plain or adapted.
        kept: names of parameters that are trained whole, which do not count.
    """
    inside = _inside(model)
    tensors: dict[str, Tensor] = {}
    for parameter, names in named_parameters(model).values():
        if id(parameter) not in inside and not kept.intersection(names) and not parameter.is_meta:
            tensors[min(names)] = frozen.unpacked(parameter)
    for name, module in walk(model):
        if not isinstance(module, Adapter) and frozen.is_dynamic(module):
            tensors[f"{name}.weight"] = frozen.weight(module)
    return digest({n: t.detach().to(torch.bfloat16) if t.is_floating_point() else t for n, t in tensors.items()})


def about(model: nn.Module) -> dict[str, Any]:
    """The base model in words, as far as it says: class, name, shape, names of the classes, pictures that it takes.

    What a training run knows of them better (``attached.tell``) wins.
    """
    bare = unwrap(model)
    config: Any = getattr(bare, "config", None)
    said: dict[str, Any] = {"class": type(bare).__name__}
    for name in (getattr(bare, "name", None), getattr(config, "_name_or_path", None)):
        if isinstance(name, str) and name:
            said.setdefault("name", name)
    if is_dataclass(config) and not isinstance(config, type) and not hasattr(config, "to_dict"):
        said["config"] = asdict(config)
    labels = getattr(config, "id2label", None)
    if isinstance(labels, dict):
        said["classes"] = [str(label) for label in labels.values()]
    form: Any = getattr(bare, "image_format", None)
    if hasattr(form, "_asdict"):
        said["image_format"] = form._asdict()
    told: dict[str, Any] = json.loads(json.dumps(said | attachment(model).about))  # as a file gives it back
    return told


def class_names(said: Mapping[str, Any]) -> list[str]:
    """The names of the classes in what a model, or a file, says of itself; none where it says nothing of them."""
    names = said.get("classes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"says that its classes are {str(names)[:80]}, need a list of names")
    return names


def check_same(tensors: dict[str, Tensor], places: dict[str, Tensor]) -> None:
    """Every tensor of the file has its place, of the same shape, and the other way round."""
    for name in sorted(tensors.keys() ^ places.keys()):
        raise ValueError(f"tensor {name!r} is in the {'file' if name in tensors else 'model'} only")
    for name, tensor in tensors.items():
        if tensor.shape != places[name].shape:
            here, there = tuple(places[name].shape), tuple(tensor.shape)
            raise ValueError(f"tensor {name!r} has shape {there} in the file and {here} in the model")
