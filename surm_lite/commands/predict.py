"""`surm-lite predict`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from surm_lite import models
from surm_lite.adapters.names import unwrap
from surm_lite.commands.base import check_base, trained
from surm_lite.commands.words import path_of, refuse_rest
from surm_lite.data.arguments import check_count
from surm_lite.device import device
from surm_lite.files import as_path
from surm_lite.predict import predict


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    one: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="what a trained model says of pictures or sentences",
        description="Builds the model that a file belongs to, and prints for each picture or sentence what it is and "
        "how sure the model is: a line each, or JSON.",
        allow_abbrev=False,
    )
    one.add_argument(
        "file", type=path_of, help="adapter of `surm-lite train --save`, or merged model of `surm-lite export`"
    )
    one.add_argument("things", nargs="+", help="pictures and folders of pictures; or sentences, each in quotes")
    one.add_argument("--top", type=int, default=3, help="how many answers to give for each (default: 3)")
    one.add_argument("--json", action="store_true", help="print JSON")
    one.add_argument(
        "--model",
        help=f"{', '.join(models.MODELS)}, or the folder of a transformers model (default: as the file says)",
    )
    one.add_argument("--batch-size", type=int, default=64)
    one.add_argument("--device", help="auto, cuda, mps, cpu (default: auto)")
    return one


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Predicts and prints; the exit status."""
    refuse_rest(args, rest)
    check_count("--top", args.top)
    check_count("--batch-size", args.batch_size)
    check_base(args.model)
    on = device(args.device)
    model = trained(as_path("file", args.file), args.model).to(on)
    _check_things(model, args.things)
    found = predict(model, args.things, top=args.top, batch_size=args.batch_size)
    print(json.dumps([one.as_dict() for one in found], indent=1) if args.json else "\n".join(map(str, found)))
    return 0


def _check_things(model: nn.Module, things: Sequence[str]) -> None:
    """A model of sentences would take the name of a file for one, and answer."""
    if getattr(unwrap(model), "reads", None) == "sentences":
        for one in things:
            if os.path.exists(one):
                kind = "folder" if os.path.isdir(one) else "file"
                raise ValueError(f"things: {one} is a {kind}, and this model reads sentences; give them in quotes")
