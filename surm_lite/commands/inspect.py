"""`surm-lite inspect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from surm_lite.commands.words import path_of, refuse_rest
from surm_lite.describe import describe
from surm_lite.files import as_path


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Adds the command to those of `surm-lite`."""
    one: argparse.ArgumentParser = commands.add_parser(
        "inspect",
        help="what a file of ours holds, in words",
        description="Says what an adapter, a merged model, a LoRA, a checkpoint, a record or a comparison holds. "
        "Nothing is run.",
        allow_abbrev=False,
    )
    one.add_argument("file", type=path_of)
    return one


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Describes a file; the exit status."""
    refuse_rest(args, rest)
    print(describe(as_path("file", args.file)))
    return 0
