"""`surm-lite export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from surm_lite import adapters, models
from surm_lite.adapters.export import FORMS
from surm_lite.commands.base import adapted, check_base
from surm_lite.commands.places import check_apart
from surm_lite.commands.words import path_of, pick, refuse_rest
from surm_lite.files import as_path, check_output


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="an adapter as a plain merged model, or as a LoRA for peft",
        description="Reads an adapter file and its base model, and writes what others can read: one safetensors file "
        "of the merged model, or a folder with the nearest LoRA in peft's format and how near it is.",
        allow_abbrev=False,
    )
    parser.add_argument("adapter", type=path_of, help="file that `surm-lite train --save` or save_adapter wrote")
    parser.add_argument("out", type=path_of, help="file (merged) or folder (lora) to write")
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
    check_base(args.model)
    as_path("adapter", args.adapter)
    inputs = {"adapter": args.adapter, "--model": None if args.model in models.MODELS else args.model}
    for output in [args.out] if args.form == "merged" else [args.out, args.out / "adapter_model.safetensors"]:
        check_apart("out", output, inputs)
    check_output("out", args.out, folder=args.form == "lora")
    print(adapters.export(adapted(args.adapter, args.model), args.out, args.form, rank=args.rank))
    return 0
