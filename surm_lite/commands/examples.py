"""Which examples the words of a command mean: a data set by name, or a folder of the user's own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace

from surm_lite import data, models
from surm_lite.adapters.options import near

HELP = f"{', '.join(data.CATALOGUE)}, or a folder of your own pictures with a sub-folder a class"


def is_folder(text: str) -> bool:
    """Whether a folder is meant, or a name of the catalogue; a ValueError for neither and for both."""
    known, there = text in data.CATALOGUE, os.path.isdir(text)
    if known and there:
        raise ValueError(
            f"--data: {text!r} is a data set and also a folder here; ./{text} means the folder, and for the data set "
            "the folder must have another name"
        )
    if not known and not there:
        raise ValueError(f"{near('data set', text, data.CATALOGUE)} (and there is no folder of that name)")
    return there


def read_folder(args: argparse.Namespace) -> data.LabelledSet:
    """A folder at the size of the model's pictures."""
    for name in ("root", "download"):
        if getattr(args, name):
            raise ValueError(f"--{name}: is for data sets by name, and {args.data} is a folder; leave it out")
    return data.from_folder(args.data, size=models.MODELS[args.model](num_classes=0).image_format.size)


def load(args: argparse.Namespace, most: Mapping[str, int]) -> data.LabelledSet:
    """The examples of a command, `most` of each part, and as many for training as `--examples` says."""
    sizes = {**most} if args.examples is None else {**most, "train": args.examples}
    try:
        if not is_folder(args.data):
            return data.load(args.data, **sizes, root=args.root, download=args.download)
        own = read_folder(args)
        if args.examples is not None and not 1 <= args.examples <= len(own.train):
            raise ValueError(f"{own.name} has {len(own.train)} to train on")
    except ValueError as error:
        raise error if args.examples is None else ValueError(f"--examples {args.examples}: {error}") from None
    return replace(own, **{part: getattr(own, part)[:size] for part, size in sizes.items()})
