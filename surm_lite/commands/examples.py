"""Which examples the words of a command mean: a data set by name, or a folder of the user's own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from surm_lite import data, models
from surm_lite.adapters.options import near
from surm_lite.commands.words import pick

HELP = (
    f"{', '.join(data.CATALOGUE)}, a folder of your own pictures with a sub-folder a class, or a .csv file of sentences"
)
COLUMNS = ("text", "label")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The options that say what is where in a file of sentences."""
    parser.add_argument("--text", metavar="COLUMN", help="column of the sentences in a .csv file")
    parser.add_argument("--label", metavar="COLUMN", help="column of their labels")


def which(args: argparse.Namespace) -> str:
    """Whether a "name" of the catalogue, a "folder" or a "table" is meant; a ValueError for none and for two."""
    text = args.data
    known, folder, table = text in data.CATALOGUE, os.path.isdir(text), os.path.isfile(text)
    if known and (folder or table):
        raise ValueError(
            f"--data: {text!r} is a data set and also {'a folder' if folder else 'a file'} here; ./{text} means that, "
            "and for the data set it must have another name"
        )
    if not known and not folder and not table:
        raise ValueError(f"{near('data set', text, data.CATALOGUE)} (and there is no folder or file of that name)")
    given = [f"--{name}" for name in COLUMNS if getattr(args, name) is not None]
    if table and len(given) < len(COLUMNS):
        raise ValueError(f"--data: {text} is a file; --text and --label name its columns of sentences and labels")
    if given and not table:
        raise ValueError(f"{', '.join(given)}: for files of sentences, and {text} is none; leave it out")
    _check_model(args.model or "vit_s14", table or (known and data.CATALOGUE[text].sentences), text)
    return "name" if known else "folder" if folder else "table"


def _check_model(name: str, sentences: bool, text: str) -> None:
    """Sentences go to a model that reads them, and pictures to the others; an unknown model is not told here."""
    reads, others = (models.SENTENCES, models.PICTURES)[:: 1 if sentences else -1]
    if name in others:  # of a model that somebody added nothing is known
        kind = "sentences" if sentences else "pictures"
        raise ValueError(f"--model: {name} does not take {kind}, and {text} holds them; take {' or '.join(reads)}")


def own(args: argparse.Namespace) -> str | None:
    """The folder or file that is read for examples; None for a data set by name."""
    return None if args.data is None or args.data in data.CATALOGUE else args.data


def read_own(args: argparse.Namespace) -> data.LabelledSet:
    """A folder at the size of the model's pictures, or the sentences of a table."""
    for name in ("root", "download"):
        if getattr(args, name):
            raise ValueError(f"--{name}: is for data sets by name, and {args.data} is your own; leave it out")
    if os.path.isfile(args.data):
        return data.from_csv(args.data, text=args.text, label=args.label)
    model: Any = pick("model", args.model, models.MODELS)(num_classes=0)
    return data.from_folder(args.data, size=model.image_format.size)


def load(args: argparse.Namespace, most: Mapping[str, int]) -> data.LabelledSet:
    """The examples of a command, `most` of each part, and as many for training as `--examples` says."""
    sizes = {**most} if args.examples is None else {**most, "train": args.examples}
    try:
        if which(args) == "name":
            return data.load(args.data, **sizes, root=args.root, download=args.download)
        own = read_own(args)
        if args.examples is not None and not 1 <= args.examples <= len(own.train):
            raise ValueError(f"{own.name} has {len(own.train)} to train on")
    except ValueError as error:
        raise error if args.examples is None else ValueError(f"--examples {args.examples}: {error}") from None
    return replace(own, **{part: getattr(own, part)[:size] for part, size in sizes.items()})
