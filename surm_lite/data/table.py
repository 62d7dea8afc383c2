"""Sentences of one's own: a table of texts and labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from surm_lite.adapters.options import near
from surm_lite.data.arguments import check_kind
from surm_lite.data.arrays import from_arrays
from surm_lite.data.labelled import LabelledSet
from surm_lite.data.tokens import tokenize
from surm_lite.files import as_path

Tokenizer = Callable[[list[str]], Tensor]
"""Sentences -> int64 token ids of shape (count, length), padded with 0."""


def from_csv(
    path: str | os.PathLike[str],
    *,
    text: str = "text",
    label: str = "label",
    tokenizer: Tokenizer = tokenize,
    validation: float | str | os.PathLike[str] = 0.2,
    test: float | str | os.PathLike[str] = 0.2,
    seed: int = 0,
) -> LabelledSet:
    """Reads a CSV file of your own sentences and their labels: a row each, and a first row that names the columns.

    Args:
        path: the file, in UTF-8; one that ends in .tsv has tabs for commas.
        text, label: names of the two columns; others are not looked at.
        tokenizer: what the model takes: a function of a list of sentences that returns their token ids, int64 of shape
            (count, length), padded with 0. As it stands: that of MiniLM.
        validation, test: the share of each class that goes to that part; or that part itself, another such file.
        seed: decides which sentences go to which part, and their order.

    Returns:
        LabelledSet: token ids; the classes are the distinct labels, sorted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column that is not there, a row without a label or with other columns (by its line), or what is no
            text in UTF-8.
        TypeError: a tokenizer that gives something else.

    Cost:
        That of the tokenizer.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "films.csv"
        >>> _ = path.write_text("text,label\\n" + "a good one,good\\n" * 5 + "dull,bad\\n" * 5)
        >>> letters = lambda texts: torch.tensor([[ord(c) for c in t[:4].ljust(4, chr(0))] for t in texts])
        >>> from_csv(path, tokenizer=letters)
        LabelledSet('films': 6 train, 2 validation, 2 test; 4; 2 classes)

    Taught in:
        25_your_own_model, 42_your_own_data
    """
    for name, column in (("text", text), ("label", label)):
        check_kind(name, column, str, "the name of a column")
    if not callable(tokenizer):
        raise TypeError(f"tokenizer: got {tokenizer!r}, need a function of a list of sentences")
    X, y = _read("path", path, text, label, tokenizer)
    parts: dict[str, Any] = {
        name: _read(name, part, text, label, tokenizer) if isinstance(part, str | os.PathLike) else part
        for name, part in (("validation", validation), ("test", test))
    }
    file = as_path("path", path)
    return replace(from_arrays(X, y, **parts, seed=seed, name=file.stem), credit=f"sentences of the file {file.name}")


def _read(name: str, path: Any, text: str, label: str, tokenizer: Tokenizer) -> tuple[Tensor, list[str]]:
    """Token ids and labels of one file."""
    place = as_path(name, path)
    if not place.is_file():
        raise FileNotFoundError(f"{name}: there is no file {place}")
    sentences, labels = [], []
    try:
        with place.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, delimiter="\t" if place.suffix == ".tsv" else ",", strict=True)
            for argument, column in (("text", text), ("label", label)):
                if column not in (rows.fieldnames or ()):
                    raise ValueError(f"{argument}: {near(f'column of {place}', column, rows.fieldnames or ())}")
            for row in rows:
                if None in row or None in row.values() or not row[label].strip():
                    why = "no label" if None not in row and None not in row.values() else "other columns than the first"
                    raise ValueError(f"{name}: {place}, line {rows.line_num}, has {why}")
                sentences.append(row[text])
                labels.append(row[label].strip())
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {place} is no CSV file in UTF-8 ({error})") from None
    if not sentences:
        raise ValueError(f"{name}: {place} has no row beside the names of its columns")
    return _tokens(tokenizer, sentences), labels


def _tokens(tokenizer: Tokenizer, sentences: list[str]) -> Tensor:
    try:
        found = tokenizer(sentences)
    except Exception as error:
        raise TypeError(f"tokenizer: {tokenizer!r} does not take a list of sentences ({error})") from error
    if not isinstance(found, Tensor) or found.dtype != torch.int64 or found.ndim != 2 or len(found) != len(sentences):
        got = f"{found.dtype} of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise TypeError(
            f"tokenizer: gives {got} for {len(sentences)} sentences, need int64 token ids of shape ({len(sentences)}, "
            "length), padded with 0"
        )
    return found
