"""`surm-lite export`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surm_lite import adapters, models
from surm_lite.adapters.export import FORMS
from surm_lite.adapters.io import FORMAT, KEY
from surm_lite.adapters.options import near
from surm_lite.commands.words import pick, refuse_rest
from surm_lite.files import as_path, check_output, read_sealed


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="an adapter as a plain merged model, or as a LoRA for peft",
        description="Reads an adapter file and its base model, and writes what others can read: one safetensors file "
        "of the merged model, or a folder with the nearest LoRA in peft's format and how near it is.",
        allow_abbrev=False,
    )
    parser.add_argument("adapter", type=Path, help="file that `surm-lite train --save` or save_adapter wrote")
    parser.add_argument("out", type=Path, help="file (merged) or folder (lora) to write")
    parser.add_argument(
        "--model",
        help=f"{', '.join(models.MODELS)}, or the folder of a transformers model (default: as the file says)",
    )
    parser.add_argument("--form", default="merged", help=f"{' or '.join(FORMS)} (default: merged)")
    parser.add_argument("--rank", type=int, help="largest rank of the LoRA of a layer (default: lose nothing)")
    return parser


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Exports an adapter; the exit status."""
    refuse_rest(args, rest)
    pick("form", args.form, dict.fromkeys(FORMS))
    if args.rank is not None and args.form == "merged":
        raise ValueError("--rank: a merged model has none; leave it out, or take --form lora")
    if args.model not in (None, *models.MODELS) and not os.path.isfile(os.path.join(args.model, "config.json")):
        raise ValueError(
            f"--model: {near('model', args.model, models.MODELS)} (and no folder of that name has a config.json)"
        )
    as_path("adapter", args.adapter)
    check_output("out", args.out, folder=args.form == "lora")
    try:
        header, tensors, _ = read_sealed(args.adapter, KEY, "adapter file", FORMAT)
        model = _base(args.model, header, tensors)
    except ValueError as error:
        raise ValueError(f"{args.adapter}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{args.adapter}: malformed header ({error!r})") from error
    print(adapters.export(adapters.load_adapter(model, args.adapter), args.out, args.form, rank=args.rank))
    return 0


def _base(name: str | None, header: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """The model that the adapter was made for, of the shape that the file says; version 0.1.0 named none."""
    said = header.get("model", {})
    name = said.get("name", "vit_s14") if name is None else name
    if name not in models.MODELS:
        if not (Path(name) / "config.json").is_file():
            raise ValueError(f"its base model is {name!r}; give --model, one of {', '.join(models.MODELS)} or a folder")
        return _from_folder(Path(name))
    # the head has one output for each label; load_adapter splits queries, keys and values where the file's model did
    head, config = tensors.get("kept:head.bias"), said.get("config", {})
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
