"""`surm-lite export`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from surm_lite import adapters, models
from surm_lite.adapters.base import near
from surm_lite.adapters.export import FORMS


def add_parser(commands: Any) -> None:
    """Adds the command to those of `surm-lite`."""
    parser = commands.add_parser(
        "export",
        help="an adapter as a plain merged model, or as a LoRA for peft",
        description="Reads an adapter file and its base model, and writes what others can read: one safetensors file "
        "of the merged model, or a folder with the nearest LoRA in peft's format and how near it is.",
        allow_abbrev=False,
    )
    parser.add_argument("adapter", type=Path, help="file that `surm-lite train --save` or save_adapter wrote")
    parser.add_argument("out", type=Path, help="file (merged) or folder (lora) to write")
    parser.add_argument(
        "--model", default="vit_s14", help=f"{', '.join(models.MODELS)}, or the folder of a transformers model"
    )
    parser.add_argument("--form", default="merged", help=f"{' or '.join(FORMS)} (default: merged)")
    parser.add_argument("--rank", type=int, help="largest rank of the LoRA of a layer (default: lose nothing)")


def run(args: argparse.Namespace) -> int:
    """Exports an adapter; the exit status."""
    if not args.adapter.is_file():
        raise FileNotFoundError(f"adapter: {args.adapter} does not exist")
    model = adapters.load_adapter(_base(args.model, args.adapter), args.adapter)
    print(adapters.export(model, args.out, args.form, rank=args.rank))
    return 0


def _base(name: str, adapter: Path) -> nn.Module:
    """The model that the adapter was made for."""
    if (Path(name) / "config.json").is_file():
        return _from_folder(Path(name))
    if name not in models.MODELS:
        raise ValueError(
            f"--model: {near('model', name, models.MODELS)} (and no folder of that name has a config.json)"
        )
    # `surm-lite train` splits queries, keys and values, and trains a head with one output for each class
    return models.split_qkv(models.MODELS[name](num_classes=_classes(adapter)))


def _classes(adapter: Path) -> int:
    """Outputs of the head in an adapter file; 10 where the file holds none."""
    try:
        with safe_open(adapter, "pt") as file:
            return file.get_slice("kept:head.bias").get_shape()[0]
    except Exception as error:  # safetensors raises its own; load_adapter says precisely what is wrong with the file
        if type(error).__name__ != "SafetensorError":
            raise
        return 10


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
