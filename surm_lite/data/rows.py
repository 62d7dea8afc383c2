"""The texts and labels of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from surm_lite.adapters.options import near
from surm_lite.files import as_path


class Rows(NamedTuple):
    """What a file holds, and the lines that were left out, with the reason."""

    file: Path
    texts: list[str]
    labels: list[str]
    skipped: list[tuple[str, str]]


def read_rows(name: str, path: Any, text: str, label: str) -> Rows:
    """The texts and labels of one file."""
    found = Rows(as_path(name, path), [], [], [])
    place = found.file
    if not place.is_file():
        raise FileNotFoundError(f"{name}: there is no file {place}")
    try:
        with place.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, delimiter="\t" if place.suffix == ".tsv" else ",", strict=True)
            for argument, column in (("text", text), ("label", label)):
                _check_column(argument, column, rows.fieldnames or (), place)
            for row in rows:
                if None in row or None in row.values() or not row[label].strip():
                    why = "no label" if None not in row and None not in row.values() else "other columns than the first"
                    raise ValueError(f"{name}: {place}, line {rows.line_num}, has {why}")
                if row[text].strip():
                    found.texts.append(row[text])
                    found.labels.append(row[label].strip())
                else:
                    found.skipped.append((f"line {rows.line_num}", "no text"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{name}: {place} is no CSV file in UTF-8 ({error})") from None
    if not found.texts:
        raise ValueError(f"{name}: {place} has no row with a text below the names of its columns")
    return found


def _check_column(argument: str, column: str, columns: Sequence[str], place: Path) -> None:
    """A column that is there, and once."""
    if column not in columns:
        raise ValueError(f"{argument}: {near(f'column of {place}', column, columns)}")
    if columns.count(column) > 1:
        raise ValueError(f"{argument}: {place} has {columns.count(column)} columns of the name {column!r}, need one")
