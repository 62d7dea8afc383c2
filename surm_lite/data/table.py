"""Sentences of one's own: a table of texts and labels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from surm_lite.data.arguments import check_kind
from surm_lite.data.arrays import assemble
from surm_lite.data.labelled import LabelledSet
from surm_lite.data.pictures import check_left_out
from surm_lite.data.rows import read_rows
from surm_lite.data.tokens import tokenize

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

    A few rows without a text are left out, and a warning names their lines.

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
        ValueError: a column that is not there, there twice, or asked for as both; a row without a label or with other
            columns (by its line), or more than a few without a text; a single class, or one with too few sentences;
            what is no text in UTF-8.
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
    if text == label:
        raise ValueError(f"text, label: got {text!r} for both, need two columns")
    files = {"path": path} | {
        part: given
        for part, given in (("validation", validation), ("test", test))
        if isinstance(given, str | os.PathLike)
    }
    read = {name: read_rows(name, file, text, label) for name, file in files.items()}
    for name, rows in read.items():
        check_left_out(name, rows.file.name, rows.skipped, len(rows.texts) + len(rows.skipped), "rows")
    pairs: dict[str, Any] = {name: (_tokens(tokenizer, rows.texts), rows.labels) for name, rows in read.items()}
    X, y = pairs.pop("path")
    given, file = {"validation": validation, "test": test} | pairs, read["path"].file
    found = assemble(X, y, given, classes=None, seed=seed, name=file.stem, called=("tokenizer", "label"))
    return replace(found, credit=f"sentences of the file {file.name}")


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
