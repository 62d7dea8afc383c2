"""The model that a file belongs to, built again from what the file says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surm_lite import adapters, models
from surm_lite.adapters.attached import tell
from surm_lite.adapters.header import read_adapter, read_header
from surm_lite.adapters.held import class_names
from surm_lite.adapters.options import near
from surm_lite.files import json_object, tensors_of


def check_base(name: str | None) -> None:
    """A base model that `--model` can mean; None leaves it to the file."""
    if name is not None and name not in models.MODELS and not os.path.isfile(os.path.join(name, "config.json")):
        raise ValueError(
            f"--model: {near('model', name, models.MODELS)} (and no folder of that name has a config.json)"
        )


def adapted(path: Path, name: str | None) -> nn.Module:
    """The base model of an adapter file with the adapters in it."""
    with _naming(path):
        header, tensors, _ = read_adapter(path)
        model = base(name, header.get("model", {}), tensors.get("kept:head.bias"))
    return adapters.load_adapter(model, path)


def trained(path: Path, name: str | None) -> nn.Module:
    """The model of an adapter file, or of a merged one that `export` wrote, ready to be asked."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no adapter file or merged model at {path}")
    with _naming(path):
        kind, said = read_header(path)
        class_names(said.get("model", {}))  # which the answers will need
        merged = _merged(path, name, said["model"]) if kind == "merged" else None
    model = adapted(path, name) if merged is None else merged
    return model if isinstance(model, models.ViT | models.Bert) else models.logits(model)


def _merged(path: Path, name: str | None, said: dict[str, Any]) -> nn.Module:
    tensors = tensors_of(path)
    model = base(name, said, tensors.get("head.bias"))
    own = model.state_dict()
    if other := [key for key in {**own, **tensors} if _shape(own, key) != _shape(tensors, key)]:
        raise ValueError(f"does not fit the model: {len(other)} tensors differ, {other[0]!r} is the first")
    model.load_state_dict(tensors)
    tell(model, **said)
    return model


def _shape(tensors: Mapping[str, Tensor], key: str) -> torch.Size | None:
    return tensors[key].shape if key in tensors else None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What is wrong inside is said of this file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: malformed header ({error!r})") from error


def base(name: str | None, said: dict[str, Any], head: Tensor | None) -> nn.Module:
    """A plain model by its name, of the shape that a file says; files of version 0.1.0 name none.

    Args:
        name: what the user says; None takes the name in the file.
        said: what the file says of the model.
        head: the bias of its head, where it has one.
    """
    name = said.get("name", "vit_s14") if name is None else name
    if name not in models.MODELS:
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"its base model is {name!r}; give --model, one of {', '.join(models.MODELS)} or a folder")
        return _from_folder(Path(name))
    # the head has one output for each label; load_adapter splits queries, keys and values where the file's model did
    config = said.get("config", {})
    shape = {"num_classes": config.get("num_classes", 10) if head is None else len(head)}
    if name == "vit_s14" and config:
        shape |= {"blocks": config["depth"], "image_size": config["image_size"]}
    return models.MODELS[name](**shape)


def _from_folder(folder: Path) -> nn.Module:
    """A model that `save_pretrained` of transformers wrote."""
    try:
        import transformers
    except ModuleNotFoundError:
        raise ModuleNotFoundError("--model: a folder needs transformers; pip install 'surm-lite[hf]'") from None
    with _naming(folder / "config.json"):
        names = json_object((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or ["(none)"]
    if not hasattr(transformers, names[0]):
        raise ValueError(f"--model: {folder} holds a {names[0]}, which transformers does not have")
    return getattr(transformers, names[0]).from_pretrained(folder)
