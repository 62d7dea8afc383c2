"""The model that a file belongs to, built again from what the file says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surm_lite import adapters, models
from surm_lite.adapters.attached import tell
from surm_lite.adapters.io import FORMAT, KEY
from surm_lite.adapters.options import near
from surm_lite.files import metadata, read_sealed, tensors_of


def check_base(name: str | None) -> None:
    """A base model that `--model` can mean; None leaves it to the file."""
    if name is not None and name not in models.MODELS and not os.path.isfile(os.path.join(name, "config.json")):
        raise ValueError(
            f"--model: {near('model', name, models.MODELS)} (and no folder of that name has a config.json)"
        )


def adapted(path: Path, name: str | None) -> nn.Module:
    """The base model of an adapter file with the adapters in it."""
    try:
        header, tensors, _ = read_sealed(path, KEY, "adapter file", FORMAT)
        model = base(name, header.get("model", {}), tensors.get("kept:head.bias"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: malformed header ({error!r})") from error
    return adapters.load_adapter(model, path)


def trained(path: Path, name: str | None) -> nn.Module:
    """The model of an adapter file, or of a merged one that `export` wrote, ready to be asked."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no adapter file or merged model at {path}")
    try:
        said = json.loads(metadata(path).get(KEY, "{}"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model = adapted(path, name) if "format" in said or "model" not in said else _merged(path, name, said["model"])
    return model if isinstance(model, models.ViT | models.Bert) else models.logits(model)


def _merged(path: Path, name: str | None, said: dict[str, Any]) -> nn.Module:
    tensors = tensors_of(path)
    model = base(name, said, tensors.get("head.bias"))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: does not fit the model that it names ({error})") from None
    tell(model, **said)
    return model


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
    names = json.loads((folder / "config.json").read_text()).get("architectures") or ["(none)"]
    if not hasattr(transformers, names[0]):
        raise ValueError(f"--model: {folder} holds a {names[0]}, which transformers does not have")
    return getattr(transformers, names[0]).from_pretrained(folder)
