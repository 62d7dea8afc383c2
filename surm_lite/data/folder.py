"""A reader's own pictures: a folder with a sub-folder a class."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from surm_lite.data.arguments import check_count
from surm_lite.data.labelled import LabelledSet, Split
from surm_lite.data.memory import check_fits
from surm_lite.data.pictures import (
    UnreadableError,
    check_left_out,
    entries,
    need_pillow,
    read_picture,
    shown,
)
from surm_lite.data.split import check_shares, cut, stratified_order
from surm_lite.files import as_path

PARTS = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders that hold parts and not classes."""


class Found(NamedTuple):
    """A file of a class folder."""

    path: Path
    part: str
    label: int


def from_folder(
    path: str | os.PathLike[str], *, size: int = 56, validation: float = 0.2, test: float = 0.2, seed: int = 0
) -> LabelledSet:
    """Reads a folder of your own pictures: a sub-folder for each class, named as the class.

    Above them there may be folders `train`, `validation` (or `val`) and `test`; a part that has none is cut off the
    training pictures, class by class. PNG, JPEG and WebP files are read, whatever their names, sizes and colours: each
    gives the largest square in its middle, rotated as its EXIF entry says, on white where it is transparent. Files that
    cannot be used are left out, and a warning names them. Links are not followed, hidden files not looked at.

    Args:
        path: the folder.
        size: side in pixels at which pictures are kept: that of the model (`model.image_format.size`), 56 for
            `vit_s14()` and 28 for `tiny_vit()`.
        validation, test: the share of each class that goes to that part, where it has no folder; at least one picture.
        seed: decides which pictures go to which part, and their order.

    Returns:
        LabelledSet: uint8 pictures with three channels, or with one where all are grey; classes by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder that is laid out otherwise, a class with too few pictures, more than a few files that
            cannot be used, or more pictures than the memory holds; the message says which and what to do.
        ModuleNotFoundError: Pillow is not installed; the message names the extra.

    Cost:
        The decoding, some milliseconds a photo; twice 3 * size^2 bytes a picture.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> pets = Path(tempfile.mkdtemp()) / "pets"
        >>> for name, colour in {"cat": "orange", "dog": "brown"}.items():
        ...     (pets / name).mkdir(parents=True)
        ...     for k in range(5):
        ...         Image.new("RGB", (40 + k, 30), colour).save(pets / name / f"{k}.png")
        >>> from_folder(pets, size=28)
        LabelledSet('pets': 6 train, 2 validation, 2 test; 3x28x28; 2 classes)

    Taught in:
        25_your_own_model, 42_your_own_data
    """
    root = as_path("path", path)
    check_count("size", size, most=2**14)
    check_shares({"validation": validation, "test": test})
    need_pillow("path")
    if not root.is_dir():
        raise FileNotFoundError(f"path: there is no folder {root}")
    name = shown(Path(root.resolve().name or "pictures"))
    skipped: list[tuple[str, str]] = []
    folders = _parts(root, skipped)
    classes = _classes(root, folders)
    files = _files(root, folders, classes, skipped)
    count = len(files) + len(skipped)
    pictures, kept = _read(root, files, size, skipped)
    check_left_out("path", name, skipped, count)
    labels = torch.tensor([one.label for one in kept], dtype=torch.int64)
    there = {part: torch.tensor([k for k, one in enumerate(kept) if one.part == part]).long() for part in folders}
    if empty := [part for part, index in there.items() if not len(index) and part != "train"]:
        raise ValueError(f"path: {name} has a {empty[0]} folder without a picture that can be used")
    shares = {part: share for part, share in (("validation", validation), ("test", test)) if part not in folders}
    pool = there.pop("train")
    pieces = {part: pool[index] for part, index in cut("path", labels[pool], classes, shares, seed).items()}
    pieces |= {part: index[stratified_order(labels[index], seed)] for part, index in there.items()}
    splits = {part: Split(pictures[index], labels[index]) for part, index in pieces.items()}
    return LabelledSet(name=name, classes=tuple(classes), credit=f"pictures of the folder {name}", **splits)


def _parts(root: Path, skipped: list[tuple[str, str]]) -> dict[str, Path]:
    """The folders of classes by part; one for all, where the folder holds classes itself."""
    inside, others = _inside(root)
    named: dict[str, Path] = {}
    for folder in inside:
        part = PARTS.get(folder.name.lower())
        if part is None or not _inside(folder)[0]:
            return {"train": root}
        if part in named:
            raise ValueError(f"path: {root} has two folders for {part}, {named[part].name} and {folder.name}")
        named[part] = folder
    if named and "train" not in named:
        raise ValueError(f"path: {root} has a folder for {' and '.join(named)} and none for train")
    if not named:
        return {"train": root}
    skipped += others
    return named


def _classes(root: Path, folders: Mapping[str, Path]) -> list[str]:
    """Names of the folders of the training part, sorted; the other parts may not have more."""
    named = {part: sorted(_class(below) for below in _inside(folder)[0]) for part, folder in folders.items()}
    found = named["train"]
    if twice := [name for name in found if found.count(name) > 1]:
        raise ValueError(f"path: two folders of {root} are both named {twice[0]!r}")
    if len(found) < 2:
        has = f"only {found[0]!r}" if found else "none"
        raise ValueError(f"path: need a folder with a sub-folder for each of two or more classes; {root} has {has}")
    for part, names in named.items():
        if more := sorted(set(names) - set(found)):
            raise ValueError(f"path: class {more[0]!r} is in the {part} folder of {root} and not in the train folder")
    return found


def _inside(folder: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """The folders in a folder, and what else there is, with the reason why it is left out."""
    folders, others = [], []
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
        else:
            others.append((shown(Path(entry.path)), "a link" if entry.is_symlink() else "in no folder of a class"))
    return folders, others


def _class(folder: Path) -> str:
    """One form for one name: systems differ in how they store an accent."""
    return unicodedata.normalize("NFC", shown(Path(folder.name)))


def _files(root: Path, folders: Mapping[str, Path], classes: list[str], skipped: list[tuple[str, str]]) -> list[Found]:
    """Every file of every class folder."""
    found: list[Found] = []
    for part, folder in folders.items():
        own, others = _inside(folder)
        skipped += others
        for below in own:
            for file in entries(below):
                if file.is_dir(follow_symlinks=False):
                    raise ValueError(
                        f"path: {shown(Path(file.path))} is a folder in a folder of a class, where pictures must be; "
                        f"is {root} the folder above the classes?"
                    )
                if file.is_symlink():
                    skipped.append((shown(Path(file.path)), "a link"))
                else:
                    found.append(Found(Path(file.path), part, classes.index(_class(below))))
    return found


def _read(root: Path, files: list[Found], size: int, skipped: list[tuple[str, str]]) -> tuple[Tensor, list[Found]]:
    """The pictures, (count, 3, size, size), or with one channel where all are grey, and the files that they are of."""
    check_fits(
        f"size: at {size}, {len(files):,} pictures of {root}",
        len(files) * 3 * size**2,
        lambda room: f"size={int((room / (3 * len(files))) ** 0.5)} would fit, or fewer pictures",
    )
    pictures = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    kept: list[Found] = []
    grey = True
    for one in files:
        try:
            picture = torch.from_numpy(read_picture(one.path, size).copy())
        except UnreadableError as error:
            skipped.append((shown(one.path), str(error)))
            continue
        grey = grey and bool((picture == picture[:1]).all())
        pictures[len(kept)] = picture
        kept.append(one)
    return pictures[: len(kept), : 1 if grey else 3], kept
